# Layout of who brings a message; the source is client.py.

cdef class Transaction:
    cdef public str sender
    cdef public list recipients
    cdef public object asked


cdef class Client(Transaction):
    cdef public str address, id, name
    cdef public bint relay, extended
    cdef public bytes trace
    cdef public long long reserved, mark, pace

    cpdef more_room(self)
    cpdef long long held(self) except? -2
    cpdef bytes origin(self)
    cpdef give_way(self)
