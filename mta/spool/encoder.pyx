# cython: nonecheck=True
"""Envelope and recipient records: msgpack of an object's fields, as msgspec would write it."""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.stdint cimport int64_t, uint64_t

from mta._speedups.buffer cimport Buffer, put, put_big, reserve
from mta._speedups.bodylog import HEADER, UNIT

from mta.model cimport Message, Recipient

cdef enum:
    ENVELOPE_FIELDS = 18
    RECIPIENT_FIELDS = 11  # and `site`, where there is one

cdef Buffer out
cdef Py_ssize_t C_HEADER = HEADER, C_UNIT = UNIT


cdef inline int put_byte(unsigned char byte) except -1:
    reserve(&out, 1)[0] = byte
    out.used += 1
    return 0


cdef int put_int(int64_t value) except -1:
    # The shortest form (msgpack specification, "int format family").
    cdef uint64_t u = <uint64_t> value
    if value >= 0:
        if u < 0x80:
            return put_byte(<unsigned char> u)
        if u <= 0xFF:
            put_byte(0xCC)
            return put_big(&out, u, 1)
        if u <= 0xFFFF:
            put_byte(0xCD)
            return put_big(&out, u, 2)
        if u <= 0xFFFFFFFFU:
            put_byte(0xCE)
            return put_big(&out, u, 4)
        put_byte(0xCF)
        return put_big(&out, u, 8)
    if value >= -32:
        return put_byte(<unsigned char> (0x100 + value))
    if value >= -0x80:
        put_byte(0xD0)
        return put_big(&out, u, 1)
    if value >= -0x8000:
        put_byte(0xD1)
        return put_big(&out, u, 2)
    if value >= -0x80000000LL:
        put_byte(0xD2)
        return put_big(&out, u, 4)
    put_byte(0xD3)
    return put_big(&out, u, 8)


cdef int put_text(str text) except -1:
    cdef Py_ssize_t size
    cdef const char* data = PyUnicode_AsUTF8AndSize(text, &size)
    if size < 32:
        put_byte(<unsigned char> (0xA0 | size))
    elif size <= 0xFF:
        put_byte(0xD9)
        put_big(&out, size, 1)
    elif size <= 0xFFFF:
        put_byte(0xDA)
        put_big(&out, size, 2)
    else:
        put_byte(0xDB)
        put_big(&out, size, 4)
    return put(&out, data, size)


cdef int put_array(int size) except -1:
    if size < 16:
        return put_byte(<unsigned char> (0x90 | size))
    put_byte(0xDC)
    return put_big(&out, size, 2)


cdef int put_place(Message m) except -1:
    # Where the body is, and how many units it takes there: what a start reads of each message.
    cdef Py_ssize_t size = m.size
    put_big(&out, <uint64_t> m.place, 8)
    return put_big(&out, (C_HEADER + size + C_UNIT - 1) // C_UNIT if m.place else 0, 4)


cdef int put_envelope(Message m) except -1:
    put_array(ENVELOPE_FIELDS)
    put_text(m.sender)
    put_text(m.tenant)
    put_text(m.campaign)
    put_text(m.pool)
    put_int(m.klass)
    put_int(m.received_us)
    put_int(m.size)
    put_int(m.flags)
    put_text(m.peer_name)
    put_text(m.peer_address)
    put_text(m.message_id)
    put_text(m.session)
    put_int(m.open)
    put_int(m.total)
    put_text(m.envid)
    put_text(m.ret)
    put_int(m.priority)
    return put_int(m.release_us)


cdef int put_recipient(Recipient r) except -1:
    cdef bint placed = len(r.site) > 0
    put_array(RECIPIENT_FIELDS + placed)
    put_text(r.address)
    put_int(r.attempts)
    put_int(r.due_us)
    put_int(r.expires_us)
    put_int(r.where)
    put_int(r.code)
    put_text(r.enhanced)
    put_text(r.text)
    put_text(r.route)
    put_int(r.notify)
    put_text(r.orcpt)
    return put_text(r.site) if placed else 0


cdef inline bytes taken():
    return PyBytes_FromStringAndSize(<char*> out.data, out.used)


cdef bytes alone(Recipient r):
    cdef Message m = r.message
    cdef Py_ssize_t at, end
    out.used = 0
    put_byte(2)
    put_place(m)
    at = out.used
    put_big(&out, 0, 4)
    put_envelope(m)
    end = out.used
    out.used = at
    put_big(&out, end - at - 4, 4)
    out.used = end
    put_recipient(r)
    return taken()


cpdef bytes encode_envelope(Message m):
    out.used = 0
    put_byte(1)
    put_place(m)
    put_envelope(m)
    return taken()


cpdef bytes encode_recipient(Recipient r):
    if r.message.total == 1:
        return alone(r)
    out.used = 0
    put_byte(1)
    put_recipient(r)
    return taken()
