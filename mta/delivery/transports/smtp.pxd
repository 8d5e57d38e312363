cimport cython

from mta._speedups.client cimport ClientCore, Transaction
from mta.delivery.deadlines cimport Deadlines
from mta.delivery.feeder cimport Attempt, Connection, Feeder
from mta.delivery.outcome cimport outcome, outcomes
from mta.model cimport Message, Recipient

cdef int _READY, _CONTENT_WANTED, _DONE, _UTF8_FLAG, _BINARY, _DSN, _SMTPUTF8
cdef int _KIND_AHEAD, _MAX_LOCAL


cdef class SmtpConnection(Connection):
    cdef public ClientCore core
    cdef public bint ready
    cdef public double idle_since
    cdef public long long connect_us
    cdef Feeder _feeder
    cdef Deadlines _deadlines
    cdef object _loop, _timeouts, _buffer
    cdef readonly object _transport
    cdef bytes _latest
    cdef double _now, _began, _idle_timeout, _sent_at
    cdef long long _max_messages, _taken, _unsent, _mark_replies
    cdef int _local, _mark_kind
    cdef bint _watched, _pumping, _kicked, _closing, _paused, _ended, _lost, _told, _expired
    cdef object _why

    @cython.locals(sent=Transaction, attempt=Attempt)
    cpdef bint unload(self, double before) except -1

    cdef _pump(self)

    @cython.locals(core=ClientCore, event=cython.int)
    cdef bint _handle_events(self) except -1

    cdef _write(self, list out)
    cdef _on_ready(self)

    @cython.locals(attempt=Attempt)
    cdef _begin(self)

    @cython.locals(ahead=Attempt, following=Transaction)
    cdef _on_content_wanted(self)

    cdef bint _is_full(self)
    cdef _learn(self)

    @cython.locals(core=ClientCore, message=Message, recipient=Recipient, flags=cython.int,
                   body=bytes, recipients=list, addresses=list, sender=str, mail=bytes, rcpt=list)
    cdef Transaction _transaction(self, Attempt attempt)

    cdef _share(self, list recipients)

    @cython.locals(attempt=Attempt, found=list, left=cython.long)
    cdef _on_done(self, Transaction transaction)

    cdef _end(self)
    cdef _tell_closed(self, why)

    @cython.locals(core=ClientCore, kind=cython.int)
    cdef _arm(self)

    cdef _watch_writing(self)
    cdef bint _drains(self) except -1
