"""What the server core tells its shell."""

cimport cython
from mta._speedups.envelope cimport Envelope
from mta._speedups.verdict cimport Verdict


@cython.final
cdef class Hello:
    cdef readonly str name
    cdef readonly bint extended


@cython.final
cdef class Mail:
    cdef readonly str sender
    cdef readonly Py_ssize_t size
    cdef readonly bint body8
    cdef readonly bint binary
    cdef readonly bint utf8
    cdef readonly dict params


@cython.final
cdef class Rcpt:
    cdef readonly str recipient
    cdef readonly dict params


@cython.final
cdef class Data:
    pass


@cython.final
cdef class Content:
    cdef readonly bytes body
    cdef readonly int flags
    cdef readonly Py_ssize_t size


@cython.final
cdef class Command:
    cdef readonly str verb
    cdef readonly bytes line


@cython.final
cdef class Reset:
    cdef readonly Verdict refusal


@cython.final
cdef class Closed:
    pass


cdef Hello hello_of(str name, bint extended)
cdef Mail mail_of(Envelope envelope)
cdef Rcpt rcpt_of(Envelope envelope)
cdef Content content_of(bytes body, Py_ssize_t size, int flags)
cdef Command command_of(str verb, bytes line)
cdef Reset reset_of(Verdict refusal)
