# Layout of the way in; the source is reception.py.

cimport cython

from mta._speedups.dots cimport headed
from mta._speedups.headers cimport HeaderScan, Names
from mta._speedups.verdict cimport Verdict
from mta.model cimport Message
from mta.reception.admit cimport Admission
from mta.reception.arrival cimport Arrival, arrive
from mta.reception.client cimport Client, Transaction
from mta.reception.policy cimport Policy
from mta.reception.received cimport Dates

cdef int _SMTPUTF8
cdef Verdict _ACCEPTED


cdef class Reception:
    cdef public object options, room
    cdef public Policy policy
    cdef readonly Admission admission
    cdef object _ids, _submit, _log, _clock, _records, _hand, _tasks
    cdef readonly Names _names
    cdef Dates _dates
    cdef str _hostname
    cdef bint _completes

    cpdef bytes hello(self, Client client, bint extended, bytes standard)
    cpdef object mail(self, Client client, str sender, dict params=*)

    @cython.locals(recipient=str, recipients=list)
    cpdef object rcpt(self, Client client, str address, dict params=*)
    cpdef object data(self, Client client)
    cpdef Py_ssize_t ahead(self, Client client, int flags) except -1

    @cython.locals(arrival=Arrival)
    cpdef content(
        self, Client client, Transaction transaction, bytes body, int flags, object done,
        Py_ssize_t ahead=*
    )
    cpdef _judged(self, Arrival arrival, Verdict verdict)

    @cython.locals(
        id=bytes, digits=bytes, now=cython.longlong, message=Message, recipients=list,
        client=Client,
    )
    cdef _hand_on(self, Arrival arrival)
    cdef _grant(self, Message message, Arrival arrival, object control)

    @cython.locals(head=list)
    cdef _complete(
        self, Client session, Message message, bytes digits, bytes body, Py_ssize_t ahead,
        HeaderScan found
    )
    cdef bytes _trace(self, Client session, int flags)
    cpdef Verdict refuse(self, Arrival arrival, Verdict verdict)
