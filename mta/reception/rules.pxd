# Layout of the members that every listener has; the source is rules.py.

cimport cython

from mta._speedups.headers cimport HeaderScan
from mta._speedups.verdict cimport Verdict
from mta.reception.admit cimport Member
from mta.reception.arrival cimport Arrival
from mta.reception.client cimport Client

cdef Verdict _ACCEPTED


cdef class Parameters(Member):
    cdef object _options, _clock

    cpdef object mail(self, Client client, dict params)
    cpdef object rcpt(self, Client client, str recipient, dict params)


cdef class Storage(Member):
    cdef object _room, _store

    cpdef object data(self, Client client)

    @cython.locals(client=Client)
    cpdef object message(self, Arrival arrival)


cdef class Header(Member):
    cdef long long _max_hops
    cdef object _names
    cdef bint _believes

    @cython.locals(found=HeaderScan)
    cpdef object message(self, Arrival arrival)
