"""States, deadlines and capabilities of the client by name; what may stand in a command."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE

STATE_NAMES = (
    "GREETING", "EHLO", "HELO", "IDLE", "RSET", "MAIL", "RCPT", "DATA", "WANTED", "DOT",
    "LONE_DOT", "QUIT", "CLOSED",
)

ACTION_NAMES = (
    "BREAK", "REFUSE", "HELLO", "FALL_BACK", "OPEN", "BEGIN", "MAIL_OK", "MAIL_NO", "RCPT_OK",
    "RCPT_NO", "CONTENT", "DATA_NO", "END", "BOUNDARY", "OVER",
)

# What each state's reply answers, in results.
COMMANDS = (
    "connect", "EHLO", "HELO", "", "RSET", "MAIL", "RCPT", "DATA", "DATA", ".", ".", "QUIT", "",
)
UNATTEMPTED = "unattempted"

KIND_NAMES = (
    "none", "greeting", "hello", "mail", "rcpt", "data", "block", "dot", "rset", "quit", "ahead",
    "late",
)
EVENT_NAMES = ("", "READY", "CONTENT_WANTED", "DONE", "CLOSED")

KEYWORDS = {
    "PIPELINING": CAN_PIPELINE,
    "8BITMIME": CAN_8BITMIME,
    "SIZE": CAN_SIZE,
    "ENHANCEDSTATUSCODES": CAN_ENHANCED,
    "STARTTLS": CAN_STARTTLS,
    "SMTPUTF8": CAN_SMTPUTF8,
    "CHUNKING": CAN_CHUNKING,
    "DSN": CAN_DSN,
    "BINARYMIME": CAN_BINARYMIME,
    "MT-PRIORITY": CAN_PRIORITY,
    "LIMITS": CAN_LIMITS,
}


cdef Safety safety(str address):
    # Blank, < and > only in a quoted part, no control character: no address can add to its command.
    cdef Py_UCS4 c
    cdef bint quoted = False
    cdef bint escaped = False
    cdef bint wide = False
    for c in address:
        if c < 32 or c == 127 or 0xD800 <= c < 0xE000:
            return UNSAFE
        wide |= c > 127
        if escaped:
            escaped = False
        elif quoted and c == u"\\":
            escaped = True
        elif c == u'"':
            quoted = not quoted
        elif not quoted and (c == u" " or c == u"<" or c == u">"):
            return UNSAFE
    if quoted:
        return UNSAFE
    return WIDE if wide else SAFE


cdef tuple unsafe_reply(Safety what, str command):
    if what == UNSAFE:
        return 553, "5.1.3", "the address cannot be sent: it is not well-formed", command
    # RFC 6531 3.2: not to a server without SMTPUTF8
    return 553, "5.6.7", "the address is not ASCII, and the server has no SMTPUTF8", command


cdef bint ends_line(bytes body):
    cdef Py_ssize_t size = PyBytes_GET_SIZE(body)
    cdef const char *data = PyBytes_AS_STRING(body)
    return size == 0 or (size > 1 and data[size - 2] == c"\r" and data[size - 1] == c"\n")


cdef bint has_wide_header(bytes body):
    # Whether a header field is not ASCII.
    cdef Py_ssize_t end = body.find(b"\r\n\r\n")
    return not (body if end < 0 else body[:end]).isascii()


cdef dict limits_of(str text):
    # RFC 9422 4: NAME=number, several; what is none is passed over.
    cdef dict found = {}
    for word in text.upper().split():
        name, _, value = word.partition("=")
        if value.isascii() and value.isdigit() and 0 < len(value) < 7 and int(value):
            found[name] = int(value)
    return found
