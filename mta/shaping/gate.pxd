cimport cython

from mta._speedups.sharedtable cimport Bucket, SharedTable

cdef long long _UNLIMITED


cdef class _Places:
    cdef readonly str whom, rule
    cdef readonly unsigned long long slot
    cdef readonly long long limit, mine, leaving
    cdef readonly double taken_at, turn, turn_until


cdef class _Site(_Places):
    cdef readonly tuple names
    cdef Bucket rate
    cdef dict chains


cdef class Gate:
    cdef SharedTable _table
    cdef int _worker
    cdef object _clock, _eventfds, _limits
    cdef readonly dict _sites
    cdef dict _waiting, _queues
    cdef _Places _total
    cdef Bucket _total_rate
    cdef public object denied
    cdef public tuple extra

    cdef _apply_total(self)
    cdef _apply(self, _Site site)
    cdef Bucket _site_bucket(self, _Site site, found)

    @cython.locals(site=_Site)
    cdef _Site _site(self, str name)

    @cython.locals(state=_Site, now=cython.double)
    cpdef connect(self, str site)

    @cython.locals(places=_Places, now=cython.double)
    cpdef connected(self, str site)

    cdef bint _take(self, _Places places, double now) except -1
    cdef _give(self, _Places places)
    cdef _refuse(self, str site, _Places places, double now)

    @cython.locals(state=_Site)
    cpdef bint should_yield(self, str site) except -1

    cdef bint _yields(self, _Places places) except -1

    @cython.locals(state=_Site, chain=tuple, wait=cython.double)
    cpdef double message(self, str site, str tenant=*, long long n=*) except -1.0

    cdef tuple _chain(self, _Site site, str tenant)
    cdef Bucket _tenant_bucket(self, str tenant)
    cdef _over(self, Bucket bucket, double wait)
    cdef _places_report(self, _Places places)
