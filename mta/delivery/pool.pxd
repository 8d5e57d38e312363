cimport cython

from mta.delivery.feeder cimport Connection
from mta.delivery.growth cimport Growth
from mta.model cimport Message
from mta.shaping.gate cimport SiteLimits

cdef int _READ_AHEAD, _READ_OCTETS, _READS_AT_ONCE


cdef class Dial:
    cdef public Pool pool
    cdef public object last, targets, target
    cdef public int place
    cdef public double began, ready_at, turn


cdef class Pool:
    cdef public object dispatcher, ready, paced, again, target, peer, prepared
    cdef readonly SiteLimits limits
    cdef public dict connections, idle
    cdef public Growth growth
    cdef public long long dialling, reading, in_flight
    cdef public bint woken, waits, starved
    cdef public double rested_until, again_at, moved_at

    cpdef work(self)
    cpdef bint rests(self)
    cpdef bint waiting(self) except -1
    cpdef long long count(self) except -1
    cdef _grow(self)

    @cython.locals(message=Message, cold=list, octets=cython.longlong)
    cpdef next_parcel(self)

    @cython.locals(dial=Dial)
    cpdef share(self, Connection connection)
