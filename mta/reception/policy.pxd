# Layout of the relay rule; the source is policy.py.

from mta._speedups.verdict cimport Verdict
from mta.reception.admit cimport Member
from mta.reception.client cimport Client

cdef Verdict _ACCEPTED


cdef class Policy(Member):
    cdef readonly str hostname
    cdef object _clients, _domains, _globs

    cpdef object mail(self, Client client, dict params)
    cpdef object rcpt(self, Client client, str recipient, dict params)
    cpdef Verdict sender(self, str sender)
    cpdef str complete(self, str recipient)
    cpdef Verdict recipient(self, str recipient, bint relay)
