"""States, deadlines and capabilities of the client; what may stand in a command."""


# What the session waits for. The order is that of ACTIONS, COMMANDS and KINDS.
cdef enum State:
    GREETING
    EHLO
    HELO
    IDLE      # a transaction, from the shell
    RSET
    MAIL
    RCPT
    DATA
    WANTED    # the content, from the shell, after 354
    DOT
    LONE_DOT  # the reply to a dot without content: no recipient was left
    QUIT
    CLOSED


# What a reply does.
cdef enum Action:
    BREAK        # no reply that this command may have: the session ends
    REFUSE       # the host does not want us
    HELLO        # say EHLO
    FALL_BACK    # say HELO
    OPEN         # the session is up
    BEGIN        # the old transaction is gone, the new one begins
    MAIL_OK
    MAIL_NO
    RCPT_OK
    RCPT_NO
    CONTENT      # content may come
    DATA_NO
    END          # the transaction is decided
    BOUNDARY     # nothing is under way any more
    OVER         # the session has ended as it should


# Deadline kinds: places in the shell's list of time-outs (RFC 5321 4.5.3.2).
cdef enum Kind:
    KIND_NONE      # idle or closed
    KIND_GREETING
    KIND_HELLO
    KIND_MAIL
    KIND_RCPT
    KIND_DATA
    KIND_BLOCK     # the shell's turn, or content that does not drain
    KIND_DOT
    KIND_RSET
    KIND_QUIT
    KIND_AHEAD     # MAIL that was sent ahead, overlap still on
    KIND_LATE      # the same after overlap_off()


cdef enum Event:
    EVENT_READY = 1
    EVENT_CONTENT_WANTED
    EVENT_DONE
    EVENT_CLOSED


cdef enum:  # bits of mta.model.Flag
    FLAG_EIGHT_BIT = 1
    FLAG_DOT_LINES = 2
    FLAG_SMTPUTF8 = 16
    FLAG_BINARYMIME = 32


cdef enum Can:
    CAN_PIPELINE = 1
    CAN_8BITMIME = 2
    CAN_SIZE = 4
    CAN_ENHANCED = 8
    CAN_STARTTLS = 16
    CAN_SMTPUTF8 = 32
    CAN_CHUNKING = 64
    CAN_DSN = 128
    CAN_BINARYMIME = 256
    CAN_PRIORITY = 512
    CAN_LIMITS = 1024


cdef enum Safety:
    UNSAFE = 0
    SAFE
    WIDE  # beyond ASCII: needs SMTPUTF8


cdef tuple COMMANDS

cdef Safety safety(str address)
cdef tuple unsafe_reply(Safety what, str command)
cdef bint ends_line(bytes body)
cdef bint has_wide_header(bytes body)
cdef dict limits_of(str text)
