"""Where a line ends: shared by the command parser and the header scanner."""

from libc.string cimport memchr


cdef enum LineEnd:
    LINE_OPEN = 0     # no end yet, or a CR is the last octet at hand
    LINE_CRLF = 1
    LINE_BARE_CR = 2  # a CR with something other than LF behind it
    LINE_BARE_LF = 3


cdef inline LineEnd find_line(
    const unsigned char* p, Py_ssize_t n, Py_ssize_t* at
) noexcept nogil:
    """The kind and, in `at`, the place of the first CR or LF of p[:n]; n where there is none."""
    cdef const unsigned char* lf = <const unsigned char*> memchr(p, 10, n)
    cdef const unsigned char* cr = <const unsigned char*> memchr(p, 13, lf - p if lf else n)
    if cr == NULL:
        at[0] = lf - p if lf else n
        return LINE_BARE_LF if lf else LINE_OPEN
    at[0] = cr - p
    if cr + 1 == p + n:
        return LINE_OPEN
    return LINE_CRLF if cr[1] == 10 else LINE_BARE_CR


cdef inline bint has_nul(const unsigned char* p, Py_ssize_t n) noexcept nogil:
    """Whether p[:n] holds a NUL."""
    return memchr(p, 0, n) != NULL
