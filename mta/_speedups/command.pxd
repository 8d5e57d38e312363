"""Parsing of SMTP command lines (RFC 5321 4.1); `verb_of` alone makes a Python object."""


cdef enum Verb:
    V_UNKNOWN = 0
    V_EHLO
    V_HELO
    V_MAIL
    V_RCPT
    V_DATA
    V_RSET
    V_QUIT
    V_NOOP
    V_VRFY
    V_EXPN
    V_HELP
    V_BDAT
    V_OTHER  # of the standards, but not offered: 502
    V_HTTP   # a web client, or a page that makes a browser speak to us


cdef enum PathError:
    P_OK = 0
    P_BRACKET
    P_UNCLOSED
    P_EMPTY
    P_ROUTE
    P_NO_LOCAL
    P_LOCAL
    P_DOTS
    P_QUOTE
    P_NO_DOMAIN
    P_LABEL
    P_HYPHEN
    P_DOMAIN
    P_LITERAL
    P_LONG
    P_TAB


cdef struct Path:
    Py_ssize_t start  # the address without its source route; offsets into the text given
    Py_ssize_t end
    Py_ssize_t after  # behind the closing bracket


cdef struct Param:
    Py_ssize_t key
    Py_ssize_t key_end
    Py_ssize_t value      # -1: the parameter has no value
    Py_ssize_t value_end


cdef tuple PATH_TEXTS  # by PathError

cdef Verb parse_verb(const unsigned char* p, Py_ssize_t n, Py_ssize_t* after) noexcept nogil
cdef str name_of(Verb verb)  # "" of one that is not ours
cdef str verb_of(const unsigned char* p, Py_ssize_t n)
cdef Py_ssize_t skip_blanks(const unsigned char* p, Py_ssize_t n, Py_ssize_t at) noexcept nogil
cdef Py_ssize_t skip_word(
    const unsigned char* p, Py_ssize_t n, const char* word, Py_ssize_t size
) noexcept nogil
cdef PathError parse_path(
    const unsigned char* p, Py_ssize_t n, bint recipient, Path* out
) noexcept nogil
cdef PathError parse_bare(
    const unsigned char* p, Py_ssize_t n, bint recipient, Path* out
) noexcept nogil
cdef int next_param(
    const unsigned char* p, Py_ssize_t n, Py_ssize_t* at, Param* out
) noexcept nogil
cdef bint parse_name(const unsigned char* p, Py_ssize_t n) noexcept nogil
