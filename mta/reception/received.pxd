# Layout of the dates; the source is received.py.

cdef class Dates:
    cdef long long _second
    cdef bytes _text

    cpdef bytes at(self, long long wall_us)
