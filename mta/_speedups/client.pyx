"""The SMTP client's state machine; mta/smtp/client.py has the theory of operation."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from mta._speedups.reply cimport ReplyReader
from mta._speedups.stuff cimport stuffed

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

STATE_NAMES = (
    "GREETING", "EHLO", "HELO", "IDLE", "RSET", "MAIL", "RCPT", "DATA", "WANTED", "DOT",
    "LONE_DOT", "QUIT", "CLOSED",
)

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

ACTION_NAMES = (
    "BREAK", "REFUSE", "HELLO", "FALL_BACK", "OPEN", "BEGIN", "MAIL_OK", "MAIL_NO", "RCPT_OK",
    "RCPT_NO", "CONTENT", "DATA_NO", "END", "BOUNDARY", "OVER",
)

# The transition table: what a 2xx, 3xx, 4xx, 5xx reply does in each state; 421 is seen before it.
cdef int[13][4] ACTIONS = [
    [HELLO, BREAK, REFUSE, REFUSE],            # GREETING
    [OPEN, BREAK, REFUSE, FALL_BACK],          # EHLO
    [OPEN, BREAK, REFUSE, REFUSE],             # HELO
    [BREAK, BREAK, BREAK, BREAK],              # IDLE
    [BEGIN, BREAK, BREAK, BREAK],              # RSET (RFC 5321 4.1.1.5: always 250)
    [MAIL_OK, BREAK, MAIL_NO, MAIL_NO],        # MAIL
    [RCPT_OK, BREAK, RCPT_NO, RCPT_NO],        # RCPT
    [BREAK, CONTENT, DATA_NO, DATA_NO],        # DATA
    [BREAK, BREAK, BREAK, BREAK],              # WANTED: nothing is read here
    [END, BREAK, END, END],                    # DOT
    [BOUNDARY, BREAK, BOUNDARY, BOUNDARY],     # LONE_DOT
    [OVER, OVER, OVER, OVER],                  # QUIT
    [OVER, OVER, OVER, OVER],                  # CLOSED
]

# What each state's reply answers, in results.
cdef tuple COMMANDS = (
    "connect", "EHLO", "HELO", "", "RSET", "MAIL", "RCPT", "DATA", "DATA", ".", ".", "QUIT", "",
)
UNATTEMPTED = "unattempted"

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

KIND_NAMES = (
    "none", "greeting", "hello", "mail", "rcpt", "data", "block", "dot", "rset", "quit", "ahead",
    "late",
)
cdef int[13] KINDS = [
    KIND_GREETING, KIND_HELLO, KIND_HELLO, KIND_NONE, KIND_RSET, KIND_MAIL, KIND_RCPT, KIND_DATA,
    KIND_BLOCK, KIND_DOT, KIND_DOT, KIND_QUIT, KIND_NONE,
]

cdef enum Event:
    EVENT_READY = 1
    EVENT_CONTENT_WANTED
    EVENT_DONE
    EVENT_CLOSED

EVENT_NAMES = ("", "READY", "CONTENT_WANTED", "DONE", "CLOSED")

cdef enum:  # bits of mta.model.Flag
    FLAG_EIGHT_BIT = 1
    FLAG_DOT_LINES = 2

cdef enum Can:
    CAN_PIPELINE = 1
    CAN_8BITMIME = 2
    CAN_SIZE = 4
    CAN_ENHANCED = 8
    CAN_STARTTLS = 16
    CAN_SMTPUTF8 = 32
    CAN_CHUNKING = 64
    CAN_DSN = 128

KEYWORDS = {
    "PIPELINING": CAN_PIPELINE,
    "8BITMIME": CAN_8BITMIME,
    "SIZE": CAN_SIZE,
    "ENHANCEDSTATUSCODES": CAN_ENHANCED,
    "STARTTLS": CAN_STARTTLS,
    "SMTPUTF8": CAN_SMTPUTF8,
    "CHUNKING": CAN_CHUNKING,
    "DSN": CAN_DSN,
}

cdef enum:
    MAX_HELD = 65536  # octets that may come between 354 and the content


class LocalProtocolError(Exception):
    pass


cdef bint is_safe(str address):
    # Printable ASCII; blank, < and > only in a quoted part: no address can add to its command.
    cdef Py_UCS4 c
    cdef bint quoted = False
    cdef bint escaped = False
    for c in address:
        if c < 32 or c > 126:
            return False
        if escaped:
            escaped = False
        elif quoted and c == u"\\":
            escaped = True
        elif c == u'"':
            quoted = not quoted
        elif not quoted and (c == u" " or c == u"<" or c == u">"):
            return False
    return not quoted


cdef tuple unsafe_reply(str address, str command):
    if address.isascii():
        return 553, "5.1.3", "the address cannot be sent: it is not well-formed", command
    # RFC 6531 3.2: not to a server asked without SMTPUTF8
    return 553, "5.6.7", "the address is not ASCII, and SMTPUTF8 is not spoken", command


cdef class ClientOptions:
    cdef readonly str ehlo_name
    cdef readonly bint pipelining
    cdef readonly bint overlap
    cdef readonly str convert_8bit
    cdef readonly bint lmtp

    def __init__(
        self, str ehlo_name not None, *, bint pipelining=True, bint overlap=True,
        str convert_8bit not None="bounce", bint lmtp=False,
    ):
        if not ehlo_name or not ehlo_name.isascii() or not is_safe(ehlo_name):
            raise ValueError(f"{ehlo_name!r} is no name for EHLO")
        if convert_8bit not in ("bounce", "convert"):
            raise ValueError(f"convert_8bit is 'bounce' or 'convert', not {convert_8bit!r}")
        self.ehlo_name = ehlo_name
        self.pipelining = pipelining
        self.overlap = overlap
        self.convert_8bit = convert_8bit
        self.lmtp = lmtp


cdef class Transaction:
    cdef readonly str sender
    cdef readonly list recipients
    cdef readonly bytes body
    cdef readonly int flags
    cdef public object tag
    cdef readonly list results       # a tuple for each recipient; None while undecided
    cdef list _sent                  # numbers of the recipients sent, None for all
    cdef Py_ssize_t _to_send         # how many RCPT this transaction has
    cdef Py_ssize_t _cursor          # RCPT replies read
    cdef Py_ssize_t _accepted        # of them 2xx
    cdef bint _mail_refused
    cdef readonly bint ahead         # left with the dot of the one before

    def __init__(
        self, str sender not None, list recipients not None, bytes body not None, int flags=0,
        tag=None,
    ):
        if not recipients:
            raise ValueError("a transaction needs a recipient")
        self.sender = sender
        self.recipients = recipients
        self.body = body
        self.flags = flags
        self.tag = tag
        self.results = [None] * len(recipients)
        self._to_send = len(recipients)

    @property
    def size(self):
        return PyBytes_GET_SIZE(self.body)

    def __repr__(self):
        decided = sum(1 for one in self.results if one is not None)
        return (
            f"<Transaction from <{self.sender}>, {len(self.body)} octets, "
            f"{decided}/{len(self.results)} decided>"
        )

    cdef void _fill(self, tuple result):
        # Decides all that is undecided.
        cdef Py_ssize_t i
        for i in range(len(self.results)):
            if self.results[i] is None:
                self.results[i] = result

    cdef bint _fill_next(self, tuple result):
        # Decides the first that is undecided; True if more are.
        cdef Py_ssize_t i
        cdef bint given = False
        for i in range(len(self.results)):
            if self.results[i] is None:
                if given:
                    return True
                self.results[i] = result
                given = True
        return False

    cdef Py_ssize_t _number(self, Py_ssize_t place):
        # The recipient's number of the place-th RCPT.
        return place if self._sent is None else self._sent[place]

    cdef bint _screen(self):
        # Decides recipients whose address must not be sent; False if none is left.
        cdef Py_ssize_t i
        cdef list sent = []
        for i in range(len(self.recipients)):
            if is_safe(<str>self.recipients[i]):
                sent.append(i)
            else:
                self.results[i] = unsafe_reply(self.recipients[i], "RCPT")
        if len(sent) < len(self.recipients):
            self._sent = sent
            self._to_send = len(sent)
        return self._to_send > 0

    cdef Py_ssize_t _wire_size(self):
        # Octets of the content with a final CRLF, without stuffing and final dot (RFC 1870 3).
        cdef Py_ssize_t size = PyBytes_GET_SIZE(self.body)
        return size if ends_line(self.body) else size + 2

    cdef bytes _rcpt(self, Py_ssize_t place):
        return b"RCPT TO:<%b>\r\n" % (<str>self.recipients[self._number(place)]).encode("ascii")


cdef bint ends_line(bytes body):
    cdef Py_ssize_t size = PyBytes_GET_SIZE(body)
    cdef const char *data = PyBytes_AS_STRING(body)
    return size == 0 or (size > 1 and data[size - 2] == c"\r" and data[size - 1] == c"\n")


cdef class ClientCore:
    cdef readonly ClientOptions options
    cdef int _state                   # State
    cdef int _told                    # the state whose event was given out, -1 for none
    cdef ReplyReader _reader
    cdef bytes _held                  # read after 354, before the content was given
    cdef list _out                    # buffers to write
    cdef list _done                   # ended transactions that were not taken yet
    cdef Transaction _current         # the one whose replies are read
    cdef Transaction _next            # the one sent ahead
    cdef bint _reset_needed           # the server may still hold the last envelope
    cdef bint _pipeline               # group commands in this session
    cdef bint _overlap                # send the next envelope with the dot
    cdef readonly bint overlap_failed
    cdef readonly int capabilities    # Capability bits
    cdef readonly object size_limit   # octets, 0 for none
    cdef readonly object transactions
    cdef readonly object replies
    cdef readonly tuple failure       # why the session ended: a result, or None

    def __init__(self, ClientOptions options not None):
        self.options = options
        self._state = GREETING
        self._told = -1
        self._reader = ReplyReader()
        self._out = []
        self._done = []
        self.size_limit = 0
        self.transactions = 0
        self.replies = 0

    # What the shell asks

    @property
    def state(self):
        return STATE_NAMES[self._state]

    @property
    def idle(self):
        return self._state == IDLE

    @property
    def closed(self):
        return self._state == CLOSED

    @property
    def overlap_ok(self):
        return self._overlap

    @property
    def in_flight(self):
        return (self._current is not None) + (self._next is not None)

    @property
    def last_reply(self):
        return self._reader.reply("")[:3]

    @property
    def deadline_kind(self):
        if self._state == MAIL and self._current.ahead:
            return KIND_AHEAD if self._overlap else KIND_LATE
        return KINDS[self._state]

    def next_event(self):
        if self._done:
            return EVENT_DONE
        if self._told == self._state:
            return None
        self._told = self._state
        if self._state == IDLE:
            return EVENT_READY
        if self._state == WANTED:
            return EVENT_CONTENT_WANTED
        if self._state == CLOSED:
            return EVENT_CLOSED
        return None

    def take_done(self):
        if not self._done:
            raise LocalProtocolError("no transaction has ended")
        return self._done.pop(0)

    def output(self):
        cdef list out = self._out
        if out:
            self._out = []
        return out

    # What the shell does

    def submit(self, Transaction transaction not None):
        if self._state != IDLE:
            raise LocalProtocolError(f"a transaction cannot begin in state {self.state}")
        self._told = -1
        if not self._admit(transaction):
            return
        self._current = transaction
        if not self._reset_needed:
            self._enter(MAIL)
        else:
            self._reset_needed = False
            self._out.append(b"RSET\r\n")
            self._enter(RSET)
            if not self._pipeline:
                return
        self._send_envelope(transaction, b"")

    def send_content(self, Transaction next_one=None):
        if self._state != WANTED:
            raise LocalProtocolError(f"no content is wanted in state {self.state}")
        if next_one is not None and not self._overlap:
            raise LocalProtocolError("nothing may be sent ahead in this session")
        cdef Transaction tx = self._current
        cdef bytes body = tx.body
        cdef bytes dot = b".\r\n" if ends_line(body) else b"\r\n.\r\n"
        if tx.flags & FLAG_DOT_LINES:
            body = stuffed(body)  # RFC 5321 4.5.2
        if body:
            self._out.append(body)
        self._enter(DOT)
        if next_one is not None and self._admit(next_one):
            next_one.ahead = True
            self._next = next_one
            self._send_envelope(next_one, dot)  # RFC 2920 3.1: dot and MAIL may share a group
        else:
            self._out.append(dot)
        cdef bytes held = self._held
        if held is not None:
            self._held = None
            self._read(PyBytes_AS_STRING(held), PyBytes_GET_SIZE(held))

    def feed(self, data, Py_ssize_t size=-1):
        cdef Py_buffer view
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            self._read(<const char *>view.buf, view.len if size < 0 else min(size, view.len))
        finally:
            PyBuffer_Release(&view)

    def quit(self):
        if self._state != IDLE:
            raise LocalProtocolError(f"QUIT cannot be sent in state {self.state}")
        self._out.append(b"QUIT\r\n")
        self._enter(QUIT)

    def overlap_off(self):
        self._overlap = False
        if self._state == MAIL and self._current.ahead:
            self.overlap_failed = True

    def connection_lost(self, str reason not None=""):
        self._lose("connection lost", reason)

    def time_out(self):
        if self._state == MAIL and self._current.ahead:
            self.overlap_failed = True
        self._lose("timed out", "")

    # How it ends early

    cdef int _lose(self, str what, str reason) except -1:
        # Without a word of the server: its silence is the result.
        if self._state == CLOSED:
            return 0
        cdef str where = COMMANDS[self._state]
        cdef str text
        if self._state == DOT:
            text = f"{what} after the final dot, delivery is unknown"
        elif self._state == GREETING:
            text = f"{what} waiting for the greeting"
        else:
            text = f"{what} waiting for the reply to {where}"
        if reason:
            text = f"{text}: {reason}"
        cdef bint quiet = self._state == IDLE or self._state == QUIT
        return self._end(None if quiet else (0, "", text, where))

    cdef int _malformed(self, str text) except -1:
        cdef str where = COMMANDS[self._state] or "nothing"
        return self._end((0, "", f"malformed reply to {where}: {text}", where))

    cdef int _end(self, tuple failure) except -1:
        # Decides what is under way and closes. What no reply was about goes back unattempted.
        cdef Transaction tx = self._current
        cdef Transaction ahead = self._next
        cdef tuple back = (0, "", failure[2] if failure is not None else "", UNATTEMPTED)
        self.failure = failure
        if tx is not None:
            untouched = self._state == MAIL or self._state == RSET
            # On a connection that has carried mail, loss before the first reply says nothing
            # about this message: the server may have closed it before MAIL came.
            if untouched and (tx.ahead or self.transactions):
                self._finish(back)
            else:
                self._finish(failure)
        if ahead is not None:
            self._current, self._next = ahead, None
            self._finish(back)
        self._overlap = False
        self._held = None
        self._enter(CLOSED)
        return 0

    # Transactions

    cdef bint _admit(self, Transaction tx):
        # Decides here what the server would refuse anyway; False: it is done, send nothing.
        cdef Py_ssize_t size = tx._wire_size()
        if self.size_limit and size > self.size_limit:
            text = f"the message has {size} octets, the server takes {self.size_limit}"
            tx._fill((552, "5.3.4", text, "MAIL"))  # RFC 1870 6.1
        elif tx.flags & FLAG_EIGHT_BIT and not self.capabilities & CAN_8BITMIME:
            # RFC 6152 3
            tx._fill((554, "5.6.3", "8-bit content, and the server has no 8BITMIME", "MAIL"))
        elif not is_safe(tx.sender):
            tx._fill(unsafe_reply(tx.sender, "MAIL"))
        elif tx._screen():
            return True
        self._done.append(tx)
        return False

    cdef bytes _mail(self, Transaction tx):
        cdef bytes line = b"MAIL FROM:<%b>" % tx.sender.encode("ascii")
        if self.capabilities & CAN_SIZE:
            line += b" SIZE=%d" % tx._wire_size()  # RFC 1870 5
        if tx.flags & FLAG_EIGHT_BIT:
            line += b" BODY=8BITMIME"  # RFC 6152 2
        return line + b"\r\n"

    cdef int _send_envelope(self, Transaction tx, bytes before) except -1:
        # The whole group with PIPELINING, else MAIL alone. `before` leaves in the same buffer.
        # RFC 2920 3.1: a group must not exceed what TCP can hold while nobody reads; the shell
        # always reads, so a server that stops reading until its replies are taken cannot lock.
        cdef Py_ssize_t i
        cdef list parts
        if not self._pipeline:
            self._out.append(before + self._mail(tx))
            return 0
        parts = [before, self._mail(tx)]
        for i in range(tx._to_send):
            parts.append(tx._rcpt(i))
        parts.append(b"DATA\r\n")
        self._out.append(b"".join(parts))
        return 0

    cdef int _finish(self, tuple result) except -1:
        # The current transaction has ended; `result` is for whoever is undecided.
        cdef Transaction tx = self._current
        tx._fill(result)
        self._current = None
        self._done.append(tx)
        return 0

    cdef int _enter(self, int state) except -1:
        self._state = state
        self._told = -1
        return 0

    # Replies

    cdef int _read(self, const char *data, Py_ssize_t size) except -1:
        cdef Py_ssize_t at = 0
        cdef ReplyReader reader = self._reader
        while at < size and self._state != CLOSED:
            if self._state == WANTED:
                return self._hold(data + at, size - at)
            at += reader.push(data + at, size - at)
            if reader.error is not None:
                self._malformed(reader.error)
            elif reader.complete:
                self._reply(reader)
        return 0

    cdef int _hold(self, const char *data, Py_ssize_t size) except -1:
        cdef bytes piece = data[:size]
        self._held = piece if self._held is None else self._held + piece
        if PyBytes_GET_SIZE(self._held) > MAX_HELD:
            self._malformed("replies without commands")
        return 0

    cdef int _reply(self, ReplyReader reader) except -1:
        cdef int code = reader.code
        self.replies += 1
        if code == 421 and self._state != QUIT:  # RFC 5321 3.8: at any time
            return self._end(
                None if self._state == IDLE else reader.reply(COMMANDS[self._state])
            )
        if self._out_of_step(code):
            self.overlap_failed = True
            return self._end(reader.reply("MAIL"))
        return self._act(ACTIONS[self._state][code // 100 - 2], reader)

    cdef bint _out_of_step(self, int code):
        # A server that dropped what came with the dot answers a later line, or half of one, as
        # out of sequence or unknown. That is no verdict on the message sent ahead. 501 is one: the
        # command was known, its sender is bad.
        if self._state != MAIL or not self._current.ahead:
            return False
        return code == 500 or code == 502 or code == 503

    cdef int _act(self, int action, ReplyReader reader) except -1:
        cdef Transaction tx = self._current
        if action == MAIL_OK or action == MAIL_NO:
            self._on_mail(tx, reader, action == MAIL_OK)
        elif action == RCPT_OK or action == RCPT_NO:
            self._on_rcpt(tx, reader, action == RCPT_OK)
        elif action == CONTENT:
            self._on_content(tx)
        elif action == DATA_NO:
            self._reset_needed = not tx._mail_refused
            self._finish(reader.reply("DATA"))
            self._enter(IDLE)
        elif action == END:
            # RFC 2033 4.2: after the dot a reply for each recipient accepted, in order
            if self.options.lmtp and tx._fill_next(reader.reply(".")):
                return 0
            self._finish(reader.reply("."))
            self._current, self._next = self._next, None
            self._enter(IDLE if self._current is None else MAIL)
        elif action == BEGIN:
            self._enter(MAIL)
            if not self._pipeline:
                self._send_envelope(tx, b"")
        elif action == BOUNDARY:
            self._enter(IDLE)
        else:
            self._on_session(action, reader)
        return 0

    cdef int _on_session(self, int action, ReplyReader reader) except -1:
        # Everything outside of transactions.
        if action == HELLO:
            hello = b"LHLO" if self.options.lmtp else b"EHLO"  # RFC 2033 4.1
            self._out.append(b"%b %b\r\n" % (hello, self.options.ehlo_name.encode("ascii")))
            self._enter(EHLO)
        elif action == FALL_BACK and not self.options.lmtp:
            # RFC 5321 3.2: a server without EHLO
            self._out.append(b"HELO %b\r\n" % self.options.ehlo_name.encode("ascii"))
            self._enter(HELO)
        elif action == OPEN:
            if self._state == EHLO:
                self._learn(reader.texts())
            self._enter(IDLE)
        elif action == REFUSE or action == FALL_BACK:
            self._out.append(b"QUIT\r\n")  # RFC 5321 3.1
            self._end(reader.reply(COMMANDS[self._state]))
        elif action == OVER:
            self._end(None)
        else:
            self._malformed(f"{reader.code} does not belong here")
        return 0

    cdef int _learn(self, list lines) except -1:
        # RFC 5321 4.1.1.1: the first line is the greeting, then a keyword a line.
        cdef str keyword
        for line in lines[1:]:
            keyword, _, params = line.strip().partition(" ")
            keyword = keyword.upper()
            self.capabilities |= KEYWORDS.get(keyword, 0)
            # RFC 1870 4: zero or nothing is no limit
            params = params.strip()
            if keyword == "SIZE" and params.isascii() and params.isdigit() and len(params) < 20:
                self.size_limit = int(params)
        self._pipeline = self.options.pipelining and self.capabilities & CAN_PIPELINE
        self._overlap = self._pipeline and self.options.overlap
        return 0

    cdef int _on_mail(self, Transaction tx, ReplyReader reader, bint ok) except -1:
        self.transactions += 1
        self._enter(RCPT)
        if ok:
            if not self._pipeline:
                self._out.append(tx._rcpt(0))
            return 0
        tx._mail_refused = True
        tx._fill(reader.reply("MAIL"))
        if not self._pipeline:
            self._finish(None)
            self._enter(IDLE)
        return 0

    cdef int _on_rcpt(self, Transaction tx, ReplyReader reader, bint ok) except -1:
        # After a refused MAIL the replies to RCPT are read and mean nothing.
        if not tx._mail_refused:
            if ok:
                tx._accepted += 1
            else:
                tx.results[tx._number(tx._cursor)] = reader.reply("RCPT")
        tx._cursor += 1
        if tx._cursor < tx._to_send:
            if not self._pipeline:
                self._out.append(tx._rcpt(tx._cursor))
        elif self._pipeline:
            self._enter(DATA)
        elif tx._accepted:
            self._out.append(b"DATA\r\n")
            self._enter(DATA)
        else:
            self._reset_needed = True
            self._finish(None)
            self._enter(IDLE)
        return 0

    cdef int _on_content(self, Transaction tx) except -1:
        if tx._accepted:
            return self._enter(WANTED)
        if self.options.lmtp:  # RFC 2033 4.2: it must be 503, and no reply would follow a dot
            self._finish(None)
            return self._malformed("354 though no recipient was accepted")
        # RFC 2920 3.1: 354 though no recipient was accepted: end it with a lone dot
        self._out.append(b".\r\n")
        self._finish(None)
        return self._enter(LONE_DOT)


def transitions():
    cdef int state, column
    return {
        STATE_NAMES[state]: tuple(ACTION_NAMES[ACTIONS[state][column]] for column in range(4))
        for state in range(13)
    }
