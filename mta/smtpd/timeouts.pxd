# Layout of the wheel; the source is timeouts.py.

cdef class Seconds:
    cdef public long long command, idle, data_block, header, linger, content, session


cdef class Deadlines:
    cdef public long long now
    cdef object _time, _call_later
    cdef dict _buckets
    cdef bint _ticking

    cpdef add(self, object item, long long seconds)
    cdef _put(self, object item)
    cpdef advance(self, object item)
    cpdef remove(self, object item)
