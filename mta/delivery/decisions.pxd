# The C fields of the decisions, whose lists are looked at for every message.

from mta.delivery.feeder cimport Attempt


cdef class Prepare:
    cpdef prepare(self, Attempt attempt, long long offers)


cdef class Decisions:
    cdef readonly list early, last, prepare, settle
    cdef readonly bint threaded
