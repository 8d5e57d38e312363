# What every message's keys are built with; the source is keys.py.

from mta.model cimport Recipient

cdef list _SMALL
cdef int _FRESH, _DUE, _BACKLOG, _HELD

cpdef bytes recipient(bytes id, long long number)
cpdef bytes expiry(object when_us, bytes key)
cpdef bytes row(Recipient recipient, bytes key)
