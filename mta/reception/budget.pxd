# Layout of the budget; the source is budget.py.

cimport cython

from mta.reception.client cimport Client


cdef class Budget:
    cdef readonly long long limit, back
    cdef readonly object count
    cdef readonly long long waits
    cdef long long _largest, _worker
    cdef object _table, _call_later, _waiting
    cdef Client _elder
    cdef bint _polling

    cpdef bint take(self, long long octets) except -1
    cpdef resize(self, long long octets, long long largest)

    @cython.locals(usual=cython.longlong, taken=cython.bint)
    cpdef bint reserve(self, Client holder, long long octets) except -1

    @cython.locals(octets=cython.longlong)
    cpdef release(self, Client holder)
    cpdef bint grow(self, Client holder, long long size) except -1

    @cython.locals(rest=cython.longlong, octets=cython.longlong, taken=cython.bint)
    cdef bint _grow(self, Client holder, long long size) except -1
    cdef bint _grow_elder(self, long long octets) except -1
    cpdef forget(self, Client holder)
    cdef bint _promote(self, Client holder) except -1
    cdef _demote(self)
