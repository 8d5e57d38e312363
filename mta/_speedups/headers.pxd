"""One look at a message's header: see headers.pyx."""

cimport cython
from libc.stdint cimport uint64_t


@cython.final
cdef class Names:
    cdef frozenset _names    # lower case
    cdef uint64_t _lengths   # a bit for each length of a name; bit 63 for all the longer ones


@cython.final
@cython.freelist(16)
cdef class HeaderScan:
    cdef readonly Py_ssize_t header_end
    cdef readonly Py_ssize_t received_count
    cdef readonly bint has_date
    cdef readonly bint has_message_id
    cdef readonly str message_id
    cdef readonly dict found      # None for nothing
    cdef readonly list kept       # the same
    cdef Py_ssize_t _kept_from    # what is kept next begins here


cpdef HeaderScan scan(bytes body, Names names=*, Py_ssize_t start=*)
