# Layout of what is known of the disk's room; the source is space.py.

cdef class Space:
    cdef object _folder, _clock
    cdef public long long _minimum
    cdef double _next
    cdef str _problem

    cpdef str problem(self)
