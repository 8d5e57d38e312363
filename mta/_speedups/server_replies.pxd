"""What the server core answers by itself."""

from mta._speedups.dots cimport ContentReader
from mta._speedups.server_options cimport ServerOptions

cdef tuple STANDARD
cdef bytes POSITIVE
cdef bytes OK
cdef bytes NO_VRFY
cdef bytes NOT_OFFERED
cdef bytes UNKNOWN
cdef bytes NUL_LINE
cdef bytes WEB
cdef bytes HELP
cdef bytes NON_ASCII
cdef bytes NAME_NEEDED
cdef bytes NO_ARGUMENT
cdef bytes ARGUMENT
cdef bytes BAD_SIZE
cdef bytes BAD_BODY
cdef bytes BAD_CHUNK
cdef bytes BINARY_DATA
cdef bytes UNDECLARED
cdef bytes NOT_UTF8
cdef bytes NO_VALUE
cdef bytes BAD_PARAM
cdef bytes BEHIND_DATA
cdef tuple ORDER

cdef bytes content_reply(ContentReader content, ServerOptions options)
cdef bint checked(bytes reply, int positive) except -1
