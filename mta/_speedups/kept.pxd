# Octets that came and are not parsed yet; their owner frees them with `drop`.

from cpython.mem cimport PyMem_Free, PyMem_Realloc
from libc.string cimport memcpy, memmove


cdef struct Kept:
    unsigned char* data  # data[first:last], owned
    Py_ssize_t first
    Py_ssize_t last
    Py_ssize_t room


cdef inline Py_ssize_t left(const Kept* kept) noexcept nogil:
    return kept.last - kept.first


cdef inline int keep(Kept* kept, const unsigned char* p, Py_ssize_t n) except -1:
    # Append p[:n].
    cdef Py_ssize_t held = kept.last - kept.first
    cdef unsigned char* room
    if kept.first:
        memmove(kept.data, kept.data + kept.first, held)
        kept.first, kept.last = 0, held
    if held + n > kept.room:
        room = <unsigned char*> PyMem_Realloc(kept.data, max(held + n, 2 * held))
        if room == NULL:
            raise MemoryError()
        kept.data, kept.room = room, max(held + n, 2 * held)
    memcpy(kept.data + held, p, n)
    kept.last += n
    return 0


cdef inline void drop(Kept* kept) noexcept:
    # Forget all, and give the memory back.
    PyMem_Free(kept.data)
    kept.data = NULL
    kept.first = kept.last = kept.room = 0
