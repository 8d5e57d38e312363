# Layout of a cycle's job; the source is committer.py.

from mta.spool.changes cimport Frame


cdef class Job:
    cdef public Frame frame
    cdef public list accepted, frames, changes, runs
    cdef public bint reopen, close
    cdef public object position, frame_error, error
    cdef public double seconds
