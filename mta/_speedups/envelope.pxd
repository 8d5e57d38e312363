"""MAIL and RCPT behind their verb."""

from mta._speedups.command cimport Path
from mta._speedups.server_options cimport ServerOptions
from mta._speedups.verdict cimport Verdict


cdef enum:  # mta.model.Flag
    F8_BODY_8BITMIME = 4
    F8_SMTPUTF8 = 16
    F8_BINARYMIME = 32


cdef class Envelope:
    cdef ServerOptions options
    cdef readonly str address      # of the command taken last
    cdef readonly dict params      # its parameters that the shell judges, None for none
    cdef readonly Py_ssize_t size  # declared by SIZE
    cdef readonly int declared     # by BODY and SMTPUTF8: F8_*
    cdef bint wide                 # the last command's argument is not ASCII

    cdef void clear(self) noexcept
    cdef Verdict mail(self, const unsigned char* p, Py_ssize_t n)
    cdef Verdict rcpt(self, const unsigned char* p, Py_ssize_t n)
    cdef Verdict _take(self, const unsigned char* p, Py_ssize_t n, bint mail)
    cdef Verdict _path(
        self, const unsigned char** p, Py_ssize_t* n, bint recipient, Path* path
    )
    cdef Verdict _parameters(self, const unsigned char* p, Py_ssize_t n, Py_ssize_t at, bint mail)
    cdef Verdict _parameter(self, str key, str value, bint mail)
    cdef Verdict _body(self, str value)


cdef inline bint is_ascii(const unsigned char* p, Py_ssize_t n) noexcept nogil:
    cdef unsigned char bits = 0
    cdef Py_ssize_t i
    for i in range(n):
        bits |= p[i]
    return bits < 0x80
