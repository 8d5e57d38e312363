# Layout of a cycle's job; the source is committer.py.

from mta.spool.changes cimport Frame


cdef class Job:
    cdef public Frame frame
    cdef public list backlog, accepted, frames, changes, runs
    cdef public bint keep, reopen, close, logged, placed
    cdef public object position, packed, drained, frame_error, error
    cdef public double seconds
