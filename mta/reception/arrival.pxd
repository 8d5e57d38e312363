# Layout of a message on its way in; the source is arrival.py.

cimport cython

from mta._speedups.headers cimport HeaderScan, Names, scan
from mta._speedups.verdict cimport Verdict, queued
from mta.model cimport Message
from mta.reception.client cimport Client, Transaction


cdef class Arrival(Transaction):
    cdef public Client client
    cdef public bytes body, digits
    cdef public Py_ssize_t ahead
    cdef public int flags
    cdef public HeaderScan found
    cdef public object control
    cdef Names names
    cdef public Message message
    cdef readonly object done
    cdef object reception

    cpdef change(self, bytes body, int flags)


@cython.locals(arrival=Arrival)
cpdef Arrival arrive(
    Client client, Transaction transaction, bytes body, int flags, object done, Py_ssize_t ahead,
    Names names, object reception
)
