# The C fields of the decider, and its methods on the way of every message.

cimport cython

from mta.delivery.decisions cimport Decisions, Prepare
from mta.delivery.feeder cimport Attempt
from mta.delivery.pool cimport Pool
from mta.model cimport Message, Recipient
from mta.queues.lanes cimport Parcel
from mta.shaping.gate cimport Gate


cdef class Decider:
    cdef readonly object loop, manager, wake, ahead
    cdef readonly Gate gate
    cdef public Decisions decisions
    cdef object _finish

    @cython.locals(decisions=Decisions, parcel=Parcel, attempt=Attempt)
    cpdef Attempt next_attempt(self, Pool pool, long long offers)

    @cython.locals(parcel=Parcel)
    cpdef Parcel next_parcel(self, Pool pool)

    @cython.locals(decisions=Decisions, message=Message, wait=cython.double)
    cpdef bint may_leave(self, Pool pool, Parcel parcel) except -1

    @cython.locals(recipient=Recipient)
    cdef bint _wait(self, Pool pool, Parcel parcel, wait) except -1

    cpdef refund(self, Pool pool, Parcel parcel)

    @cython.locals(attempt=Attempt, message=Message)
    cpdef Attempt attempt(self, Parcel parcel, long long offers)

    @cython.locals(member=Prepare)
    cdef bint _prepare(self, Attempt attempt) except -1

    cpdef settle(self, Parcel parcel, list outcomes, peer, stages)
