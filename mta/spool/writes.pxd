# Layout of the writing half of a shard; the source is writes.py.

cimport cython

from mta.model cimport Message, Recipient
from mta.spool cimport encoder, keys
from mta.spool.bodies cimport BodyStore
from mta.spool.changes cimport Frame, Stored, stored
from mta.spool.cycle cimport Cycle
from mta.spool.space cimport Space
from mta.spool.young cimport Young

cdef int _FRESH, _DUE, _BACKLOG


cdef class Writes:
    cdef public long long number
    cdef public Cycle _cycle
    cdef public BodyStore _bodies
    cdef public Young _young
    cdef public Space _space
    cdef public object _messages
    cdef public bint _closing
    cdef public long long _due_mark, _expiry_mark
    cdef public dict _lane_marks

    @cython.locals(cycle=Cycle, body=bytes, one=Stored)
    cpdef accept(self, Message message, list recipients, object done)

    @cython.locals(recipient=Recipient)
    cpdef Stored taken(self, Message message, list recipients, bint young=*)

    @cython.locals(frame=Frame)
    cpdef log(self, bytes line, bytes logged=*)

    @cython.locals(frame=Frame, message=Message, key=bytes)
    cpdef close(self, Recipient recipient, bytes line, tuple dsn=*)

    @cython.locals(frame=Frame)
    cpdef defer(self, Recipient recipient, bytes line, int where, long long due_us)

    @cython.locals(frame=Frame, key=bytes)
    cdef _moved(self, Frame frame, Recipient recipient, int where, long long due_us)

    @cython.locals(key=bytes, old=list)
    cpdef expire_at(self, Recipient recipient, long long expires_us)

    cpdef list change(self, Recipient recipient, bytes key, int where, long long due_us)
    cdef long long _ahead(self, Recipient recipient, int where, long long due_us) except? -1
    cpdef bint _expires_ahead(self, Recipient recipient)
    cpdef Frame _frame(self)
    cdef _check_open(self)
