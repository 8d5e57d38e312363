from mta.model cimport Message, Recipient
from mta.routing.planner cimport Planner


cdef class Peek:
    cdef public Planner planner
    cdef public object define

    cpdef object peek(self, Message message, Recipient recipient)
