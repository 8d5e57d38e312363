# Layout of the budget; the source is budget.py.

cimport cython

from mta._speedups.sharedtable cimport SharedTable
from mta.reception.client cimport Client

cdef long long _READ, _AHEAD


cdef class Budget:
    cdef readonly long long limit, back
    cdef readonly object count
    cdef readonly long long waits, dropped
    cdef readonly bint tight
    cdef public object on_tight
    cdef long long _usual, _part, _first, _grown, _largest
    cdef int _worker
    cdef SharedTable _table
    cdef object _call_later, _waiting, _pressure
    cdef set _holders
    cdef Client _elder
    cdef bint _polling, _watching, _pressed

    cpdef bint take(self, long long octets) except -1
    cpdef resize(self, long long octets, long long largest)
    cpdef bint has(self, Client holder) except -1
    cpdef bint _find(self, Client holder) except -1

    @cython.locals(taken=cython.bint)
    cpdef bint reserve(self, Client holder, long long octets) except -1

    @cython.locals(octets=cython.longlong)
    cpdef release(self, Client holder)
    cpdef bint grow(self, Client holder, long long size) except -1
    cpdef bint _may_grow(self, Client holder) except -1

    @cython.locals(
        rest=cython.longlong, octets=cython.longlong, limit=cython.longlong, taken=cython.bint
    )
    cdef bint _grow(self, Client holder, long long size, long long ahead) except -1
    cdef _count(self, Client holder, long long octets)
    cpdef forget(self, Client holder)
    cdef bint _serve(self, Client holder) except -1
    cdef bint _promote(self, Client holder) except -1
    cdef _demote(self)
    cdef _watch(self)
    cdef _relieve(self)
    cdef _tighten(self, bint tight)
