cimport cython

from mta._speedups.values cimport named
from mta.delivery.decisions cimport Decisions, Prepare
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
    cdef readonly Decisions decisions
    cdef readonly object ahead
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
    cpdef pace(self, Pool pool, double seconds)
    cpdef look_again(self, Pool pool, double seconds)
    cpdef bint open(self, Pool pool) except -1
    cdef _make_room(self, Pool wanting)

    @cython.locals(other=Pool)
    cdef bint _others_starve(self, Pool pool) except -1

    @cython.locals(dial=Dial)
    cdef bint _has_had_its_turn(self, Connection connection) except -1

    cdef _release(self, Pool pool)

    @cython.locals(dial=Dial, pool=Pool, parcel=Parcel, attempt=Attempt)
    cpdef Attempt next_attempt(self, Connection connection)

    @cython.locals(parcel=Parcel)
    cpdef Parcel next_parcel(self, Pool pool)

    @cython.locals(wait=cython.double)
    cpdef bint may_leave(self, Pool pool, Parcel parcel) except -1

    @cython.locals(recipient=Recipient)
    cdef bint _wait(self, Pool pool, Parcel parcel, wait) except -1

    cdef _refund(self, Pool pool, Parcel parcel)

    @cython.locals(attempt=Attempt)
    cpdef Attempt attempt(self, Pool pool, Parcel parcel, long long offers)

    @cython.locals(member=Prepare)
    cpdef bint prepare(self, Attempt attempt) except -1

    @cython.locals(recipient=Recipient, recipients=list)
    cpdef begin(self, Pool pool, Attempt attempt)

    @cython.locals(message=Message)
    cpdef content_over(self, Attempt attempt)

    @cython.locals(dial=Dial, pool=Pool, parcel=Parcel,
                   waited=cython.longlong, transfer=cython.longlong)
    cpdef attempt_done(self, Connection connection, Attempt attempt, list outcomes)
