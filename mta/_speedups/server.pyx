"""The SMTP server's state machine: octets in, events and replies out (RFC 5321).

`mta/smtp/server.py` tells how it works and how to drive it; docs/design.md has the states.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.mem cimport PyMem_Free, PyMem_Realloc
from cpython.unicode cimport PyUnicode_DecodeASCII
from libc.string cimport memchr, memcpy, memmove

from mta._speedups.command cimport (
    V_BDAT, V_DATA, V_EHLO, V_HELO, V_HELP, V_HTTP, V_MAIL, V_NOOP, V_QUIT, V_RCPT, V_RSET,
    V_UNKNOWN, V_VRFY, Verb, parse_name, parse_verb, skip_word,
)
from mta._speedups.dots cimport ContentReader
from mta._speedups.envelope cimport (
    F8_BINARYMIME,
    F8_BODY_8BITMIME,
    F8_SMTPUTF8,
    Envelope,
    is_ascii,
)
from mta._speedups.lines cimport (
    LINE_BARE_LF,
    LINE_CRLF,
    LINE_OPEN,
    LineEnd,
    find_line,
    has_nul,
)
from mta._speedups.server_events cimport Closed, Command, Content, Data, Hello, Mail, Rcpt, Reset
from mta._speedups.server_options cimport ServerOptions, wire
from mta._speedups cimport server_replies as say
from mta._speedups.server_replies cimport checked, content_reply

# --- The transition table ------------------------------------------------------------------------

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

STATES = ("start", "ready", "mail", "rcpt", "chunks", "content", "connect", "closed")

# The state behind a command that was answered positively, by state and by
#      EHLO, HELO  MAIL    RCPT    DATA       RSET     QUIT      others
cdef int[5][7] NEXT = [
    [S_READY,     BAD,    BAD,    BAD,       S_START, S_CLOSED, STAY],  # START
    [S_READY,     S_MAIL, BAD,    BAD,       S_READY, S_CLOSED, STAY],  # READY
    [S_READY,     BAD,    S_RCPT, BAD,       S_READY, S_CLOSED, STAY],  # MAIL
    [S_READY,     BAD,    S_RCPT, S_CONTENT, S_READY, S_CLOSED, STAY],  # RCPT
    [S_READY,     BAD,    BAD,    BAD,       S_READY, S_CLOSED, STAY],  # CHUNKS
]

cdef enum Column:
    C_HELLO = 0
    C_MAIL
    C_RCPT
    C_DATA
    C_RSET
    C_QUIT
    C_OTHER


cdef inline Column column_of(Verb verb) noexcept:
    if verb == V_EHLO or verb == V_HELO:
        return C_HELLO
    return <Column> (verb - V_MAIL + C_MAIL) if V_MAIL <= verb <= V_QUIT else C_OTHER


# What awaits a verdict. Column numbers serve: HELLO, MAIL, RCPT, DATA, and
cdef enum:
    W_NOTHING = -1
    W_CONTENT = 4
    W_SHELL = 100  # the shell's own reply: see say() and proceed()

LONGEST_ANSWER = 12290  # a line of an AUTH exchange with its CRLF (RFC 4954 4)

# --- The core ------------------------------------------------------------------------------------


cdef class ServerCore:
    """One session: `feed` octets, take events, give verdicts, send what `output` gives."""

    cdef readonly ServerOptions options
    cdef readonly Py_ssize_t errors      # 5xx replies sent
    cdef readonly Py_ssize_t messages    # contents accepted
    cdef readonly Py_ssize_t recipients  # accepted in the open transaction
    cdef readonly bint extended          # greeted by EHLO
    cdef readonly bint closing           # close when the output is sent
    cdef int _state
    cdef int _waiting             # the event that awaits its verdict, or W_NOTHING
    cdef object _event            # made and not yet taken
    cdef bint _closed_due         # Closed() is to be told
    cdef bint _greets_extended    # the Hello that awaits its verdict
    cdef list _output
    cdef Py_ssize_t _error_run    # errors since the last accepted content
    cdef bint _pardon             # MAIL was refused: RCPT and DATA sent behind it are no errors
    cdef bint _skipping           # within an overlong command line
    cdef bint _skipped_cr         # its last octet so far was a CR
    cdef bint _line_due           # the next line is the shell's, whatever it says
    cdef bint _said_error         # the shell has said 5xx to this command
    cdef bytes _farewell          # a 421 to be sent at the next boundary
    cdef bint _urgent             # at once, if no verdict is outstanding
    cdef Envelope _envelope
    cdef ContentReader _content   # while content is being read
    cdef bint _chunked            # it comes by BDAT
    cdef Py_ssize_t _left         # octets that belong to the last BDAT
    cdef bint _final              # which said LAST
    cdef unsigned char* _kept     # octets not yet parsed: _kept[_first:_last], owned
    cdef Py_ssize_t _first
    cdef Py_ssize_t _last
    cdef Py_ssize_t _room

    def __init__(self, ServerOptions options not None):
        self.options = options
        self._envelope = Envelope(options)
        self._state = S_CONNECT
        self._waiting = W_NOTHING
        self._output = []

    def __dealloc__(self):
        PyMem_Free(self._kept)

    def __repr__(self):
        waiting = "" if self._waiting == W_NOTHING else " awaits a verdict,"
        return (
            f"<ServerCore {self.state},{waiting} {self.messages} messages, {self.errors} errors, "
            f"{self._last - self._first} octets kept>"
        )

    @property
    def state(self):
        return STATES[self._state]

    @property
    def waiting(self):
        return self._waiting != W_NOTHING

    @property
    def wants_read(self):
        return not self.closing and self._last - self._first <= self.options.pipeline_limit

    @property
    def in_content(self):
        return self._left > 0 or self._content is not None and not self._chunked

    @property
    def content_size(self):
        return 0 if self._content is None else self._content.taken

    def greeting(self, bytes reply=None):
        if self._state != S_CONNECT:
            raise RuntimeError("the session has been greeted")
        self._state = S_START
        self._output.append(self.options.greeting if reply is None else reply)

    def refuse(self, bytes reply not None):
        if self._state != S_CONNECT:
            raise RuntimeError("the session has been greeted")
        checked(reply, 52)  # 4
        self._close(reply)

    def shutdown(self, str text="Shutting down"):
        self._farewell = wire(f"421 4.3.2 {self.options.hostname} {text}")  # RFC 5321 3.8
        self._boundary()

    def time_out(self, str text="Timeout, closing"):
        self._farewell = wire(f"421 4.4.2 {self.options.hostname} {text}")  # RFC 5321 4.5.3.2
        self._urgent = True
        self._boundary()

    def output(self):
        cdef list parts = self._output
        if not parts:
            return b""
        self._output = []
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def feed(self, data):
        cdef Py_buffer view
        cdef Py_ssize_t used = 0
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            if self._first == self._last:
                used = self._parse(<const unsigned char*> view.buf, view.len)
            if used < view.len and not self.closing:
                self._keep(<const unsigned char*> view.buf + used, view.len - used)
                self._parse_kept()
        finally:
            PyBuffer_Release(&view)

    def next_event(self):
        if self._event is None and self._waiting == W_NOTHING:
            self._parse_kept()
        if self._event is not None:
            event = self._event
            self._event = None
            return event
        if self._closed_due:
            self._closed_due = False
            return Closed.__new__(Closed)
        return None

    def verdict(self, bytes reply=None):
        cdef int what = self._waiting
        cdef bint positive
        if what == W_NOTHING or what == W_SHELL or self._event is not None:
            raise RuntimeError("no event that was taken awaits a verdict")
        if reply is None:
            reply = self._standard(what)
        positive = checked(reply, say.POSITIVE[what])
        self._waiting = W_NOTHING
        if reply.startswith(b"421"):
            self._close(reply)
            return
        if positive:
            if what != C_DATA or not self._chunked:
                self._output.append(reply)
            self._accepted(what)
        else:
            self._output.append(reply)
            self._refused(what, reply)
        self._boundary()

    def say(self, bytes reply not None):
        self._output.append(reply)
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
        self._content = ContentReader(
            max_size, max_line, self.options.fix, 0, self.options.keep
        )

    def discard(self):
        self._first = self._last

    cdef int _answered(self) except -1:
        if self._waiting != W_SHELL or self._event is not None:
            raise RuntimeError("no command that was taken awaits its reply")
        self._waiting = W_NOTHING
        return 0

    cdef bytes _standard(self, int what):
        if what == C_HELLO:
            return self.options.extended if self._greets_extended else self.options.hello
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
            self._content = ContentReader(
                self.options.max_size, self.options.max_text_line, self.options.fix,
                self._envelope.size, self.options.keep,
            )
        elif what == C_HELLO:
            self.extended = self._greets_extended
            self._forget(S_READY)  # RFC 5321 4.1.4
        else:
            self._state = NEXT[self._state][what]
            self.recipients += what == C_RCPT
        return 0

    cdef int _refused(self, int what, bytes reply) except -1:
        """The transition behind a negative verdict: only content ends its transaction."""
        if what == W_CONTENT:
            self._forget(S_READY)
        elif what == C_DATA and self._chunked:  # the client has sent its chunks all the same
            self._forget(S_READY)
            self._reset(b"")
            self._pardon = True
        self._pardon |= what == C_MAIL
        if reply[0] == 53:
            self._count_error()
        return 0

    cdef int _forget(self, int state) except -1:
        """No transaction is open any more."""
        self._state = state
        self.recipients = 0
        self._envelope.clear()
        self._content = None
        self._chunked = False
        return 0

    cdef int _count_error(self) except -1:
        self.errors += 1
        self._error_run += 1
        if self.options.max_errors and self._error_run >= self.options.max_errors:
            self._close(self.options.errors)
        return 0

    cdef int _error(self, bytes reply) except -1:
        """Answer a command that gets no further than here."""
        self._output.append(reply)
        return self._count_error()

    cdef int _close(self, bytes reply) except -1:
        """Say the last words; nothing is parsed any more."""
        if not self.closing:
            self._output.append(reply)
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

    # --- Octets ---------------------------------------------------------------------------------

    cdef int _keep(self, const unsigned char* p, Py_ssize_t n) except -1:
        """Append p[:n] to what is kept."""
        cdef Py_ssize_t held = self._last - self._first
        cdef unsigned char* room
        if self._first:
            memmove(self._kept, self._kept + self._first, held)
            self._first, self._last = 0, held
        if held + n > self._room:
            room = <unsigned char*> PyMem_Realloc(self._kept, max(held + n, 2 * held))
            if room == NULL:
                raise MemoryError()
            self._kept, self._room = room, max(held + n, 2 * held)
        memcpy(self._kept + held, p, n)
        self._last += n
        return 0

    cdef int _parse_kept(self) except -1:
        """Parse what is kept; give the memory back when nothing is left."""
        if self._first < self._last and not self.closing:
            self._first += self._parse(self._kept + self._first, self._last - self._first)
        if self._room and (self._first == self._last or self.closing):
            PyMem_Free(self._kept)
            self._kept = NULL
            self._first = self._last = self._room = 0
        return 0

    cdef Py_ssize_t _parse(self, const unsigned char* p, Py_ssize_t n) except -1:
        """Parse p[:n] up to an event; the octets used. p stays valid: nothing here moves it."""
        cdef Py_ssize_t used = 0, step
        if self._state == S_CONNECT and n:  # RFC 5321 4.3.1
            self._close(wire(f"421 4.5.1 {self.options.hostname} You spoke before the greeting"))
        while used < n and self._event is None and self._waiting == W_NOTHING and not self.closing:
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
        return used

    cdef int _end_content(self) except -1:
        """The final dot was read: an event, or the reply to what could not be taken."""
        cdef ContentReader content = self._content
        cdef Content event
        self._content = None
        if content.fault:
            reply = content_reply(content, self.options)
            if self.options.raw:
                self._waiting = W_SHELL
                return self._reset(reply)
            self._forget(S_READY)
            self._reset(reply)
            self._error(reply)
            return self._boundary()
        event = Content.__new__(Content)
        event.body = content.finish()
        event.size = content.size
        event.flags = content.flags | self._envelope.declared
        self._event = event
        self._waiting = W_SHELL if self.options.raw else W_CONTENT
        return 0

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
            self.errors += 1
            return self._close(say.BAD_CHUNK)
        self._left = size
        if self._state == S_RCPT:
            self._chunked = True
        elif self._state != S_CHUNKS:
            return self._out_of_order(V_BDAT)
        if self.options.max_size and size > self.options.max_size - self.content_size:
            return self._end_chunks(self.options.oversize)
        if self._state == S_RCPT:
            self._event = Data.__new__(Data)
            self._waiting = C_DATA
        elif size == 0:
            self._end_chunk()
        return 0

    cdef int _open_chunks(self) except -1:
        """The shell takes content: the first chunk may come."""
        cdef bint binary = self._envelope.declared & F8_BINARYMIME != 0
        self._state = S_CHUNKS
        self._content = ContentReader(
            self.options.max_size, 0 if binary else self.options.max_text_line, self.options.fix,
            max(self._envelope.size, self._left), binary or self.options.keep, True,
        )
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
            return self._end_chunks(content_reply(self._content, self.options))
        if self._final:
            return self._end_content()
        self._output.append(say.OK)
        return 0

    cdef int _end_chunks(self, bytes reply) except -1:
        """The message is given up; what was sent behind this chunk is no error."""
        self._forget(S_READY)
        self._reset(reply)
        self._pardon = True
        self._error(reply)
        return self._boundary()

    cdef int _reset(self, bytes reply) except -1:
        cdef Reset event = Reset.__new__(Reset)
        event.reply = reply
        self._event = event
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
                    self._error(self.options.oversize_line)
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
            self.errors += 1
            self._close(wire(
                f"500 5.5.2 A command has a bare {what}; only <CR><LF> ends a line "
                "(setting bare_newlines), closing"
            ))
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
        cdef Command event = Command.__new__(Command)
        event.verb, event.line = "" if self._line_due else verb, line
        self._event = event
        self._waiting = W_SHELL
        self._line_due = False
        return 0

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
                return self._to_shell(name, p[:n])
        if has_nul(p, n):
            return self._error(say.NUL_LINE)
        while n and (p[n - 1] == 32 or p[n - 1] == 9):  # RFC 5321 4.1.1
            n -= 1
        verb = parse_verb(p, n, &at)
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
                return self._error(say.NO_ARGUMENT)
            return self._plain(verb, next_state)
        return self._aside(verb, p + at, n - at)

    cdef int _out_of_order(self, Verb verb) except -1:
        """503; not an error where it only follows from a refused MAIL of the same group."""
        cdef bytes reply = say.ORDER[3] if verb == V_MAIL and S_READY < self._state < S_CHUNKS \
            else say.ORDER[<int> self._state]
        if self._pardon and verb != V_MAIL:
            self._output.append(reply)
            return 0
        return self._error(reply)

    cdef int _plain(self, Verb verb, int next_state) except -1:
        """DATA, RSET and QUIT."""
        if verb == V_DATA:
            if self._envelope.declared & F8_BINARYMIME:
                return self._error(say.BINARY_DATA)
            self._event = Data.__new__(Data)
            self._waiting = C_DATA
            return 0
        if verb == V_QUIT:
            return self._close(wire(f"221 2.0.0 {self.options.hostname} closing"))
        self._forget(next_state)
        self._output.append(say.OK)
        self._reset(b"")
        return self._boundary()

    cdef int _aside(self, Verb verb, const unsigned char* p, Py_ssize_t n) except -1:
        """The commands that change nothing, and those that are none."""
        if verb == V_NOOP or verb == V_HELP:
            self._output.append(say.OK if verb == V_NOOP else say.HELP)
        elif verb == V_VRFY and n and self.options.smtputf8 and not is_ascii(p, n) \
                and not p[:n].upper().endswith(b" SMTPUTF8"):  # RFC 6531 3.7.4.2
            self._error(say.UNDECLARED)
        elif verb == V_VRFY and n:  # RFC 5321 7.3
            self._output.append(say.NO_VRFY)
        elif verb == V_HTTP:
            self.errors += 1
            self._close(say.WEB)
        elif verb == V_VRFY:
            self._error(say.ARGUMENT)
        else:
            self._error(say.UNKNOWN if verb == V_UNKNOWN else say.NOT_OFFERED)
        return 0

    cdef int _hello(self, const unsigned char* p, Py_ssize_t n, bint extended) except -1:
        cdef Hello event
        if not parse_name(p, n):
            return self._error(say.NAME_NEEDED)
        event = Hello.__new__(Hello)
        event.name = PyUnicode_DecodeASCII(<const char*> p, n, NULL)
        event.extended = self._greets_extended = extended
        self._event = event
        self._waiting = C_HELLO
        return 0

    cdef int _mail(self, const unsigned char* p, Py_ssize_t n) except -1:
        cdef Mail event
        cdef Envelope envelope = self._envelope
        cdef bytes problem
        if self.options.max_messages and self.messages >= self.options.max_messages:
            return self._close(self.options.worn)
        problem = envelope.mail(p, n)
        if problem is not None:
            self._pardon = True
            return self._error(problem)
        event = Mail.__new__(Mail)
        event.sender, event.size, event.params = envelope.address, envelope.size, envelope.params
        event.body8 = envelope.declared & F8_BODY_8BITMIME != 0
        event.binary = envelope.declared & F8_BINARYMIME != 0
        event.utf8 = envelope.declared & F8_SMTPUTF8 != 0
        self._event = event
        self._waiting = C_MAIL
        return 0

    cdef int _rcpt(self, const unsigned char* p, Py_ssize_t n) except -1:
        cdef Rcpt event
        cdef Envelope envelope = self._envelope
        cdef bytes problem = envelope.rcpt(p, n)
        if problem is not None:
            return self._error(problem)
        if self.options.max_recipients and self.recipients >= self.options.max_recipients:
            self._output.append(self.options.crowded)
            return 0
        event = Rcpt.__new__(Rcpt)
        event.recipient, event.params = envelope.address, envelope.params
        self._event = event
        self._waiting = C_RCPT
        return 0


cdef str verb_of(const unsigned char* p, Py_ssize_t n):
    """The first word of a line in upper case; "" if it is not ASCII."""
    cdef const unsigned char* blank = <const unsigned char*> memchr(p, 32, n)
    cdef Py_ssize_t size = blank - p if blank else n
    if not is_ascii(p, size):
        return ""
    return PyUnicode_DecodeASCII(<const char*> p, size, NULL).upper()


cdef Py_ssize_t skip_blanks(const unsigned char* p, Py_ssize_t n, Py_ssize_t at) noexcept:
    while at < n and p[at] == 32:
        at += 1
    return at
