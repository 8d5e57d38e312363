# Layout of the segments' books; the source is segments.py.

cimport cython


cdef class Segment:
    cdef public object path
    cdef public bytearray bits
    cdef public long long number, room, end, live, units
    cdef public int file, pins
    cdef public bint moving

    @cython.locals(at=cython.longlong, bit=cython.int)
    cpdef mark(self, long long unit, long long units)

    @cython.locals(at=cython.longlong, bit=cython.int)
    cpdef clear(self, long long unit, long long units)


cdef class Run:
    cdef public Segment segment
    cdef public long long start
    cdef public list records


cdef class Segments:
    cdef public object folder
    cdef public long long room
    cdef public dict table
    cdef public list free, leaving
    cdef public object on_empty
    cdef public Segment active, spare
    cdef public bint counted, allocated
    cdef public object on_free
    cdef long long _last

    @cython.locals(segment=Segment, unit=cython.longlong)
    cpdef long long place(self, long long units) except? -1

    @cython.locals(old=Segment)
    cdef Segment _following(self, long long units)

    @cython.locals(active=Segment)
    cpdef bint low(self)

    cpdef Segment of(self, long long place)

    @cython.locals(segment=Segment)
    cpdef clear(self, long long place, long long units)

    cpdef unpin(self, Segment segment)
    cpdef look(self, Segment segment)
