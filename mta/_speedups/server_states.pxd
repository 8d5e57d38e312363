"""The SMTP server's transition table: see server_states.pyx."""

from mta._speedups.command cimport V_EHLO, V_HELO, V_MAIL, V_QUIT, Verb


cdef enum State:
    S_START = 0
    S_READY
    S_MAIL     # has a sender
    S_RCPT     # has recipients
    S_CHUNKS   # within a message that comes by BDAT (RFC 3030)
    S_CONTENT  # behind a 354, up to the verdict on the content
    S_CONNECT  # before the greeting
    S_CLOSED
    BAD = -1   # 503
    STAY = -2


cdef enum Column:
    C_HELLO = 0
    C_MAIL
    C_RCPT
    C_DATA
    C_RSET
    C_QUIT
    C_OTHER


# What awaits a verdict. Column numbers serve: HELLO, MAIL, RCPT, DATA, and
cdef enum:
    W_NOTHING = -1
    W_CONTENT = 4
    W_SHELL = 100  # the shell's own reply: see say() and proceed()


cdef int[5][7] NEXT


cdef inline Column column_of(Verb verb) noexcept:
    if verb == V_EHLO or verb == V_HELO:
        return C_HELLO
    return <Column> (verb - V_MAIL + C_MAIL) if V_MAIL <= verb <= V_QUIT else C_OTHER
