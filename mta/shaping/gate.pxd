cimport cython

from mta._speedups.sharedtable cimport Bucket, SharedTable

cdef long long _UNLIMITED


cdef class _Places:
    cdef readonly object scope
    cdef readonly str name, rule
    cdef readonly unsigned long long slot
    cdef readonly long long limit, mine, leaving
    cdef readonly double taken_at, turn, turn_until


cdef class SiteLimits(_Places):
    cdef readonly tuple names
    cdef public long long users
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
    cdef readonly object denied

    cdef _apply_total(self)
    cdef _apply(self, SiteLimits site)
    cdef Bucket _site_bucket(self, SiteLimits site, found)

    @cython.locals(site=SiteLimits)
    cpdef SiteLimits site(self, str name)

    @cython.locals(now=cython.double)
    cpdef connect(self, SiteLimits site)

    @cython.locals(places=_Places, now=cython.double)
    cpdef connected(self, SiteLimits site)

    cpdef disconnected(self, SiteLimits site)
    cdef bint _take(self, _Places places, double now) except -1
    cdef _give(self, _Places places)
    cdef _refuse(self, SiteLimits site, _Places places, double now)
    cpdef bint should_yield(self, SiteLimits site) except -1
    cdef bint _yields(self, _Places places) except -1

    @cython.locals(chain=tuple)
    cpdef double message(self, SiteLimits site, str tenant=*, long long n=*) except -1.0

    @cython.locals(wait=cython.double)
    cpdef double take(self, tuple buckets, long long n=*) except -1.0

    cdef tuple _chain(self, SiteLimits site, str tenant)
    cdef Bucket _tenant_bucket(self, str tenant)
    cdef _places_report(self, _Places places)
