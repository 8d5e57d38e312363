# Layout of what sessions share; the source is service.py.

from mta.smtpd.timeouts cimport Deadlines


cdef class Service:
    cdef readonly bytearray buffer
    cdef readonly object view
    cdef readonly Deadlines deadlines
    cdef public object limits
    cdef public long long accepted, refused, timed_out, starved
    cdef str _prefix
