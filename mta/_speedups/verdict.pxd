"""What is decided of a command or a message; its reply is made once."""

cimport cython


@cython.final
cdef class Verdict:
    cdef readonly int code
    cdef readonly str enhanced
    cdef readonly str text
    cdef readonly object reason
    cdef bytes _wire

    cpdef bytes reply(self)


cpdef bytes rendered(int code, str enhanced, str text)
cpdef Verdict queued(bytes digits)
