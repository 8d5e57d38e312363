"""The two records that each message has, as msgspec would encode them; others are left to it."""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.tuple cimport PyTuple_GetItem
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memcpy

from mta._speedups.buffer cimport Buffer, put, reserve
from mta.model cimport Message, Recipient

cdef Buffer out
cdef const char* HEX = b"0123456789abcdef"

cdef extern from *:
    """
    #define ONES 0x0101010101010101ULL
    """
    const uint64_t ONES  # 1 in each octet


cdef inline object item(object values, Py_ssize_t at):
    # Of a named tuple: a tuple's subclass, which generic indexing is slow for.
    return <object> PyTuple_GetItem(values, at)


cdef int put_digits(int64_t number) except -1:
    cdef uint64_t left = <uint64_t> number if number >= 0 else 0 - <uint64_t> number
    cdef uint8_t[20] digits
    cdef int at = 20
    while True:
        at -= 1
        digits[at] = <uint8_t> (48 + left % 10)
        left = left // 10
        if not left:
            break
    if number < 0:
        put(&out, b"-", 1)
    return put(&out, digits + at, 20 - at)


cdef inline Py_ssize_t escape(uint8_t byte, uint8_t* to) noexcept nogil:
    # RFC 8259 section 7
    cdef uint8_t short = 0
    if byte == 34 or byte == 92:
        short = byte
    elif byte == 8:
        short = 98
    elif byte == 9:
        short = 116
    elif byte == 10:
        short = 110
    elif byte == 12:
        short = 102
    elif byte == 13:
        short = 114
    to[0] = 92
    if short:
        to[1] = short
        return 2
    to[1], to[2], to[3] = 117, 48, 48
    to[4], to[5] = HEX[byte >> 4], HEX[byte & 15]
    return 6


cdef inline bint plain(uint64_t word) noexcept nogil:
    # None of eight octets is below 32, a quotation mark or a backslash: the sum of what a borrow
    # sets in an octet that is 0 (or below 32), as far as its own high bit is not set.
    cdef uint64_t quote = word ^ (ONES * 34), slash = word ^ (ONES * 92)
    cdef uint64_t below = (word - ONES * 32) & ~word
    return ((below | (quote - ONES) & ~quote | (slash - ONES) & ~slash) & ONES * 128) == 0


cdef int put_quoted(str text) except -1:
    cdef Py_ssize_t size, i = 0, at = 1
    cdef uint64_t word
    cdef const uint8_t* data = <const uint8_t*> PyUnicode_AsUTF8AndSize(text, &size)
    cdef uint8_t* to = reserve(&out, 6 * size + 2)
    to[0] = 34
    while i < size:
        if size - i >= 8:
            memcpy(&word, data + i, 8)
            if plain(word):
                memcpy(to + at, &word, 8)
                i += 8
                at += 8
                continue
        if data[i] < 32 or data[i] == 34 or data[i] == 92:
            at += escape(data[i], to + at)
        else:
            to[at] = data[i]
            at += 1
        i += 1
    to[at] = 34
    out.used += at + 1
    return 0


cdef inline int put_text(const char* key, Py_ssize_t size, str text) except -1:
    # `key` is the comma, the name and the colon; a text that is empty is left out.
    if text:
        put(&out, key, size)
        put_quoted(text)
    return 0


cdef inline int put_number(const char* key, Py_ssize_t size, int64_t value) except -1:
    if value:
        put(&out, key, size)
        put_digits(value)
    return 0


cdef int put_id(bytes id) except -1:
    cdef const uint8_t* data = id
    cdef Py_ssize_t size = len(id), i
    cdef uint8_t* to = reserve(&out, 2 * size)
    for i in range(size):
        to[2 * i], to[2 * i + 1] = HEX[data[i] >> 4], HEX[data[i] & 15]
    out.used += 2 * size
    return 0


cdef int begin(bytes head, int64_t time, Message m) except -1:
    out.used = 0
    put(&out, <const char*> head, len(head))
    put_digits(time)
    put(&out, b',"id":"', 7)
    put_id(m.id)
    return put(&out, b'"', 1)


cdef int end(Message m, bytes tail) except -1:
    put(&out, <const char*> tail, len(tail))
    return put_text(b',"session":', 11, m.session)


cdef inline bytes taken():
    put(&out, b"}", 1)
    return PyBytes_FromStringAndSize(<char*> out.data, out.used)


cdef int put_tenant(Message m) except -1:
    put_text(b',"tenant":', 10, m.tenant)
    return put_text(b',"campaign":', 12, m.campaign)


cdef class Lines:

    def __init__(self, bytes tail not None):
        self._tail = tail

    cpdef bytes reception(self, int64_t time, Message m, list recipients, Py_ssize_t shown,
                          str klass):
        cdef Py_ssize_t i, count = len(recipients)
        cdef Recipient r
        begin(b'{"type":"Reception","time":', time, m)
        put(&out, b',"sender":', 10)
        put_quoted(m.sender)
        for i in range(min(count, shown)):
            put(&out, b',"recipients":[' if i == 0 else b",", 15 if i == 0 else 1)
            r = recipients[i]
            put_quoted(r.address)
        if count:
            put(&out, b"]", 1)
        put_number(b',"total":', 9, count)
        put_tenant(m)
        put_text(b',"pool":', 8, m.pool)
        put_text(b',"class":', 9, klass)
        put_text(b',"peer_name":', 13, m.peer_name)
        put_text(b',"peer_address":', 16, m.peer_address)
        put_number(b',"size":', 8, m.size)
        end(m, self._tail)
        put_text(b',"message_id":', 14, m.message_id)
        return taken()

    cpdef bytes delivery(self, int64_t time, Recipient r, outcome, peer, stages,
                         str queue, str site, str tls, str klass):
        cdef Message m = r.message
        begin(b'{"type":"Delivery","time":', time, m)
        put(&out, b',"rno":', 7)
        put_digits(r.number)
        put(&out, b',"sender":', 10)
        put_quoted(m.sender)
        put_text(b',"recipient":', 13, r.address)
        put_tenant(m)
        put_text(b',"class":', 9, klass)
        put_text(b',"queue":', 9, queue)
        put_text(b',"site":', 8, site)
        put_text(b',"source":', 10, <str?> item(peer, 2))
        put_text(b',"peer_name":', 13, <str?> item(peer, 0))
        put_text(b',"peer_address":', 16, <str?> item(peer, 1))
        put_number(b',"code":', 8, item(outcome, 1))
        put_text(b',"enhanced":', 12, <str?> item(outcome, 2))
        put_text(b',"text":', 8, <str?> item(outcome, 3))
        put_text(b',"command":', 11, <str?> item(outcome, 4))
        put_number(b',"attempts":', 12, r.attempts)
        put_number(b',"size":', 8, m.size)
        if tls is not None:
            put(&out, b',"tls":', 7)
            put_quoted(tls)
        put_number(b',"queued":', 10, item(stages, 0))
        put_number(b',"dns":', 7, item(stages, 1))
        put_number(b',"connect":', 11, item(stages, 2))
        put_number(b',"transfer":', 12, item(stages, 3))
        end(m, self._tail)
        return taken()
