# The C fields of conversion.py.

cimport cython

from mta.delivery.decisions cimport Prepare
from mta.delivery.feeder cimport Attempt

cdef long long _CONTENT_KINDS, _BINARY_FLAG, _EIGHT_BIT, _BINARY


cdef class Conversion(Prepare):
    cdef readonly bint eight_bit, binary

    @cython.locals(flags=cython.longlong)
    cpdef prepare(self, Attempt attempt, long long offers)
