# A growing piece of memory that a line or record is built in; its owner keeps it for the next one.

from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport realloc
from libc.string cimport memcpy


cdef struct Buffer:
    uint8_t* data
    Py_ssize_t used
    Py_ssize_t room


cdef inline uint8_t* reserve(Buffer* b, Py_ssize_t size) except NULL:
    # Where the next `size` octets go; valid until the next call.
    cdef uint8_t* grown
    if b.data == NULL or b.room - b.used < size:
        grown = <uint8_t*> realloc(b.data, 2 * b.room + size + 512)
        if grown == NULL:
            raise MemoryError
        b.data, b.room = grown, 2 * b.room + size + 512
    return b.data + b.used


cdef inline int put(Buffer* b, const void* data, Py_ssize_t size) except -1:
    memcpy(reserve(b, size), data, size)
    b.used += size
    return 0


cdef inline int put_big(Buffer* b, uint64_t value, int size) except -1:
    # An integer in `size` octets, big-endian.
    cdef uint8_t* p = reserve(b, size)
    cdef int i
    for i in range(size):
        p[i] = <uint8_t> (value >> (8 * (size - 1 - i)))
    b.used += size
    return 0
