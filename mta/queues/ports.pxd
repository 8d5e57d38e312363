# The C fields of ports.py.

cdef class Settings:
    cdef public long long lane_items, memory_items, body_memory, per_transaction
    cdef public dict retries
    cdef public double delay_after
    cdef public bint delay_unasked


cdef class Ports:
    cdef public object clock, random, peek, resolve, wake, failed, bury
    cdef public object memory, take_memory, receiving, loading, egress


cdef class Counters:
    cdef public long long received, delivered, deferred, bounced, expired, removed
