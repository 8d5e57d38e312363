cimport cython

from mta._speedups.values cimport named
from mta.delivery.decider cimport Decider
from mta.delivery.feeder cimport Attempt, Connection, Feeder
from mta.delivery.pool cimport Dial, Pool
from mta.model cimport Message, Recipient
from mta.queues.lanes cimport Parcel
from mta.shaping.gate cimport Gate

cdef object _UNATTEMPTED


cdef class Dispatcher(Feeder):
    cdef public object loop, clock, manager, hosts
    cdef public Gate gate
    cdef public object targets, connection, read_bodies, no_overlap
    cdef readonly Decider decider
    cdef public set pools
    cdef public dict denied
    cdef public bint draining, held, halted
    cdef public long long in_flight, flying
    cdef object _idle, _turn, _sent
    cdef tuple _beyond
    cdef list _woken
    cdef set _tasks

    @cython.locals(pool=Pool)
    cpdef wake(self, ready)

    cdef _wake_pool(self, Pool pool)
    cpdef look_again(self, Pool pool, double seconds)
    cpdef bint open(self, Pool pool) except -1
    cdef _make_room(self, Pool wanting)

    @cython.locals(other=Pool)
    cdef bint _others_starve(self, Pool pool) except -1

    @cython.locals(dial=Dial)
    cdef bint _has_had_its_turn(self, Connection connection) except -1

    cdef _release(self, Pool pool)

    @cython.locals(dial=Dial, pool=Pool, attempt=Attempt)
    cpdef Attempt next_attempt(self, Connection connection)

    @cython.locals(recipient=Recipient, recipients=list)
    cdef _begin(self, Pool pool, Attempt attempt)

    @cython.locals(message=Message)
    cpdef content_over(self, Attempt attempt)

    @cython.locals(dial=Dial, pool=Pool, parcel=Parcel,
                   waited=cython.longlong, transfer=cython.longlong)
    cpdef attempt_done(self, Connection connection, Attempt attempt, list outcomes)
