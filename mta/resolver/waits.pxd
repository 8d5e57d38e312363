# The C fields of what watches questions and look-ups.

cdef class Waits:
    cdef dict _ends
    cdef object _timer

    cpdef add(self, object waiting, double seconds)
    cpdef discard(self, object waiting)
