# Layout of the bodies' books; the source is bodies.py.

cimport cython

from mta._speedups cimport bodylog
from mta.spool cimport segments
from mta.spool.segments cimport Run, Segment, Segments


cdef class BodyStore:
    cdef object _store
    cdef Py_ssize_t _smallest, _largest
    cdef public Segments segments
    cdef public object on_low
    cdef public object doubts
    cdef object _lost
    cdef dict _doubted
    cdef list _runs, _writing, _leaving
    cdef Run _run

    @cython.locals(size=Py_ssize_t, unit=cython.longlong, segment=Segment, run=Run)
    cpdef long long place(self, bytes id, bytes body) except? -1

    @cython.locals(segment=Segment)
    cpdef delete(self, object batch, bytes id, long long place)

    cpdef release(self, long long place, Py_ssize_t size)
    cpdef list take(self)

    @cython.locals(run=Run)
    cpdef written(self)
