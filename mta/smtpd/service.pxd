# Layout of what sessions share; the source is service.py.

from mta.reception.reception cimport Reception
from mta.smtpd.timeouts cimport Deadlines, Seconds


cdef class Terms:
    cdef public Reception reception
    cdef public Seconds seconds


cdef class Service:
    cdef readonly bytearray buffer
    cdef tuple _buffers
    cdef readonly Deadlines deadlines
    cdef public object limits
    cdef public long long accepted, refused, timed_out, starved
    cdef str _prefix
