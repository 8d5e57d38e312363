"""The SMTP server's state machine: see server.pyx."""

from mta._speedups.command cimport Verb
from mta._speedups.dots cimport ContentReader
from mta._speedups.envelope cimport Envelope
from mta._speedups.kept cimport Kept
from mta._speedups.server_options cimport ServerOptions
from mta._speedups.verdict cimport Verdict


cdef enum Kind:  # of an event
    K_NOTHING = 0
    K_HELLO
    K_MAIL
    K_RCPT
    K_DATA
    K_CONTENT
    K_COMMAND
    K_RESET
    K_CLOSED


cdef enum:  # bits of `status`
    B_WAITING = 1
    B_IN_CONTENT = 2
    B_WANTS_READ = 4
    B_HOLDS = 8


cdef class ServerCore:
    cdef readonly ServerOptions options
    cdef readonly Envelope envelope
    cdef readonly Py_ssize_t errors      # 5xx replies sent
    cdef readonly Py_ssize_t messages    # contents accepted
    cdef readonly Py_ssize_t recipients  # accepted in the open transaction
    cdef readonly bint extended          # greeted by EHLO
    cdef readonly bint closing           # close when the output is sent
    cdef public Py_ssize_t ahead         # octets of room in front of the transaction's body
    # of the event told last
    cdef readonly str name               # Hello's
    cdef readonly bint greets_extended   # the Hello's
    cdef readonly int flags              # Content's
    cdef readonly Verdict reset_by       # Reset's, None for RSET
    cdef bytes _body                     # Content's, until it is taken
    cdef Py_ssize_t _size
    cdef str _verb                       # Command's
    cdef bytes _command_line             # the same, until it is taken

    cdef int _state
    cdef int _waiting             # the event that awaits its verdict, or W_NOTHING
    cdef int _kind                # of an event that is not yet taken
    cdef bint _closed_due         # the end is to be told
    cdef Verb _doing              # the command in hand
    cdef list _refusals           # that the shell had no part in, None for none
    cdef bytes _reply             # the first of the replies to be sent, None for none
    cdef list _more               # those behind it, None for none
    cdef Py_ssize_t _error_run    # errors since the last accepted content
    cdef bint _pardon             # MAIL was refused: RCPT and DATA sent behind it are no errors
    cdef bint _rebuffed           # the last command was a DATA that was refused
    cdef bint _skipping           # within an overlong command line
    cdef bint _skipped_cr         # its last octet so far was a CR
    cdef bint _line_due           # the next line is the shell's, whatever it says
    cdef bint _said_error         # the shell has said 5xx to this command
    cdef bytes _farewell          # a 421 to be sent at the next boundary
    cdef bint _urgent             # at once, if no verdict is outstanding
    cdef ContentReader _content   # while content is being read
    cdef bint _chunked            # it comes by BDAT
    cdef Py_ssize_t _left         # octets that belong to the last BDAT
    cdef bint _final              # which said LAST
    cdef Kept _kept               # octets not yet parsed

    cpdef int status(self) noexcept
    cpdef Py_ssize_t held(self) noexcept
    cpdef bint pending(self) noexcept
    cpdef bytes output(self)
    cpdef list refusals(self)
    cpdef int read(self, bytearray buffer, Py_ssize_t n) except -1
    cpdef int next_kind(self) except -1
    cpdef object event(self, int kind)
    cpdef bytes body(self)
    cpdef object verdict(self, bytes reply=*)

    cdef int _answered(self) except -1
    cdef bytes _standard(self, int what)
    cdef int _accepted(self, int what) except -1
    cdef ContentReader _open_content(
        self, Py_ssize_t max_size, Py_ssize_t max_line, Py_ssize_t declared
    )
    cdef int _refused(self, int what, bytes reply) except -1
    cdef int _forget(self, int state) except -1
    cdef int _count_error(self) except -1
    cdef int _error(self, Verdict verdict) except -1
    cdef int _no_command(self, Verdict verdict) except -1
    cdef int _close_behind(self) except -1
    cdef int _end(self, Verdict verdict) except -1
    cdef int _note(self, Verdict verdict) except -1
    cdef int _close(self, bytes reply) except -1
    cdef int _boundary(self) except -1
    cdef bint _wants_read(self) noexcept
    cdef bint _in_content(self) noexcept
    cdef int _queue(self, bytes reply) except -1
    cdef int _feed(self, const unsigned char* p, Py_ssize_t n) except -1
    cdef int _parse_kept(self) except -1
    cdef Py_ssize_t _parse(self, const unsigned char* p, Py_ssize_t n) except -1
    cdef int _end_content(self) except -1
    cdef int _refuse_content(self, Verdict refusal, int fault) except -1
    cdef int _bdat(self, const unsigned char* p, Py_ssize_t n) except -1
    cdef int _open_chunks(self) except -1
    cdef Py_ssize_t _chunk(self, const unsigned char* p, Py_ssize_t n) except -1
    cdef int _end_chunk(self) except -1
    cdef int _end_chunks(self, Verdict refusal, int fault) except -1
    cdef int _reset(self, Verdict refusal) except -1
    cdef int _tell(self, int kind, int waiting) except -1
    cdef Py_ssize_t _skip(self, const unsigned char* p, Py_ssize_t n) except -1
    cdef Py_ssize_t _line(self, const unsigned char* p, Py_ssize_t n) except -1
    cdef Py_ssize_t _raw_line(
        self, const unsigned char* p, Py_ssize_t n, Py_ssize_t longest
    ) except -1
    cdef int _to_shell(self, str verb, bytes line) except -1
    cdef int _command(self, const unsigned char* p, Py_ssize_t n) except -1
    cdef int _out_of_order(self, Verb verb) except -1
    cdef int _plain(self, Verb verb, int next_state) except -1
    cdef int _aside(self, Verb verb, const unsigned char* p, Py_ssize_t n) except -1
    cdef int _hello(self, const unsigned char* p, Py_ssize_t n, bint extended) except -1
    cdef int _mail(self, const unsigned char* p, Py_ssize_t n) except -1
    cdef int _rcpt(self, const unsigned char* p, Py_ssize_t n) except -1
