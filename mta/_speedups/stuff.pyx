"""Dot-stuffing of outgoing content (RFC 5321 4.5.2)."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.string cimport memchr, memcpy


cdef const char *dot_line(const char *data, const char *at, const char *end) noexcept nogil:
    # The next dot from `at` on that begins a line, NULL if there is none; `data` is the content's
    # start. memchr for the dot is vectorised, and content has fewer dots than line ends.
    cdef const char *dot
    while at < end:
        dot = <const char *>memchr(at, c".", end - at)
        if dot == NULL or dot == data:
            return dot
        if dot - data >= 2 and (dot - 1)[0] == c"\n" and (dot - 2)[0] == c"\r":
            return dot
        at = dot + 1
    return NULL


cdef bint has_dot_line(const char *data, Py_ssize_t size) noexcept nogil:
    return dot_line(data, data, data + size) != NULL


cdef bytes stuffed(bytes body):
    # Two passes of the same search: count, then copy each stretch with the dot at its end.
    cdef const char *data = PyBytes_AS_STRING(body)
    cdef const char *end = data + PyBytes_GET_SIZE(body)
    cdef const char *at = data
    cdef const char *dot = dot_line(data, at, end)
    cdef Py_ssize_t dots = 0
    while dot != NULL:
        dots += 1
        dot = dot_line(data, dot + 1, end)
    if not dots:
        return body
    cdef bytes out = PyBytes_FromStringAndSize(NULL, end - data + dots)
    cdef char *to = PyBytes_AS_STRING(out)
    dot = dot_line(data, at, end)
    while dot != NULL:
        memcpy(to, at, dot + 1 - at)
        to += dot + 1 - at
        to[0] = c"."
        to += 1
        at = dot + 1
        dot = dot_line(data, at, end)
    memcpy(to, at, end - at)
    return out


def dot_stuff(bytes body not None):
    return stuffed(body)


def needs_stuffing(bytes body not None):
    return has_dot_line(PyBytes_AS_STRING(body), PyBytes_GET_SIZE(body))
