# Layout of the machine's clocks; the source is clock.py.

cimport cython

cdef object _time_ns, _monotonic_ns


cdef class SystemClock:
    cpdef double monotonic(self)

    @cython.locals(now=cython.longlong)
    cpdef long long wall_us(self)


cdef class SteadyClock:
    cdef long long _ahead_ns
    cdef object _steps

    cpdef double monotonic(self)

    @cython.locals(now=cython.longlong)
    cpdef long long wall_us(self)
