# Layout of what is between a call on the shard and the disk; the source is cycle.py.

cimport cython

from mta.model cimport Message
from mta.spool.bodies cimport BodyStore
from mta.spool.changes cimport Changes, Frame, Stored, apply
from mta.spool.committer cimport Job


cdef class Cycle:
    cdef object _store, _log, _clock, _call_later, _committer
    cdef BodyStore _bodies
    cdef double _outcome_interval, _stall_patience
    cdef Py_ssize_t _frame_records, _expected
    cdef public str problem
    cdef public object stats, kept, on_durable, on_hold
    cdef public Frame frame
    cdef public Changes moves
    cdef public dict unlogged
    cdef public bytes newest_logged
    cdef public list incoming
    cdef public bint closed
    cdef object _frozen, _logged, _timer, _retry, _write_error, _stalled_since, _closing
    cdef list _again, _again_frames, _doubtful
    cdef Job _job
    cdef bint _gathering, _busy, _frame_due, _kicked, _reopen, _halted, _stale
    cdef double _retry_delay, _began
    cdef int _attempts_left

    cpdef accept(self, Stored message)
    cpdef kick(self)
    cpdef changed(self)
    cpdef flush_now(self)

    @cython.locals(frame=Frame)
    cpdef tuple pending(self, bytes key)

    cpdef bint is_closed(self, bytes key)
    cpdef list frames(self)
    cdef _turn(self)
    cdef bint _gathers(self)
    cdef _submit(self, Job job)
    cdef _freeze(self)

    @cython.locals(ready=list, frames=list, frame=Frame, changes=Changes, last=Changes, one=Stored)
    cdef bint _write(self) except -1

    cdef bint _try(self, object batch) except -1
    cdef _written(self, list ready, list frames)
    cdef _settled(self, Job job)
    cdef _plan(self, Job job)
    cdef _logs(self, Job job)
    cdef _frame_done(self, Job job)

    @cython.locals(changes=Changes, one=Stored, frame=Frame)
    cdef _durable(self, Job job)

    @cython.locals(message=Message)
    cdef _applied(self, Changes changes)

    cdef _count(self, Job job)
