# The C fields of what waits for a route.

cimport cython
from mta.model cimport Message, Recipient
from mta.queues.lanes cimport Parcel
from mta.queues.manager cimport QueueManager
from mta.queues.ports cimport Ports


@cython.locals(message=Message)
cpdef tuple question(Recipient recipient)


cdef class Asking:
    cdef readonly list parcels
    cdef readonly str domain
    cdef Unrouted _unrouted
    cdef object _question
    cdef long long _since_us


cdef class Unrouted:
    cdef QueueManager _manager
    cdef dict _asking, _counts

    cpdef long long count(self, str domain) except -1
    @cython.locals(ports=Ports, asking=Asking)
    cpdef wait(self, Parcel parcel, Recipient recipient)
    @cython.locals(parcel=Parcel, took=cython.longlong)
    cdef answered(self, Asking asking, object asked, long long since_us, object answer)
    cdef _discount(self, str domain, Py_ssize_t count)
    cdef _answered(self, Parcel parcel, object answer)
