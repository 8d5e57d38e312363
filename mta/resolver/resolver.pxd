# The C fields of the resolver, and what is asked for every message.

cimport cython
from mta.resolver.waits cimport Waits


cdef class Stats:
    cdef public long long hits, lookups, shared, questions, failures


cdef class Records:
    cdef readonly tuple values
    cdef readonly double until
    cdef readonly str status, text


cdef class Chain:
    cdef readonly str name
    cdef readonly long long rdtype
    cdef Resolver _resolver
    cdef object _done, _asked
    cdef str _target
    cdef long long _ttl, _left

    cpdef ask(self)
    cpdef expired(self)
    cpdef cancel(self)
    cdef _fail(self, str reason)
    cdef _end(self, object records)


cdef str _name(str domain)
cdef _tell(list waiting, object answer)


cdef class Resolver:
    cdef readonly object options
    cdef object _clock
    cdef readonly object exchange
    cdef object _mx, _addresses
    cdef dict _mx_waiting, _address_waiting
    cdef set _futures
    cdef readonly Waits under_way
    cdef readonly Stats stats

    @cython.locals(waiting=list)
    cpdef find_mx(self, str domain, object done)
    cpdef find_addresses(self, str host, object done)
    cdef _end_mx(self, str name, object answer)
    cdef object _keep_mx(self, str name, object answer)
    cdef _ask(self, str name, long long rdtype, object done)
    cpdef object peek_mx(self, str domain)
    cpdef object peek_address_answer(self, str host)
    cpdef object judge(self, str name, long long rdtype, object reply, long long ttl)
    cpdef object temporary(self, str name, long long rdtype, str reason)
