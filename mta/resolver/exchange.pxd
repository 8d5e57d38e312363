# The C fields of a question's way to a server.

cimport cython
from mta.resolver.waits cimport Waits


cdef class Numbers:
    cdef bytes _block
    cdef Py_ssize_t _next

    cpdef long long draw(self) except -1


cdef class Question:
    cdef readonly bytes section
    cdef public Port place
    cdef public long long id
    cdef NetworkExchange _exchange
    cdef object _done, _trouble, _task
    cdef list _asked, _silent
    cdef long long _rounds

    cpdef begin(self)
    cdef _next(self)
    cpdef received(self, bytes data)
    @cython.locals(upstream=Upstream)
    cdef _judge(self, object reply)
    cpdef failed(self, object error)
    @cython.locals(upstream=Upstream)
    cdef _give_up(self, object error)
    cpdef expired(self)
    cpdef cancel(self)
    cdef _end(self, object reply)


cdef class Port:
    cdef object _socket, _loop
    cdef Numbers _numbers
    cdef dict _waiting
    cdef long long _left

    cpdef ask(self, Question question)
    cdef bytes _receive(self)
    @cython.locals(question=Question)
    cpdef take(self, bytes data)
    cpdef forget(self, Question question)
    cdef _end_if_done(self)


cdef class Upstream:
    cdef readonly object server
    cdef public double down_until
    cdef Numbers _numbers
    cdef object _open
    cdef list _ports
    cdef long long _questions

    @cython.locals(port=Port)
    cpdef ask(self, Question question)


cdef class NetworkExchange:
    cdef readonly object options, clock
    cdef readonly Numbers numbers
    cdef readonly Waits waits
    cdef list _upstreams
    cdef object _queue
    cdef long long _busy
    cdef bint _beginning

    cpdef Question ask(self, str name, long long rdtype, object done)
    @cython.locals(question=Question)
    cdef _begin(self)
    cpdef ended(self)
    cpdef list in_order(self)
