# Layout of who has a say; the source is admit.py.

cimport cython

from mta._speedups.verdict cimport Verdict
from mta.reception.arrival cimport Arrival
from mta.reception.client cimport Client

cdef Verdict _ACCEPTED


cdef class Member:
    cpdef object mail(self, Client client, dict params)
    cpdef object rcpt(self, Client client, str recipient, dict params)
    cpdef object data(self, Client client)
    cpdef object message(self, Arrival arrival)


cdef class Admission:
    cdef readonly list members
    cdef readonly bint reads_content
    cdef list _mail, _rcpt, _data, _message

    @cython.locals(place=Py_ssize_t, member=Member)
    cpdef object mail(self, Client client, dict params)

    @cython.locals(place=Py_ssize_t, member=Member)
    cpdef object rcpt(self, Client client, str recipient, dict params)

    @cython.locals(place=Py_ssize_t, member=Member)
    cpdef object data(self, Client client)

    @cython.locals(place=Py_ssize_t, member=Member)
    cpdef object message(self, Arrival arrival)
