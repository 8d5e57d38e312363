from mta.delivery.deadlines cimport Timed
from mta.model cimport Message

cdef class Attempt:
    cdef public Message message
    cdef public list recipients
    cdef public bytes body
    cdef public object tag
    cdef public double mail_at
    cdef public str failure
    cdef public long long flags, offers, connect_us, transfer_us


cdef class Connection(Timed):
    cdef public object dial, peer, local
    cdef public bint overlap_failed
    cdef public long long offers

    cpdef kick(self)
    cpdef close(self)
    cpdef abort(self)
    cpdef bint unload(self, double before) except -1


cdef class Feeder:
    cdef public object hand

    cpdef Attempt next_attempt(self, Connection connection)
    cpdef content_sent(self, Connection connection)
    cpdef content_over(self, Attempt attempt)
    cpdef attempt_done(self, Connection connection, Attempt attempt, list outcomes)
    cpdef connection_ready(self, Connection connection)
    cpdef connection_idle(self, Connection connection)
    cpdef connection_closed(self, Connection connection, outcome)
