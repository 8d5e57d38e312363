# Layout of a session; the source is session.py.

cimport cython

from mta._speedups.server cimport ServerCore
from mta._speedups.verdict cimport Verdict
from mta.reception.client cimport Client
from mta.smtpd.service cimport Service, Terms

cdef long long _NEVER
cdef int _HELLO, _MAIL, _RCPT, _DATA, _CONTENT, _COMMAND, _RESET
cdef Verdict _ACCEPTED
cdef int _WAITING, _IN_CONTENT, _WANTS_READ, _HOLDS


cdef class Session(Client):
    cdef readonly object listener
    cdef readonly Service service
    cdef readonly Terms terms
    cdef readonly ServerCore core
    cdef public object transport, claims, task
    cdef public bytes network
    cdef public long long deadline, bucket, cap, ends
    cdef public bint turning, blocked, paused, ending, eof, starved, moved
    cdef public Py_ssize_t errors, seen

    cpdef get_buffer(self, Py_ssize_t sizehint)
    cpdef buffer_updated(self, Py_ssize_t nbytes)

    @cython.locals(kind=int, status=int, output=bytes)
    cpdef _turn(self)
    cdef _spoken(self)
    cdef _note_errors(self)
    cdef _grow(self)
    cpdef more_room(self)
    cpdef long long held(self) except? -2
    cpdef bytes origin(self)
    cpdef give_way(self)
    cpdef give_up(self)

    @cython.locals(deadline=cython.longlong)
    cdef _extend(self, long long seconds)
    cdef _read_or_pause(self)
    cdef _finish(self)
    cpdef stored(self, Verdict verdict)
    cpdef say(self, Verdict verdict)
    cpdef settle(self, object answer, object then)
    cpdef _answer(self, int kind)
    cpdef bytes _greeted(self, str name, bint extended)
    cdef _mail(self)
    cdef _rcpt(self)
    cdef _data(self)
    cpdef _open(self, Verdict verdict)
    cdef _content(self)
    cpdef _reset(self, Verdict refusal)
    cpdef _forget(self)
    cpdef _command(self, object event)
