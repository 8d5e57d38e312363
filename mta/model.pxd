# Layout of what every message walks through; the source is model.py.

cimport cython

from mta._speedups.ids cimport packed


cdef class Message:
    cdef object __weakref__
    cdef public bytes id
    cdef public str sender, tenant, campaign, pool
    cdef public str peer_name, peer_address, message_id, session
    cdef public str envid, ret
    cdef public bytes body
    cdef public long long klass, flags, priority, size, received_us, release_us, place
    cdef public long long open, total, uses


cdef class Recipient:
    cdef public Message message
    cdef public str address, domain, enhanced, text, route, orcpt, site
    cdef public list orders
    cdef public long long number, attempts, due_us, expires_us, where, code, notify
    cdef public bint flying, loaded


cdef class IdGenerator:
    cdef object _clock
    cdef long long _shard, _last_ms, _counter

    @cython.locals(now=cython.longlong)
    cpdef bytes next(self)
    cpdef resume_after(self, bytes last)


cpdef str domain_of(str address)
