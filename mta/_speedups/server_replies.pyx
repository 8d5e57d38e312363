"""What the server core answers by itself, ready to send, and a look at what others answer."""

from mta._speedups.dots cimport F_BARE_CR, F_LINE, F_NUL, F_SIZE, ContentReader
from mta._speedups.server_options cimport ServerOptions, wire

STANDARD = (  # by what awaits a verdict; HELLO's depend on the listener
    b"", b"250 2.1.0 Ok\r\n", b"250 2.1.5 Ok\r\n", b"354 End data with <CR><LF>.<CR><LF>\r\n",
    b"250 2.0.0 Ok\r\n",
)
POSITIVE = b"22232"  # the first digit of a positive verdict, by the same
OK = b"250 2.0.0 Ok\r\n"
NO_VRFY = b"252 2.0.0 Cannot VRFY a user, but will take mail and try to deliver it\r\n"
NOT_OFFERED = b"502 5.5.1 This command is not offered here\r\n"
UNKNOWN = b"500 5.5.2 Unknown command\r\n"
NUL_LINE = b"500 5.5.2 A command has a NUL octet\r\n"
WEB = b"500 5.5.1 This is an SMTP server, not a web server; closing\r\n"
HELP = (
    b"214-2.0.0 EHLO HELO MAIL RCPT DATA BDAT RSET NOOP VRFY HELP QUIT\r\n"
    b"214 2.0.0 See RFC 5321\r\n"
)
NON_ASCII = b"553 5.6.7 A non-ASCII address needs SMTPUTF8, which is not offered\r\n"
NAME_NEEDED = b"501 5.5.4 A host name or address literal must follow EHLO or HELO\r\n"
NO_ARGUMENT = b"501 5.5.4 This command takes no argument\r\n"
ARGUMENT = b"501 5.5.4 An argument is missing\r\n"
BAD_SIZE = b"501 5.5.4 SIZE takes a number of octets\r\n"
BAD_BODY = b"501 5.5.4 BODY is 7BIT or 8BITMIME, with BDAT BINARYMIME\r\n"
BAD_CHUNK = (
    b"501 5.5.4 Syntax: BDAT octets [LAST]; nobody knows how many octets follow, closing\r\n"
)
BINARY_DATA = b"503 5.5.1 BODY=BINARYMIME is for content that comes by BDAT\r\n"  # RFC 3030 3
UNDECLARED = b"553 5.6.7 A non-ASCII address needs the parameter SMTPUTF8 of MAIL\r\n"
NOT_UTF8 = b"553 5.6.7 The address is not UTF-8\r\n"
NO_VALUE = b"501 5.5.4 SMTPUTF8 takes no value\r\n"
BAD_PARAM = b"501 5.5.4 A parameter is malformed; a blank and KEYWORD=value is right\r\n"

BEHIND_DATA = (
    b"503 5.5.1 Content came though DATA was refused (RFC 2920 3.1), closing\r\n"
)

ORDER = (  # 503 by state
    b"503 5.5.1 EHLO or HELO comes first\r\n",
    b"503 5.5.1 MAIL comes first\r\n",
    b"503 5.5.1 RCPT comes first: there is no accepted recipient\r\n",
    b"503 5.5.1 A transaction is open: finish it or send RSET\r\n",
    b"503 5.5.1 A message comes in chunks: send the rest by BDAT, or RSET\r\n",
)


cdef bytes content_reply(ContentReader content, ServerOptions options):
    """Why content was refused."""
    line = content.fault_line
    if content.fault == F_SIZE:
        return options.oversize
    if content.fault == F_NUL:
        return wire(f"550 5.6.0 Line {line} of the message has a NUL octet")
    if content.fault == F_LINE:  # RFC 5321 4.5.3.1.9
        return wire(
            f"500 5.6.0 Line {line} of the message is longer than {options.max_text_line} octets "
            "(setting max_text_line)"
        )
    what = "<CR>" if content.fault == F_BARE_CR else "<LF>"
    return wire(
        f"550 5.5.2 Line {line} of the message has a bare {what}; only <CR><LF> ends a line "
        "(setting bare_newlines), closing"
    )


cdef bint checked(bytes reply, int positive) except -1:
    """Whether a reply begins with the digit `positive`; ValueError if it is no reply at all."""
    if len(reply) >= 6 and reply.endswith(b"\r\n"):
        if reply[0] == positive:
            return True
        if reply[0] == 52 or reply[0] == 53:
            return False
    raise ValueError(f"{reply!r} is no {chr(positive)}xx, 4xx or 5xx reply line")
