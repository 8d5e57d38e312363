from libc.stdint cimport int64_t

from mta.model cimport Message, Recipient


cdef class Lines:
    cdef bytes _tail  # node and shard

    cpdef bytes reception(self, int64_t time, Message m, list recipients, Py_ssize_t shown,
                          str klass)
    cpdef bytes delivery(self, int64_t time, Recipient r, outcome, peer, stages,
                         str queue, str site, str tls, str klass)
