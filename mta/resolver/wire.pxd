# A DNS message is read octet by octet: C integers, no layers.

cimport cython

cdef long long _CNAME, _SOA, _MX, _POINTER, _QUESTION, _DOT, _BACKSLASH, _BLANK, _TILDE


@cython.locals(section=bytearray, end=Py_ssize_t, begin=Py_ssize_t, place=Py_ssize_t)
cpdef bytes question(str name, long long rdtype)
cpdef bytes query(object id, bytes section)


@cython.locals(asked=bytes)
cpdef bint answers(bytes wire, bytes section) except -1
cpdef object read(bytes wire, bytes section)


@cython.locals(
    asked=str, name=str, flags=cython.longlong, rdtype=cython.longlong, offset=Py_ssize_t,
    aliases=dict, found=list, values=dict, least=cython.longlong, owner_ttl=cython.longlong,
    ttl=cython.longlong, negative=cython.longlong,
)
cdef object _read(bytes wire, bytes section)


@cython.locals(
    owner=str, kind=cython.longlong, ttl=cython.longlong, data=Py_ssize_t, end=Py_ssize_t,
)
cdef Py_ssize_t _answer(
    bytes wire, Py_ssize_t offset, long long rdtype, str asked, dict aliases, list found
) except -1
cdef tuple _value(bytes wire, Py_ssize_t data, Py_ssize_t end, long long kind)
cdef tuple _follow(str name, dict aliases)


@cython.locals(begin=Py_ssize_t)
cdef long long _negative_ttl(bytes wire, Py_ssize_t offset, long long count) except -2
cdef long long _short(bytes wire, Py_ssize_t offset) except -1
cdef long long _long(bytes wire, Py_ssize_t offset) except -1


@cython.locals(
    labels=list, end=Py_ssize_t, limit=Py_ssize_t, total=Py_ssize_t, length=Py_ssize_t,
    target=Py_ssize_t,
)
cdef tuple _name(bytes wire, Py_ssize_t offset)


@cython.locals(text=str, place=Py_ssize_t, octet=cython.longlong)
cdef str _label(bytes wire, Py_ssize_t begin, Py_ssize_t end)
