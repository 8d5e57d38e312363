# Layout of the young recipients' books; the source is young.py.

cimport cython

from mta.model cimport Recipient
from mta.spool cimport encoder, keys
from mta.spool.changes cimport Stored
from mta.spool.cycle cimport Cycle


cdef class Young:
    cdef Cycle _cycle
    cdef object _call_later, _ahead, _timer
    cdef public dict _young
    cdef long long _expiry
    cdef bytes _newest, _durable, _mark
    cdef public bytes listed

    cpdef bint may_be(self, bytes id)
    cpdef bint forget(self, bytes key)

    @cython.locals(one=Stored, key=bytes, recipient=Recipient)
    cpdef _add(self, list group)
