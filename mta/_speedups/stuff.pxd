cdef bytes stuffed(bytes body)
cdef bint has_dot_line(const char *data, Py_ssize_t size) noexcept nogil
