# The C fields of the planner, and what is asked for every message.

cimport cython
from mta.routing.rules cimport Router


cdef class Planner:
    cdef readonly Router _router
    cdef readonly object _resolver, _options
    cdef frozenset _local_names
    cdef dict _plans, _static, _reroutes, _sites, _by_hosts
    cdef long long _memo

    cpdef object peek(self, object envelope, str domain, str reroute=*)
    cpdef object _route(self, object envelope, str domain, str reroute)
    cdef object _fixed(self, object route, str domain)
    cdef object _keep(self, object plan)
    cpdef object looked_up(self, object route, str domain, tuple answers)


cdef class Sought:
    cdef Planner _planner
    cdef object _route, _done
    cdef str _domain
    cdef list _answers
    cdef Py_ssize_t _left


cdef bint _same(tuple some, tuple others) except -1
