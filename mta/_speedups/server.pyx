"""The SMTP server's state machine: octets in, events and replies out (RFC 5321).

`mta/smtp/server.py` tells how it works and how to drive it; docs/design.md has the states.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.unicode cimport PyUnicode_DecodeASCII
from libc.string cimport memchr

from mta._speedups.command cimport (
    V_BDAT, V_DATA, V_EHLO, V_HELO, V_HELP, V_HTTP, V_MAIL, V_NOOP, V_QUIT, V_RCPT, V_RSET,
    V_UNKNOWN, V_VRFY, Verb, name_of, parse_name, parse_verb, skip_blanks, skip_word, verb_of,
)
from mta._speedups.dots cimport F_BARE_CR, F_BARE_LF, F_SIZE, ContentReader
from mta._speedups.envelope cimport F8_BINARYMIME, Envelope, is_ascii
from mta._speedups.kept cimport Kept, drop, keep, left
from mta._speedups.lines cimport (
    LINE_BARE_LF,
    LINE_CRLF,
    LINE_OPEN,
    LineEnd,
    find_line,
    has_nul,
)
from mta._speedups.server_events cimport (
    Closed, Data, command_of, content_of, hello_of, mail_of, rcpt_of, reset_of,
)
from mta._speedups.server_options cimport ServerOptions, wire
from mta._speedups cimport server_replies as say
from mta._speedups.server_replies cimport checked, content_verdict
from mta._speedups.server_states cimport (
    BAD, C_DATA, C_HELLO, C_MAIL, C_RCPT, NEXT, S_CHUNKS, S_CLOSED, S_CONNECT, S_CONTENT, S_RCPT,
    S_READY, S_START, W_CONTENT, W_NOTHING, W_SHELL, column_of,
)
from mta._speedups.verdict cimport Verdict

from mta._speedups.server_states import STATES
from mta._speedups.verdict import Reason, Refused

NOTHING, HELLO, MAIL, RCPT, DATA = K_NOTHING, K_HELLO, K_MAIL, K_RCPT, K_DATA
CONTENT, COMMAND, RESET, CLOSED = K_CONTENT, K_COMMAND, K_RESET, K_CLOSED
WAITING, IN_CONTENT, WANTS_READ, HOLDS = B_WAITING, B_IN_CONTENT, B_WANTS_READ, B_HOLDS

LONGEST_ANSWER = 12290  # a line of an AUTH exchange with its CRLF (RFC 4954 4)

# --- The core ------------------------------------------------------------------------------------


cdef class ServerCore:
    """One session: `feed` octets, take events, give verdicts, send what `output` gives."""

    def __init__(self, ServerOptions options not None):
        self.options = options
        self.envelope = Envelope(options)
        self._state = S_CONNECT
        self._waiting = W_NOTHING

    def __dealloc__(self):
        drop(&self._kept)

    def __repr__(self):
        waiting = "" if self._waiting == W_NOTHING else " awaits a verdict,"
        return (
            f"<ServerCore {self.state},{waiting} {self.messages} messages, {self.errors} errors, "
            f"{left(&self._kept)} octets kept>"
        )

    @property
    def state(self):
        return STATES[self._state]

    @property
    def waiting(self):
        return self._waiting != W_NOTHING

    @property
    def wants_read(self):
        return self._wants_read()

    @property
    def in_content(self):
        return self._in_content()

    @property
    def content_size(self):
        return 0 if self._content is None else self._content.taken

    def greeting(self, bytes reply=None):
        if self._state != S_CONNECT:
            raise RuntimeError("the session has been greeted")
        self._state = S_START
        self._queue(self.options.greeting if reply is None else reply)

    def refuse(self, bytes reply not None):
        if self._state != S_CONNECT:
            raise RuntimeError("the session has been greeted")
        checked(reply, 52)  # 4
        self._close(reply)

    def shutdown(self, str text="Shutting down"):
        self._farewell = wire(f"421 4.3.2 {self.options.hostname} {text}")  # RFC 5321 3.8
        self._boundary()

    def time_out(self, str text="Timeout, closing", str enhanced="4.4.2"):
        self._farewell = wire(f"421 {enhanced} {self.options.hostname} {text}")  # RFC 5321 4.5.3.2
        self._urgent = True
        self._boundary()

    cpdef int status(self) noexcept:
        return (
            (B_WAITING if self._waiting != W_NOTHING else 0)
            | (B_IN_CONTENT if self._in_content() else 0)
            | (B_WANTS_READ if self._wants_read() else 0)
            | (B_HOLDS if self.held() else 0)
        )

    cpdef Py_ssize_t held(self) noexcept:
        return 0 if self._content is None else self._content.size

    cpdef bint pending(self) noexcept:
        return left(&self._kept) > 0

    cpdef bytes output(self):
        cdef bytes reply = self._reply
        if reply is None:
            return b""
        self._reply = None
        if self._more is not None:
            reply += b"".join(self._more)
            self._more = None
        return reply

    cpdef list refusals(self):
        cdef list refused = self._refusals
        self._refusals = None
        return [] if refused is None else refused

    def feed(self, data):
        cdef Py_buffer view
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            self._feed(<const unsigned char*> view.buf, view.len)
        finally:
            PyBuffer_Release(&view)

    cpdef int read(self, bytearray buffer, Py_ssize_t n) except -1:
        if not 0 <= n <= len(buffer):
            raise ValueError(f"the buffer has no {n} octets")
        return self._feed(<const unsigned char*> PyByteArray_AS_STRING(buffer), n)

    cpdef int next_kind(self) except -1:
        cdef int kind
        if self._kind == K_NOTHING and self._waiting == W_NOTHING and self._kept.room:
            self._parse_kept()
        kind = self._kind
        self._kind = K_NOTHING
        if kind == K_NOTHING and self._closed_due:
            self._closed_due = False
            kind = K_CLOSED
        return kind

    cpdef object event(self, int kind):
        if kind == K_HELLO:
            return hello_of(self.name, self.greets_extended)
        if kind == K_MAIL:
            return mail_of(self.envelope)
        if kind == K_RCPT:
            return rcpt_of(self.envelope)
        if kind == K_DATA:
            return Data.__new__(Data)
        if kind == K_CONTENT:
            return content_of(self.body(), self._size, self.flags)
        if kind == K_COMMAND:
            line, self._command_line = self._command_line, None  # it may be secret
            return command_of(self._verb, line)
        if kind == K_RESET:
            return reset_of(self.reset_by)
        return Closed.__new__(Closed) if kind == K_CLOSED else None

    def next_event(self):
        return self.event(self.next_kind())

    cpdef bytes body(self):
        cdef bytes body = self._body
        self._body = None
        return body

    cpdef object verdict(self, bytes reply=None):
        cdef int what = self._waiting
        cdef bint positive
        if what == W_NOTHING or what == W_SHELL or self._kind != K_NOTHING:
            raise RuntimeError("no event that was taken awaits a verdict")
        if reply is None:
            reply = self._standard(what)
        positive = checked(reply, say.POSITIVE[what])
        self._waiting = W_NOTHING
        if not positive and reply.startswith(b"421"):
            self._close(reply)
            return
        if positive:
            if what != C_DATA or not self._chunked:
                self._queue(reply)
            self._accepted(what)
        else:
            self._queue(reply)
            self._refused(what, reply)
        self._boundary()

    def say(self, bytes reply not None):
        self._queue(reply)
        self._said_error |= reply.startswith(b"5")

    def proceed(self, str what="command"):
        if what not in ("command", "line", "reset", "start", "close"):
            raise ValueError(f"{what!r} is no way to proceed")
        self._answered()
        if what == "line":
            self._line_due = True
        elif what == "reset":
            self._forget(min(self._state, <int> S_READY))
        elif what == "start":
            self._forget(S_START)
            self.extended = False
        elif what == "close":
            self._close(b"")
        if self._said_error:
            self._said_error = False
            self._count_error()
        self._boundary()

    def take_content(self, Py_ssize_t max_size, Py_ssize_t max_line):
        self._answered()
        self._open_content(max_size, max_line, 0)

    def discard(self):
        self._kept.first = self._kept.last

    cdef int _answered(self) except -1:
        if self._waiting != W_SHELL or self._kind != K_NOTHING:
            raise RuntimeError("no command that was taken awaits its reply")
        self._waiting = W_NOTHING
        return 0

    cdef bytes _standard(self, int what):
        if what == C_HELLO:
            return self.options.extended if self.greets_extended else self.options.hello
        return say.STANDARD[what]

    cdef int _accepted(self, int what) except -1:
        """The transition behind a positive verdict."""
        if what == W_CONTENT:
            self.messages += 1
            self._error_run = 0
            self._forget(S_READY)
        elif what == C_DATA and self._chunked:
            self._open_chunks()
        elif what == C_DATA:
            self._state = S_CONTENT
            self._open_content(
                self.options.max_size, self.options.max_text_line, self.envelope.size
            )
        elif what == C_HELLO:
            self.extended = self.greets_extended
            self._forget(S_READY)  # RFC 5321 4.1.4
        else:
            self._state = NEXT[self._state][what]
            self.recipients += what == C_RCPT
        return 0

    cdef ContentReader _open_content(
        self, Py_ssize_t max_size, Py_ssize_t max_line, Py_ssize_t declared
    ):
        """Content comes from now on."""
        cdef ContentReader content = ContentReader.__new__(ContentReader)
        content.max_size, content.max_line = max_size, max_line
        content.mend, content.keep = self.options.fix, self.options.keep
        content.ahead = self.ahead
        content.expect(declared)
        self._content = content
        return content

    cdef int _refused(self, int what, bytes reply) except -1:
        """The transition behind a negative verdict: only content ends its transaction."""
        if what == W_CONTENT:
            self._forget(S_READY)
        elif what == C_DATA and self._chunked:  # the client has sent its chunks all the same
            self._forget(S_READY)
            self._reset(None)
            self._pardon = True
        elif what == C_DATA:
            self._rebuffed = True
            if self.pending():
                self._close_behind()
        self._pardon |= what == C_MAIL
        if reply[0] == 53:
            self._count_error()
        return 0

    cdef int _forget(self, int state) except -1:
        """No transaction is open any more."""
        self._state = state
        self.recipients = 0
        self.envelope.clear()
        self._content = None
        self._chunked = False
        self.ahead = 0
        return 0

    cdef int _count_error(self) except -1:
        self.errors += 1
        self._error_run += 1
        if self.options.max_errors and self._error_run >= self.options.max_errors:
            self._close(self.options.errors)
        return 0

    cdef int _error(self, Verdict verdict) except -1:
        """Answer a command that gets no further than here."""
        self._queue(verdict.reply())
        self._note(verdict)
        return self._count_error()

    cdef int _no_command(self, Verdict verdict) except -1:
        """Answer a line that is no command: behind a refused DATA it is content."""
        self._doing = V_UNKNOWN
        return self._close_behind() if self._rebuffed else self._error(verdict)

    cdef int _close_behind(self) except -1:
        """Content came though DATA was refused: none of it may become a command."""
        self._doing = V_DATA
        return self._end(say.BEHIND_DATA)

    cdef int _end(self, Verdict verdict) except -1:
        """Refuse what has come, and close: the client and we may disagree on what it is."""
        self.errors += 1
        self._note(verdict)
        return self._close(verdict.reply())

    cdef int _note(self, Verdict verdict) except -1:
        """Tell the shell of a refusal that it had no part in."""
        if self._refusals is None:
            self._refusals = []
        self._refusals.append(Refused(name_of(self._doing), verdict))
        return 0

    cdef int _close(self, bytes reply) except -1:
        """Say the last words; nothing is parsed any more."""
        if not self.closing:
            self._queue(reply)
            self._forget(S_CLOSED)
            self.closing = self._closed_due = True
        return 0

    cdef int _boundary(self) except -1:
        """Send a 421 that is due, where one may stand: never between an event and its verdict."""
        if self._farewell is None or self._waiting != W_NOTHING:
            return 0
        if self._urgent or self._state == S_START or self._state == S_READY \
                or self._state == S_CONNECT:
            self._close(self._farewell)
        return 0

    cdef inline bint _wants_read(self) noexcept:
        return not self.closing and left(&self._kept) <= self.options.pipeline_limit

    cdef inline bint _in_content(self) noexcept:
        return self._left > 0 or self._content is not None and not self._chunked

    cdef int _queue(self, bytes reply) except -1:
        """Send this reply behind those that wait."""
        if self._reply is None:
            self._reply = reply
        elif self._more is None:
            self._more = [reply]
        else:
            self._more.append(reply)
        return 0

    # --- Octets ---------------------------------------------------------------------------------

    cdef int _feed(self, const unsigned char* p, Py_ssize_t n) except -1:
        """Take p[:n]: parse what can be, keep the rest."""
        cdef Py_ssize_t used = 0
        if not left(&self._kept):
            used = self._parse(p, n)
        if used < n and not self.closing:
            keep(&self._kept, p + used, n - used)
            self._parse_kept()
        return 0

    cdef int _parse_kept(self) except -1:
        """Parse what is kept; give the memory back when nothing is left."""
        cdef Kept* kept = &self._kept
        if kept.first < kept.last and not self.closing:
            kept.first += self._parse(kept.data + kept.first, kept.last - kept.first)
        if kept.room and (kept.first == kept.last or self.closing):
            drop(kept)
        return 0

    cdef Py_ssize_t _parse(self, const unsigned char* p, Py_ssize_t n) except -1:
        """Parse p[:n] up to an event; the octets used. p stays valid: nothing here moves it."""
        cdef Py_ssize_t used = 0, step
        if self._state == S_CONNECT and n:  # RFC 5321 4.3.1
            self._close(wire(f"421 4.5.1 {self.options.hostname} You spoke before the greeting"))
        while used < n and self._kind == K_NOTHING and self._waiting == W_NOTHING \
                and not self.closing:
            if self._left:
                used += self._chunk(p + used, n - used)
                continue
            if self._content is not None and not self._chunked:
                used += self._content.take(p + used, n - used)
                if self._content.done:
                    self._end_content()
                continue
            step = self._skip(p + used, n - used) if self._skipping \
                else self._line(p + used, n - used)
            if step == 0:
                break
            used += step
            if self._rebuffed and used < n:  # RFC 2920 3.1: DATA ends a group
                self._close_behind()
        return used

    cdef int _end_content(self) except -1:
        """The final dot was read: an event, or the reply to what could not be taken."""
        cdef ContentReader content = self._content
        self._content = None
        if content.fault:
            refusal = content_verdict(content, self.options)
            if self.options.raw:
                self._waiting = W_SHELL
                return self._reset(refusal)
            return self._refuse_content(refusal, content.fault)
        self._body, self._size = content.finish(), content.size
        self.flags = content.flags | self.envelope.declared
        return self._tell(K_CONTENT, W_SHELL if self.options.raw else W_CONTENT)

    cdef int _refuse_content(self, Verdict refusal, int fault) except -1:
        """Content had a fault; behind a bare newline we and the client may disagree on its end."""
        self._forget(S_READY)
        self._reset(refusal)
        if fault == F_BARE_CR or fault == F_BARE_LF:
            self.errors += 1
            return self._close(refusal.reply())
        self._queue(refusal.reply())
        self._count_error()
        return self._boundary()

    # --- Chunks (RFC 3030) ----------------------------------------------------------------------

    cdef int _bdat(self, const unsigned char* p, Py_ssize_t n) except -1:
        """BDAT: its octets follow, whatever the reply to it is (RFC 3030 2)."""
        cdef Py_ssize_t at = 0, size = 0
        while at < n and at < 18 and 48 <= p[at] <= 57:
            size = 10 * size + p[at] - 48
            at += 1
        self._final = at < n and p[at] == 32
        if at == 0 or at < n and (not self._final or skip_blanks(p, n, at) + 4 != n
                                  or skip_word(p + n - 4, 4, b"LAST", 4) < 0):
            return self._end(say.BAD_CHUNK)
        self._left = size
        if self._state == S_RCPT:
            self._chunked = True
        elif self._state != S_CHUNKS:
            return self._out_of_order(V_BDAT)
        if self.options.max_size and size > self.options.max_size - self.content_size:
            return self._end_chunks(self.options.oversize, F_SIZE)
        if self._state == S_RCPT:
            return self._tell(K_DATA, C_DATA)
        if size == 0:
            self._end_chunk()
        return 0

    cdef int _open_chunks(self) except -1:
        """The shell takes content: the first chunk may come."""
        cdef bint binary = self.envelope.declared & F8_BINARYMIME != 0
        cdef ContentReader content
        self._state = S_CHUNKS
        content = self._open_content(
            self.options.max_size, 0 if binary else self.options.max_text_line,
            max(self.envelope.size, self._left),
        )
        content.keep |= binary
        content.chunked = True
        if self._left == 0:
            self._end_chunk()
        return 0

    cdef Py_ssize_t _chunk(self, const unsigned char* p, Py_ssize_t n) except -1:
        """The octets of a chunk, up to its end; the octets used."""
        cdef Py_ssize_t part = min(n, self._left)
        self._left -= part
        if self._state == S_CHUNKS:  # else its message is refused, and they are passed over
            self._content.take(p, part)
            if self._left == 0:
                self._end_chunk()
        return part

    cdef int _end_chunk(self) except -1:
        """A chunk is whole: an answer, or the message's end."""
        if self._final:
            self._content.end()
        if self._content.fault:
            return self._end_chunks(
                content_verdict(self._content, self.options), self._content.fault
            )
        if self._final:
            return self._end_content()
        self._queue(say.OK)
        return 0

    cdef int _end_chunks(self, Verdict refusal, int fault) except -1:
        """The message is given up; what was sent behind this chunk is no error."""
        self._pardon = True
        return self._refuse_content(refusal, fault)

    cdef int _reset(self, Verdict refusal) except -1:
        self.reset_by = refusal
        self._kind = K_RESET
        return 0

    cdef int _tell(self, int kind, int waiting) except -1:
        """An event for the shell, which has to answer."""
        self._kind, self._waiting = kind, waiting
        return 0

    cdef Py_ssize_t _skip(self, const unsigned char* p, Py_ssize_t n) except -1:
        """Pass over an overlong line to its end, keeping nothing; the octets used."""
        cdef Py_ssize_t i
        for i in range(n):
            if p[i] == 10 and (self._skipped_cr or self.options.fix or self.options.raw):
                self._skipping = self._skipped_cr = False
                if self._line_due or self.options.raw:
                    self._to_shell("", None)
                else:
                    self._no_command(self.options.oversize_line)
                return i + 1
            self._skipped_cr = p[i] == 13
        return n

    cdef Py_ssize_t _line(self, const unsigned char* p, Py_ssize_t n) except -1:
        """One command line, if it is whole; the octets used."""
        cdef Py_ssize_t at = 0, longest = self.options.max_command_line
        cdef LineEnd end
        if self._line_due:
            longest = max(longest, <Py_ssize_t> LONGEST_ANSWER)
        if self.options.raw:
            return self._raw_line(p, n, longest)
        end = find_line(p, min(n, longest), &at)
        if end == LINE_OPEN:
            if n >= longest:
                self._skipping = True
                return at
            return 0
        if end != LINE_CRLF and not self.options.fix:
            what = "<LF>" if end == LINE_BARE_LF else "<CR>"
            text = f"A command has a bare {what}; only <CR><LF> ends a line, closing"
            self._doing = V_UNKNOWN
            self._end(Verdict(500, "5.5.2", text, Reason.BARE_NEWLINE))
            return at + 1
        self._command(p, at)
        return at + 2 if end == LINE_CRLF else at + 1

    cdef Py_ssize_t _raw_line(
        self, const unsigned char* p, Py_ssize_t n, Py_ssize_t longest
    ) except -1:
        """One line up to its LF for the shell, if it is whole; the octets used."""
        cdef const unsigned char* lf = <const unsigned char*> memchr(p, 10, min(n, longest))
        cdef Py_ssize_t size
        if lf == NULL:
            self._skipping = n >= longest
            return longest if self._skipping else 0
        size = lf - p
        while size and p[size - 1] == 13:
            size -= 1
        self._to_shell(verb_of(p, size), p[:size])
        return lf - p + 1

    cdef int _to_shell(self, str verb, bytes line) except -1:
        self._verb, self._command_line = "" if self._line_due else verb, line
        self._line_due = False
        return self._tell(K_COMMAND, W_SHELL)

    # --- Commands -------------------------------------------------------------------------------

    cdef int _command(self, const unsigned char* p, Py_ssize_t n) except -1:
        """One command line without its end."""
        cdef Py_ssize_t at = 0
        cdef Verb verb
        cdef int next_state
        cdef str name
        if self._line_due:
            return self._to_shell("", p[:n])
        if self.options.commands:
            name = verb_of(p, n)
            if name in self.options.commands:
                self._rebuffed = False
                return self._to_shell(name, p[:n])
        if has_nul(p, n):
            return self._no_command(say.NUL_LINE)
        while n and (p[n - 1] == 32 or p[n - 1] == 9):  # RFC 5321 4.1.1
            n -= 1
        verb = self._doing = parse_verb(p, n, &at)
        if verb == V_UNKNOWN:
            self._pardon = False
            return self._no_command(say.UNKNOWN)
        self._rebuffed = False
        next_state = NEXT[self._state][<int> column_of(verb)]
        if next_state == BAD:
            return self._out_of_order(verb)
        if verb == V_RCPT:
            return self._rcpt(p + at, n - at)
        if verb == V_BDAT and self.options.chunking:
            return self._bdat(p + at, n - at)
        self._pardon = False
        if verb == V_MAIL:
            return self._mail(p + at, n - at)
        if verb == V_EHLO or verb == V_HELO:
            return self._hello(p + at, n - at, verb == V_EHLO)
        if verb == V_DATA or verb == V_RSET or verb == V_QUIT:
            if at < n:
                self._rebuffed = verb == V_DATA
                return self._error(say.NO_ARGUMENT)
            return self._plain(verb, next_state)
        return self._aside(verb, p + at, n - at)

    cdef int _out_of_order(self, Verb verb) except -1:
        """503; not an error where it only follows from a refused MAIL of the same group."""
        cdef Verdict refusal = say.ORDER[3] \
            if verb == V_MAIL and S_READY < self._state < S_CHUNKS \
            else say.ORDER[<int> self._state]
        self._rebuffed = verb == V_DATA
        if self._pardon and verb != V_MAIL:
            self._queue(refusal.reply())
            return 0
        return self._error(refusal)

    cdef int _plain(self, Verb verb, int next_state) except -1:
        """DATA, RSET and QUIT."""
        if verb == V_DATA:
            if self.envelope.declared & F8_BINARYMIME:
                self._rebuffed = True
                return self._error(say.BINARY_DATA)
            return self._tell(K_DATA, C_DATA)
        if verb == V_QUIT:
            return self._close(wire(f"221 2.0.0 {self.options.hostname} closing"))
        self._forget(next_state)
        self._queue(say.OK)
        self._reset(None)
        return self._boundary()

    cdef int _aside(self, Verb verb, const unsigned char* p, Py_ssize_t n) except -1:
        """The commands that change nothing, and those that are not offered."""
        if verb == V_NOOP or verb == V_HELP:
            self._queue(say.OK if verb == V_NOOP else say.HELP)
        elif verb == V_VRFY and n and self.options.smtputf8 and not is_ascii(p, n) \
                and not p[:n].upper().endswith(b" SMTPUTF8"):  # RFC 6531 3.7.4.2
            self._error(say.UNDECLARED)
        elif verb == V_VRFY and n:  # RFC 5321 7.3
            self._queue(say.NO_VRFY)
        elif verb == V_HTTP:
            self._end(say.WEB)
        elif verb == V_VRFY:
            self._error(say.ARGUMENT)
        else:
            self._error(say.NOT_OFFERED)
        return 0

    cdef int _hello(self, const unsigned char* p, Py_ssize_t n, bint extended) except -1:
        if not parse_name(p, n):
            return self._error(say.NAME_NEEDED)
        self.name = PyUnicode_DecodeASCII(<const char*> p, n, NULL)
        self.greets_extended = extended
        return self._tell(K_HELLO, C_HELLO)

    cdef int _mail(self, const unsigned char* p, Py_ssize_t n) except -1:
        cdef Verdict problem
        if self.options.max_messages and self.messages >= self.options.max_messages:
            return self._close(self.options.worn)
        problem = self.envelope.mail(p, n)
        if problem is not None:
            self._pardon = True
            return self._error(problem)
        return self._tell(K_MAIL, C_MAIL)

    cdef int _rcpt(self, const unsigned char* p, Py_ssize_t n) except -1:
        cdef Verdict problem = self.envelope.rcpt(p, n)
        if problem is not None:
            return self._error(problem)
        if self.options.max_recipients and self.recipients >= self.options.max_recipients:
            self._queue(self.options.crowded.reply())
            return 0
        return self._tell(K_RCPT, C_RCPT)
