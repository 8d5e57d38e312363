# The C fields and methods of lanes.py.

cimport cython
from mta.model cimport Message

cdef long long _QUANTUM, _OVERHEAD


cdef class Parcel:
    cdef public Message message
    cdef public list recipients
    cdef public ReadyQueue ready
    cdef public long long queued_us, dns_us
    cdef public dict cleared


cdef class Lane:
    cdef public str campaign
    cdef public object parcels
    cdef public bint parked


cdef class TenantTurn:
    cdef public str tenant
    cdef public dict lanes
    cdef public list active
    cdef public long long deficit
    cdef public bint parked


cdef long long _cost(Parcel parcel) except? -1


cdef class ReadyQueue:
    cdef object __weakref__
    cdef public object key, plan, pool
    cdef public str name, source
    cdef public long long count, lane_items
    cdef tuple _tenants, _rings
    cdef list _credit

    @cython.locals(turn=TenantTurn, lane=Lane)
    cpdef long long room(self, Message message) except? -1
    @cython.locals(message=Message, turns=dict, turn=TenantTurn, lane=Lane)
    cpdef push(self, Parcel parcel)
    @cython.locals(message=Message, turn=TenantTurn, lane=Lane, ring=list, klass=cython.longlong)
    cpdef put_back(self, Parcel parcel)
    @cython.locals(rings=tuple, klass=cython.int)
    cpdef Parcel pop(self)
    @cython.locals(ring=list, turn=TenantTurn, lane=Lane, parcel=Parcel, cost=cython.longlong)
    cdef Parcel _take(self, long long klass)
    cpdef long long waiting(self) except? -1
    cpdef int highest(self) except? -1
