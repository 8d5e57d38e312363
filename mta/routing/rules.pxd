# The C fields of the router, which is asked for every message.

cdef class Router:
    cdef readonly tuple rules, routes
    cdef list _tests, _patterns
    cdef dict _exact
    cdef object _only
    cdef bint _by_sender
    cdef dict _memo
    cdef long long _memo_size

    cpdef object route(self, object envelope, str domain)
    cdef object _find(self, object envelope, str domain)
