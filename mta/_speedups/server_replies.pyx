"""What the server core answers by itself, ready to send, and a look at what others answer."""

from mta._speedups.dots cimport F_BARE_CR, F_LINE, F_NUL, F_SIZE, ContentReader
from mta._speedups.server_options cimport ServerOptions
from mta._speedups.verdict cimport Verdict

from mta._speedups.verdict import Reason

STANDARD = (  # by what awaits a verdict; HELLO's depend on the listener
    b"", b"250 2.1.0 Ok\r\n", b"250 2.1.5 Ok\r\n", b"354 End data with <CR><LF>.<CR><LF>\r\n",
    b"250 2.0.0 Ok\r\n",
)
POSITIVE = b"22232"  # the first digit of a positive verdict, by the same
OK = b"250 2.0.0 Ok\r\n"
NO_VRFY = b"252 2.0.0 Cannot VRFY a user, but will take mail and try to deliver it\r\n"
NOT_OFFERED = Verdict(502, "5.5.1", "This command is not offered here", Reason.SYNTAX)
UNKNOWN = Verdict(500, "5.5.2", "Unknown command", Reason.SYNTAX)
NUL_LINE = Verdict(500, "5.5.2", "A command has a NUL octet", Reason.SYNTAX)
WEB = Verdict(500, "5.5.1", "This is an SMTP server, not a web server; closing", Reason.SYNTAX)
HELP = (
    b"214-2.0.0 EHLO HELO MAIL RCPT DATA BDAT RSET NOOP VRFY HELP QUIT\r\n"
    b"214 2.0.0 See RFC 5321\r\n"
)
NON_ASCII = Verdict(
    553, "5.6.7", "A non-ASCII address needs SMTPUTF8, which is not offered", Reason.ADDRESS
)
NAME_NEEDED = Verdict(
    501, "5.5.4", "A host name or address literal must follow EHLO or HELO", Reason.SYNTAX
)
NO_ARGUMENT = Verdict(501, "5.5.4", "This command takes no argument", Reason.SYNTAX)
ARGUMENT = Verdict(501, "5.5.4", "An argument is missing", Reason.SYNTAX)
MAIL_SYNTAX = Verdict(501, "5.5.4", "Syntax: MAIL FROM:<address>", Reason.SYNTAX)
RCPT_SYNTAX = Verdict(501, "5.5.4", "Syntax: RCPT TO:<address>", Reason.SYNTAX)
BAD_SIZE = Verdict(501, "5.5.4", "SIZE takes a number of octets", Reason.PARAMETER)
BAD_BODY = Verdict(501, "5.5.4", "BODY is 7BIT or 8BITMIME, with BDAT BINARYMIME", Reason.PARAMETER)
BAD_CHUNK = Verdict(
    501, "5.5.4", "Syntax: BDAT octets [LAST]; nobody knows how many octets follow, closing",
    Reason.SYNTAX,
)
BINARY_DATA = Verdict(  # RFC 3030 3
    503, "5.5.1", "BODY=BINARYMIME is for content that comes by BDAT", Reason.SEQUENCE
)
UNDECLARED = Verdict(
    553, "5.6.7", "A non-ASCII address needs the parameter SMTPUTF8 of MAIL", Reason.ADDRESS
)
NOT_UTF8 = Verdict(553, "5.6.7", "The address is not UTF-8", Reason.ADDRESS)
NO_VALUE = Verdict(501, "5.5.4", "SMTPUTF8 takes no value", Reason.PARAMETER)
BAD_PARAM = Verdict(
    501, "5.5.4", "A parameter is malformed; a blank and KEYWORD=value is right", Reason.PARAMETER
)

BEHIND_DATA = Verdict(
    503, "5.5.1", "Content came though DATA was refused (RFC 2920 3.1), closing", Reason.PIPELINING
)

ORDER = (  # 503 by state
    Verdict(503, "5.5.1", "EHLO or HELO comes first", Reason.SEQUENCE),
    Verdict(503, "5.5.1", "MAIL comes first", Reason.SEQUENCE),
    Verdict(503, "5.5.1", "RCPT comes first: there is no accepted recipient", Reason.SEQUENCE),
    Verdict(503, "5.5.1", "A transaction is open: finish it or send RSET", Reason.SEQUENCE),
    Verdict(
        503, "5.5.1", "A message comes in chunks: send the rest by BDAT, or RSET", Reason.SEQUENCE
    ),
)


cdef Verdict content_verdict(ContentReader content, ServerOptions options):
    """Why content was refused."""
    line = content.fault_line
    if content.fault == F_SIZE:
        return options.oversize
    if content.fault == F_NUL:
        return Verdict(550, "5.6.0", f"Line {line} of the message has a NUL octet", Reason.CONTENT)
    if content.fault == F_LINE:  # RFC 5321 4.5.3.1.9
        text = f"Line {line} of the message is longer than {options.max_text_line} octets"
        return Verdict(500, "5.6.0", text, Reason.CONTENT)
    what = "<CR>" if content.fault == F_BARE_CR else "<LF>"
    text = f"Line {line} of the message has a bare {what}; only <CR><LF> ends a line, closing"
    return Verdict(550, "5.5.2", text, Reason.BARE_NEWLINE)


cdef bint checked(bytes reply, int positive) except -1:
    """Whether a reply begins with the digit `positive`; ValueError if it is no reply at all."""
    if len(reply) >= 6 and reply.endswith(b"\r\n"):
        if reply[0] == positive:
            return True
        if reply[0] == 52 or reply[0] == 53:
            return False
    raise ValueError(f"{reply!r} is no {chr(positive)}xx, 4xx or 5xx reply line")
