"""What the server core answers by itself."""

from mta._speedups.dots cimport ContentReader
from mta._speedups.server_options cimport ServerOptions
from mta._speedups.verdict cimport Verdict

cdef tuple STANDARD
cdef bytes POSITIVE
cdef bytes OK
cdef bytes NO_VRFY
cdef Verdict NOT_OFFERED
cdef Verdict UNKNOWN
cdef Verdict NUL_LINE
cdef Verdict WEB
cdef bytes HELP
cdef Verdict NON_ASCII
cdef Verdict NAME_NEEDED
cdef Verdict NO_ARGUMENT
cdef Verdict ARGUMENT
cdef Verdict MAIL_SYNTAX
cdef Verdict RCPT_SYNTAX
cdef Verdict BAD_SIZE
cdef Verdict BAD_BODY
cdef Verdict BAD_CHUNK
cdef Verdict BINARY_DATA
cdef Verdict UNDECLARED
cdef Verdict NOT_UTF8
cdef Verdict NO_VALUE
cdef Verdict BAD_PARAM
cdef Verdict BEHIND_DATA
cdef tuple ORDER

cdef Verdict content_verdict(ContentReader content, ServerOptions options)
cdef bint checked(bytes reply, int positive) except -1
