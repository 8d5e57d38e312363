"""The SMTP server's transition table; docs/design.md has it in words."""

STATES = ("start", "ready", "mail", "rcpt", "chunks", "content", "connect", "closed")

# The state behind a command that was answered positively, by state and by
#    EHLO, HELO  MAIL    RCPT    DATA       RSET     QUIT      others
NEXT = [
    [S_READY,     BAD,    BAD,    BAD,       S_START, S_CLOSED, STAY],  # START
    [S_READY,     S_MAIL, BAD,    BAD,       S_READY, S_CLOSED, STAY],  # READY
    [S_READY,     BAD,    S_RCPT, BAD,       S_READY, S_CLOSED, STAY],  # MAIL
    [S_READY,     BAD,    S_RCPT, S_CONTENT, S_READY, S_CLOSED, STAY],  # RCPT
    [S_READY,     BAD,    BAD,    BAD,       S_READY, S_CLOSED, STAY],  # CHUNKS
]
