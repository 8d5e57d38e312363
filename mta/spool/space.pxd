# Layout of what is known of the disks' room; the source is space.py.

cdef class Space:
    cdef object _folder, _uses, _clock, _log, _home
    cdef public object statvfs
    cdef public long long _minimum
    cdef long long _unwritten
    cdef int _shards
    cdef double _next, _sooner
    cdef str _problem
    cdef public long long left, loan
    cdef public bint short

    cpdef str problem(self)
    cpdef begin(self)
    cpdef str take(self, long long octets)
    cpdef look(self)
