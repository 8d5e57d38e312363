cdef class ReplyReader:
    cdef readonly int code         # of the last line read
    cdef readonly bint complete    # a whole reply was read; the next push begins a new one
    cdef readonly str error        # why the stream cannot be read any further, or None
    cdef bytes _last               # text of the last line
    cdef list _earlier             # texts of the lines before it, None for a single line
    cdef bytes _rest               # an incomplete line, None between lines
    cdef Py_ssize_t _kept          # octets of text kept so far
    cdef int _lines                # lines of this reply so far

    cdef Py_ssize_t push(self, const char *data, Py_ssize_t size) except -1
    cdef tuple reply(self, str command)
    cdef list texts(self)
    cdef void _begin(self)
    cdef int _hold(self, const char *data, Py_ssize_t size) except -1
    cdef int _line(self, const char *data, Py_ssize_t size) except -1
    cdef int _keep(self, const char *text, Py_ssize_t size) except -1
