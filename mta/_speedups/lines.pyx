"""Line ends. Only CRLF ends a line (RFC 5321 2.3.8); see lines.pxd for the C side."""

from mta._speedups.lines cimport LINE_BARE_CR, LINE_BARE_LF, LINE_CRLF, LINE_OPEN, find_line

OPEN = LINE_OPEN
CRLF = LINE_CRLF
BARE_CR = LINE_BARE_CR
BARE_LF = LINE_BARE_LF


def line_end(bytes data not None, Py_ssize_t start=0):
    cdef Py_ssize_t at = 0
    cdef Py_ssize_t n = len(data)
    cdef const unsigned char* p = data
    cdef int kind
    if not 0 <= start <= n:
        raise ValueError(f"start {start} is not between 0 and {n}")
    kind = find_line(p + start, n - start, &at)
    return kind, start + at


def bare_newline(bytes data not None, Py_ssize_t start=0):
    cdef Py_ssize_t at = 0
    cdef Py_ssize_t n = len(data)
    cdef Py_ssize_t i = start
    cdef const unsigned char* p = data
    cdef int kind
    if not 0 <= start <= n:
        raise ValueError(f"start {start} is not between 0 and {n}")
    while i < n:
        kind = find_line(p + i, n - i, &at)
        if kind == LINE_OPEN:
            return -1 if i + at == n else i + at  # a CR that ends the data is bare
        if kind != LINE_CRLF:
            return i + at
        i += at + 2
    return -1
