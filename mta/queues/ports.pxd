# The C fields of ports.py.

cdef class Settings:
    cdef public long long lane_items, memory_items, body_memory, per_transaction
    cdef public dict retries
    cdef public double delay_after
    cdef public bint delay_unasked, by_domain


cdef class Ports:
    cdef public object clock, random, peek, resolve, wake, failed, bury
    cdef public object memory, take_memory, receiving, loading, egress

    cpdef count_memory(self, long long octets)
    cpdef bint take_room(self, long long octets) except -1


cdef class Counters:
    cdef public long long received, delivered, deferred, bounced, expired, removed
