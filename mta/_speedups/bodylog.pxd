# What the spool calls from C.

cpdef Py_ssize_t units(Py_ssize_t length)
