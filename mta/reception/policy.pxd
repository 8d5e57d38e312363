# Layout of the relay rule; the source is policy.py.

cdef class Policy:
    cdef readonly str hostname
    cdef object _clients, _domains, _globs

    cpdef bytes sender(self, str sender)
    cpdef str complete(self, str recipient)
    cpdef bytes recipient(self, str recipient, bint relay)
