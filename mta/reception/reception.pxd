# Layout of the way in; the source is reception.py.

cimport cython

from mta._speedups.dots cimport headed
from mta._speedups.headers cimport HeaderScan, Names, scan
from mta.model cimport Message
from mta.reception.client cimport Client, Transaction
from mta.reception.policy cimport Policy
from mta.reception.received cimport Dates

cdef int _SMTPUTF8


cdef class Reception:
    cdef public object options, room
    cdef public Policy policy
    cdef object _ids, _submit, _log, _clock, _records, _store, _hand
    cdef readonly Names _names
    cdef Dates _dates
    cdef str _hostname
    cdef long long _max_hops
    cdef bint _believes, _completes

    cpdef bytes hello(self, Client session, bint extended, bytes standard)
    cpdef bytes mail(self, Client session, str sender, Py_ssize_t size=*, dict params=*)

    @cython.locals(recipient=str, refusal=bytes, recipients=list)
    cpdef bytes rcpt(self, Client session, str address, dict params=*)
    cpdef bytes _wish(self, Client session, dict params)
    cpdef bytes data(self, Client session)
    cpdef Py_ssize_t ahead(self, Client session, int flags) except -1

    @cython.locals(found=HeaderScan)
    cpdef content(
        self, Client session, Transaction transaction, bytes body, int flags, object done,
        Py_ssize_t ahead=*
    )

    @cython.locals(id=bytes, digits=bytes, now=cython.longlong, message=Message, recipients=list)
    cpdef _hand_on(
        self, Client session, Transaction transaction, bytes body, int flags, object done,
        Py_ssize_t ahead, HeaderScan found, object control
    )
    cpdef _grant(self, Message message, object asked, object control)
    cpdef _judge(self, HeaderScan found)

    @cython.locals(head=list)
    cdef _complete(
        self, Client session, Message message, bytes digits, bytes body, Py_ssize_t ahead,
        HeaderScan found
    )
    cdef bytes _trace(self, Client session, int flags)


cdef class Stored:
    cdef Reception reception
    cdef Client session
    cdef Message message
    cdef bytes digits
    cdef object done

    cdef failed(self, object error)
