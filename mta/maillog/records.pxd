# The C fields of records.py's writer, and its two lines that every message has.

cimport cython
from mta.maillog.logline cimport Lines
from mta.model cimport Message, Recipient

cdef tuple _CLASSES
cdef long long _SHOWN


cdef class RecordWriter:
    cdef str _node
    cdef long long _shard
    cdef object _now
    cdef Lines _lines

    @cython.locals(klass=str)
    cpdef bytes reception(self, Message message, list recipients)
    @cython.locals(klass=str, now=cython.longlong)
    cpdef bytes delivery(
        self, Recipient recipient, object outcome, object peer, object stages,
        str queue=*, str site=*, str tls=*,
    )
