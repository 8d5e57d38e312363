cdef double _NEVER

cdef class Timed:
    cdef public double deadline, armed

    cpdef expired(self)


cdef class Deadlines:
    cdef object _loop, _timer
    cdef dict _buckets
    cdef long long _second

    cpdef add(self, Timed timed)
    cpdef remove(self, Timed timed)
    cdef _place(self, Timed timed)
    cdef _visit(self, set bucket, double now)
