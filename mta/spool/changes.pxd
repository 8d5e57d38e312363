# Layout of what is to be written; the source is changes.py.

cimport cython

from mta.model cimport Message, Recipient
from mta.spool cimport encoder, keys
from mta.spool.bodies cimport BodyStore

cdef int _FRESH


cdef class Stored:
    cdef public Message message
    cdef public list ops, young
    cdef public object done


@cython.locals(one=Stored, id=bytes, body=bytes, key=bytes, r=Recipient)
cpdef Stored stored(Message message, list recipients, BodyStore bodies, bint young=*)

cpdef tuple listing(Recipient r, bytes key)


cdef class Changes:
    cdef public list accepted, ops, ended, after

    cpdef set(self, bytes key, bytes value)
    cpdef end(self, Message message)

    @cython.locals(one=Stored, message=Message)
    cpdef apply(self, object batch, object store, BodyStore bodies)


cpdef apply(list ops, object batch, list families)


cdef class Frame:
    cdef public list lines, done, logged
    cdef public Changes changes
    cdef public dict touched, changing
    cdef public long long due_min
    cdef public object position
    cdef public bint has_backlog

    @cython.locals(message=Message)
    cpdef freeze(self)
