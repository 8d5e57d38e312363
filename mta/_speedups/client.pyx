"""The SMTP client's state machine; mta/smtp/client.py has the theory of operation."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.stdlib cimport free
from mta._speedups.buffer cimport Buffer, put
from mta._speedups.client_words cimport *  # states and the like are written bare throughout
from mta._speedups.reply cimport ReplyReader
from mta._speedups.stuff cimport stuffed

from mta._speedups.client_words import ACTION_NAMES, KEYWORDS, STATE_NAMES, UNATTEMPTED

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

cdef int[13] KINDS = [
    KIND_GREETING, KIND_HELLO, KIND_HELLO, KIND_NONE, KIND_RSET, KIND_MAIL, KIND_RCPT, KIND_DATA,
    KIND_BLOCK, KIND_DOT, KIND_DOT, KIND_QUIT, KIND_NONE,
]

cdef enum:
    MAX_HELD = 65536  # octets that may come between 354 and the content
    MAX_GROUP = 65536  # octets of memory kept for the next envelope


cdef extern from "Python.h":
    Py_ssize_t PY_SSIZE_T_MAX

cdef dict NO_LIMITS = {}  # of every session without the keyword; nobody writes to it
cdef Buffer GROUP         # where an envelope is put together, within one call


cdef int put_text(Buffer *to, str text) except -1:
    cdef Py_ssize_t size
    cdef const char *data = PyUnicode_AsUTF8AndSize(text, &size)
    return put(to, data, size)


cdef int put_bytes(Buffer *to, bytes data) except -1:
    return put(to, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))


cdef int put_decimal(Buffer *to, Py_ssize_t number) except -1:
    cdef char digits[24]
    cdef int at = 24
    while True:
        at -= 1
        digits[at] = <char>(48 + number % 10)
        number //= 10
        if number == 0:
            return put(to, digits + at, 24 - at)


cdef bytes grouped():
    # What was put into GROUP, which is empty again; a large one gives its memory back.
    cdef bytes whole = PyBytes_FromStringAndSize(<char *>GROUP.data, GROUP.used)
    GROUP.used = 0
    if GROUP.room > MAX_GROUP:
        free(GROUP.data)
        GROUP.data, GROUP.room = NULL, 0
    return whole


class LocalProtocolError(Exception):
    pass


cdef class ClientOptions:
    def __init__(
        self, str ehlo_name not None, *, bint pipelining=True, bint overlap=True,
        str chunking not None="needed", disable=(), bint lmtp=False,
    ):
        if not ehlo_name or safety(ehlo_name) != SAFE:
            raise ValueError(f"{ehlo_name!r} is no name for EHLO")
        if chunking not in ("never", "needed", "always", "eager"):
            raise ValueError(f"chunking cannot be {chunking!r}")
        self.ehlo_name = ehlo_name
        self.chunking = chunking
        self.disable = frozenset(disable)
        self.pipelining = pipelining
        self.overlap = overlap
        self.lmtp = lmtp


cdef class Transaction:
    def __init__(
        self, str sender not None, list recipients not None, bytes body not None, int flags=0,
        tag=None, bytes mail_params not None=b"", list rcpt_params=None,
    ):
        if not recipients:
            raise ValueError("a transaction needs a recipient")
        self._mail_params = mail_params
        self._rcpt_params = rcpt_params
        self.sender = sender
        self.recipients = recipients
        self.body = body
        self.flags = flags
        self.tag = tag
        self.results = [None] * len(recipients)
        self._to_send = len(recipients)
        if mail_params or rcpt_params is not None:
            self._check_params()

    cdef int _check_params(self) except -1:
        cdef list params = self._rcpt_params or []
        if params and len(params) != len(self.recipients):
            raise ValueError("parameters are needed for each recipient or for none")
        for one in (self._mail_params, *params):
            if b"\r" in one or b"\n" in one:
                raise ValueError(f"{one!r} would add to its command")
        return 0

    @property
    def size(self):
        return PyBytes_GET_SIZE(self.body)

    def __repr__(self):
        decided = sum(1 for one in self.results if one is not None)
        return (
            f"<Transaction from <{self.sender}>, {len(self.body)} octets, "
            f"{decided}/{len(self.results)} decided>"
        )

    cpdef forget_body(self):
        self.body = b""

    cdef int _fill(self, tuple result) except -1:
        # Decides all that is undecided.
        cdef Py_ssize_t i
        for i in range(len(self.results)):
            if self.results[i] is None:
                self.results[i] = result
        return 0

    cdef bint _fill_next(self, tuple result) except -1:
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

    cdef Py_ssize_t _number(self, Py_ssize_t place) except -1:
        # The recipient's number of the place-th RCPT.
        return place if self._sent is None else self._sent[place]

    cdef bint _screen(self, bint utf8) except -1:
        # Decides recipients whose address must not be sent; False if none is left.
        cdef Safety what
        cdef Py_ssize_t i
        cdef list sent = None  # once one is not
        for i in range(len(self.recipients)):
            what = safety(<str?>self.recipients[i])
            if what == SAFE or what == WIDE and utf8:
                self._wide |= what == WIDE
                if sent is not None:
                    sent.append(i)
            else:
                self.results[i] = unsafe_reply(what, "RCPT")
                if sent is None:
                    sent = list(range(i))
        if sent is not None:
            self._sent = sent
            self._to_send = len(sent)
        return self._to_send > 0

    cdef bytes _bdat(self):
        return b"BDAT %d LAST\r\n" % self.size  # RFC 3030 2

    cdef Py_ssize_t _wire_size(self):
        # Octets of the content with a final CRLF, without stuffing and final dot (RFC 1870 3).
        cdef Py_ssize_t size = PyBytes_GET_SIZE(self.body)
        return size if ends_line(self.body) else size + 2

    cdef int _put_mail(self, Buffer *to, int capabilities) except -1:
        put(to, b"MAIL FROM:<", 11)
        put_text(to, self.sender)
        put(to, b">", 1)
        if capabilities & CAN_SIZE:
            put(to, b" SIZE=", 6)  # RFC 1870 5
            put_decimal(to, self._wire_size())
        if self.flags & FLAG_BINARYMIME:
            put(to, b" BODY=BINARYMIME", 16)  # RFC 3030 3
        elif self.flags & FLAG_EIGHT_BIT:
            put(to, b" BODY=8BITMIME", 14)  # RFC 6152 2
        if self._wide:
            put(to, b" SMTPUTF8", 9)  # RFC 6531 3.4
        put_bytes(to, self._mail_params)
        return put(to, b"\r\n", 2)

    cdef int _put_rcpt(self, Buffer *to, Py_ssize_t place) except -1:
        cdef Py_ssize_t number = self._number(place)
        put(to, b"RCPT TO:<", 9)
        put_text(to, <str>self.recipients[number])
        put(to, b">", 1)
        if self._rcpt_params is not None:
            put_bytes(to, <bytes?>self._rcpt_params[number])
        return put(to, b"\r\n", 2)


cdef class ClientCore:
    def __init__(self, ClientOptions options not None):
        self.options = options
        self._state = GREETING
        self._told = -1
        self._reader = ReplyReader()
        self.limits = NO_LIMITS
        self.deadline_kind = KIND_GREETING

    # What the shell asks

    @property
    def state(self):
        return STATE_NAMES[self._state]

    @property
    def closed(self):
        return self._state == CLOSED

    @property
    def takes_binary(self):
        return self._takes_binary()

    @property
    def in_flight(self):
        return (self._current is not None) + (self._next is not None)

    @property
    def last_reply(self):
        return self._reader.reply("")[:3]

    def next_event(self):
        return self.event() or None

    cpdef int event(self) except -1:
        if self._done:
            return EVENT_DONE
        if self._told == self._state:
            return 0
        self._told = self._state
        if self._state == IDLE:
            return EVENT_READY
        if self._state == WANTED:
            return EVENT_CONTENT_WANTED
        if self._state == CLOSED:
            return EVENT_CLOSED
        return 0

    cpdef Transaction take_done(self):
        if not self._done:
            raise LocalProtocolError("no transaction has ended")
        cdef Transaction tx = self._done.pop(0)
        if not self._done:
            self._done = None
        return tx

    cpdef Transaction awaiting(self):
        return self._current if self._state == DOT else None

    cpdef list output(self):
        cdef list out = self._out
        self._out = None
        return [] if out is None else out

    @property
    def size_limit(self):
        return self._size_limit

    # What the shell does

    cpdef submit(self, Transaction transaction):
        if transaction is None:
            raise TypeError("a transaction is needed")
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
            self._say(b"RSET\r\n")
            self._enter(RSET)
            if not self._pipeline:
                return
        self._send_envelope(transaction, b"")

    cpdef send_content(self, Transaction next_one=None):
        if self._state != WANTED:
            raise LocalProtocolError(f"no content is wanted in state {self.state}")
        if next_one is not None and not self.overlap_ok:
            raise LocalProtocolError("nothing may be sent ahead in this session")
        cdef Transaction tx = self._current
        cdef bytes body = tx.body
        cdef bytes dot = b".\r\n" if ends_line(body) else b"\r\n.\r\n"
        if tx._chunked:
            dot = b""
            self._say(tx._bdat())
        elif tx.flags & FLAG_DOT_LINES:
            body = stuffed(body)  # RFC 5321 4.5.2
        if body:
            self._say(body)
        self._enter(DOT)
        if next_one is not None and self._admit(next_one):
            next_one.ahead = True
            self._next = next_one
            self._send_envelope(next_one, dot)  # RFC 2920 3.1: dot and MAIL may share a group
        elif dot:
            self._say(dot)
        cdef bytes held = self._held
        if held is not None:
            self._held = None
            self._read(PyBytes_AS_STRING(held), PyBytes_GET_SIZE(held))

    cpdef feed(self, data, Py_ssize_t size=-1):
        cdef Py_buffer view
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            self._read(<const char *>view.buf, view.len if size < 0 else min(size, view.len))
        finally:
            PyBuffer_Release(&view)

    cpdef quit(self):
        if self._state != IDLE:
            raise LocalProtocolError(f"QUIT cannot be sent in state {self.state}")
        self._say(b"QUIT\r\n")
        self._enter(QUIT)

    cpdef overlap_off(self):
        self.overlap_ok = False
        if self._state == MAIL and self._current.ahead:
            self.overlap_failed = True
            self.deadline_kind = KIND_LATE

    cpdef connection_lost(self, str reason=""):
        self._lose("connection lost", reason)

    cpdef time_out(self):
        if self._state == MAIL and self._current.ahead:
            self.overlap_failed = True
        self._lose("timed out", "")

    # Lists that most connections have no use for most of the time

    cdef int _say(self, bytes octets) except -1:
        if self._out is None:
            self._out = [octets]
        else:
            self._out.append(octets)
        return 0

    cdef int _decided(self, Transaction tx) except -1:
        if self._done is None:
            self._done = [tx]
        else:
            self._done.append(tx)
        return 0

    # How it ends early

    cdef int _lose(self, str what, str reason) except -1:
        # Without a word of the server: its silence is the result.
        if self._state == CLOSED:
            return 0
        cdef str where = COMMANDS[self._state]
        cdef str text
        if self._state == DOT or self._sent_all():
            text = f"{what} after the final dot, delivery is unknown"
        elif self._state == GREETING:
            text = f"{what} waiting for the greeting"
        else:
            text = f"{what} waiting for the reply to {where}"
        if reason:
            text = f"{text}: {reason}"
        cdef bint quiet = self._state == IDLE or self._state == QUIT
        return self._end(None if quiet else (0, "", text, where))

    cdef bint _sent_all(self):
        # The content left with its envelope, whose replies are still being read.
        return self._current is not None and self._current._eager

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
            if untouched and not tx._eager and (tx.ahead or self.transactions):
                self._finish(back)
            else:
                self._finish(failure)
        if ahead is not None:
            self._current, self._next = ahead, None
            self._finish(back)
        self.overlap_ok = False
        self._held = None
        self._enter(CLOSED)
        return 0

    # Transactions

    cdef bint _admit(self, Transaction tx) except -1:
        # Decides here what the server would refuse anyway; False: it is done, send nothing.
        cdef Py_ssize_t size = tx._wire_size()
        if 0 < self._size_limit < size:
            text = f"the message has {size} octets, the server takes {self.size_limit}"
            tx._fill((552, "5.3.4", text, "MAIL"))  # RFC 1870 6.1
        elif tx.flags & FLAG_BINARYMIME and not self._takes_binary():
            # RFC 3030 3
            tx._fill((554, "5.6.3", "binary content, and the server has no BINARYMIME", "MAIL"))
        elif tx.flags & (FLAG_EIGHT_BIT | FLAG_BINARYMIME) == FLAG_EIGHT_BIT \
                and not self.capabilities & CAN_8BITMIME:
            # RFC 6152 3
            tx._fill((554, "5.6.3", "8-bit content, and the server has no 8BITMIME", "MAIL"))
        elif self._admit_addresses(tx):
            if self.capabilities & CAN_CHUNKING:
                tx._chunked = self._chunk_all or tx.flags & FLAG_BINARYMIME != 0
                tx._eager = self._eager and tx._chunked
            return True
        self._decided(tx)
        return False

    cdef bint _admit_addresses(self, Transaction tx) except -1:
        # RFC 6531 3.2: nothing beyond ASCII to a server without SMTPUTF8.
        cdef bint utf8 = self.capabilities & CAN_SMTPUTF8 != 0
        cdef Safety what = safety(tx.sender)
        if what == UNSAFE or what == WIDE and not utf8:
            tx._fill(unsafe_reply(what, "MAIL"))
            return False
        if tx.flags & FLAG_SMTPUTF8 and not utf8 and has_wide_header(tx.body):
            tx._fill((554, "5.6.7", "the header is not ASCII, and the server has no SMTPUTF8",
                      "MAIL"))
            return False
        tx._wide = what == WIDE or tx.flags & FLAG_SMTPUTF8 and utf8
        return tx._screen(utf8)

    cdef bint _takes_binary(self):
        cdef int needed = CAN_CHUNKING | CAN_BINARYMIME
        return self.capabilities & needed == needed and self.options.chunking != "never"

    cdef int _send_envelope(self, Transaction tx, bytes before) except -1:
        # The whole group with PIPELINING, else MAIL alone. `before` leaves in the same buffer.
        # RFC 2920 3.1: a group must not exceed what TCP can hold while nobody reads; the shell
        # always reads, so a server that stops reading until its replies are taken cannot lock.
        cdef Py_ssize_t i
        GROUP.used = 0
        put_bytes(&GROUP, before)
        tx._put_mail(&GROUP, self.capabilities)
        if not self._pipeline:
            self._say(grouped())
            return 0
        for i in range(tx._to_send):
            tx._put_rcpt(&GROUP, i)
        if tx._eager:
            put_bytes(&GROUP, tx._bdat())
        elif not tx._chunked:
            put(&GROUP, b"DATA\r\n", 6)
        self._say(grouped())
        if tx._eager and tx.body:
            self._say(tx.body)
        return 0

    cdef int _send_rcpt(self, Transaction tx, Py_ssize_t place) except -1:
        GROUP.used = 0
        tx._put_rcpt(&GROUP, place)
        self._say(grouped())
        return 0

    cdef int _finish(self, tuple result) except -1:
        # The current transaction has ended; `result` is for whoever is undecided.
        cdef Transaction tx = self._current
        tx._fill(result)
        self._current = None
        self._decided(tx)
        return 0

    cdef int _enter(self, int state) except -1:
        self._state = state
        self._told = -1
        self.idle = state == IDLE
        self.deadline_kind = KINDS[state]
        if state == MAIL and self._current.ahead:
            self.deadline_kind = KIND_AHEAD if self.overlap_ok else KIND_LATE
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
            # RFC 3030 2: behind a refused chunk the server may hold the transaction
            self._reset_needed = tx._chunked and reader.code > 299 and self._next is None
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
            self._say(b"%b %b\r\n" % (hello, self.options.ehlo_name.encode("ascii")))
            self._enter(EHLO)
        elif action == FALL_BACK and not self.options.lmtp:
            # RFC 5321 3.2: a server without EHLO
            self._say(b"HELO %b\r\n" % self.options.ehlo_name.encode("ascii"))
            self._enter(HELO)
        elif action == OPEN:
            if self._state == EHLO:
                self._learn(reader.texts())
            self._enter(IDLE)
        elif action == REFUSE or action == FALL_BACK:
            self._say(b"QUIT\r\n")  # RFC 5321 3.1
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
            if keyword in self.options.disable:
                continue
            self.capabilities |= KEYWORDS.get(keyword, 0)
            if keyword == "LIMITS":
                self.limits = limits_of(params)
            # RFC 1870 4: zero or nothing is no limit
            params = params.strip()
            if keyword == "SIZE" and params.isascii() and params.isdigit() and len(params) < 20:
                self._size_limit = min(int(params), PY_SSIZE_T_MAX)
        self._pipeline = self.options.pipelining and self.capabilities & CAN_PIPELINE
        self.overlap_ok = self._pipeline and self.options.overlap
        self._chunk_all = self.options.chunking in ("always", "eager")
        # RFC 2033 4.2: how many replies follow depends on those to RCPT
        self._eager = self._pipeline and self.options.chunking == "eager" and not self.options.lmtp
        return 0

    cdef int _on_mail(self, Transaction tx, ReplyReader reader, bint ok) except -1:
        self.transactions += 1
        self._enter(RCPT)
        if ok:
            if not self._pipeline:
                self._send_rcpt(tx, 0)
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
                self._send_rcpt(tx, tx._cursor)
        elif tx._eager:
            self._enter(DOT)
        elif self._pipeline and not tx._chunked:
            self._enter(DATA)
        elif tx._accepted and tx._chunked:
            self._enter(WANTED)
        elif tx._accepted:
            self._say(b"DATA\r\n")
            self._enter(DATA)
        else:
            self._reset_needed = not tx._mail_refused
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
        self._say(b".\r\n")
        self._finish(None)
        return self._enter(LONE_DOT)


def transitions():
    cdef int state, column
    return {
        STATE_NAMES[state]: tuple(ACTION_NAMES[ACTIONS[state][column]] for column in range(4))
        for state in range(13)
    }
