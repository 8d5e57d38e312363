"""The content of a message on its way in: see dots.pyx."""

cimport cython
from cpython.object cimport PyObject


cdef enum Place:
    AT_START = 0  # behind a CRLF: the only place where a dot counts
    AT_DOT        # behind a dot that is held back
    AT_DOT_CR     # behind the dot and a CR
    AT_CR         # behind a CR that is held back
    AT_MEND       # behind a bare newline that was mended (or refused)
    AT_TEXT       # within a line


cdef enum Fault:
    F_NONE = 0
    F_SIZE
    F_BARE_CR
    F_BARE_LF
    F_NUL
    F_LINE


@cython.final
@cython.freelist(16)
cdef class ContentReader:
    cdef PyObject* _body            # bytes of `ahead` and `_room` octets, owned; NULL: none stored
    cdef unsigned char* _text       # the octets of `_body` behind `ahead`; moves when it grows
    cdef Py_ssize_t _room
    cdef Py_ssize_t _hint           # declared size: no more room than that before it is passed
    cdef Py_ssize_t _line_length    # octets stored of the current line
    cdef const unsigned char* _lf   # next LF of the data being taken; valid in `take` only
    cdef Place _place
    cdef readonly Py_ssize_t max_size
    cdef readonly Py_ssize_t max_line
    cdef readonly bint mend
    cdef readonly bint keep         # bare newlines and NULs are text
    cdef readonly bint chunked      # no dot ends it: `end` does
    cdef readonly Py_ssize_t ahead  # octets of room in front of the body
    cdef readonly bint done         # the final dot was read
    cdef readonly Py_ssize_t size   # octets stored
    cdef readonly Py_ssize_t taken  # octets read
    cdef readonly Py_ssize_t line   # the current line's number, from 1
    cdef readonly int flags
    cdef readonly int fault
    cdef readonly Py_ssize_t fault_line

    cdef void expect(self, Py_ssize_t hint) noexcept
    cdef Py_ssize_t take(self, const unsigned char* p, Py_ssize_t n) except -1
    cpdef int end(self) except -1
    cdef bytes finish(self)
    cdef int _put(self, const unsigned char* p, Py_ssize_t n) except -1
    cdef int _grow(self, Py_ssize_t more) except -1
    cdef int _fail(self, Fault fault, Py_ssize_t line) except -1
    cdef const unsigned char* _next_lf(
        self, const unsigned char* i, const unsigned char* end
    ) noexcept
    cdef const unsigned char* _extend(
        self, const unsigned char* run, const unsigned char* i, const unsigned char* stop
    ) except NULL
    cdef int _bare(self, Fault fault) except -1
    cdef int _bare_text(self, const unsigned char* octet) except -1
    cdef Py_ssize_t _edge(self, const unsigned char* p, Py_ssize_t n) except -1
    cdef Py_ssize_t _lines(self, const unsigned char* p, Py_ssize_t n) except -1
    cdef Py_ssize_t _sweep(self, const unsigned char* p, Py_ssize_t n) except -1
    cdef Py_ssize_t _look_twice(self, const unsigned char* p, Py_ssize_t n) except -1


cpdef bytes headed(bytes body, Py_ssize_t ahead, list parts)
