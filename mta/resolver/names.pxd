# What each look-up asks.

cimport cython

cpdef str normalise(str domain)


@cython.locals(length=Py_ssize_t, character=Py_UCS4)
cdef bint _is_normal(str domain) except -1
