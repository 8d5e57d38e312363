# The client's session in C, for the compiled shell around it.

from mta._speedups.buffer cimport Buffer
from mta._speedups.reply cimport ReplyReader


cdef class ClientOptions:
    cdef readonly str ehlo_name
    cdef readonly bint pipelining
    cdef readonly bint overlap
    cdef readonly bint lmtp
    cdef readonly str chunking
    cdef readonly frozenset disable


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
    cdef bytes _mail_params          # further parameters, each with its leading blank
    cdef list _rcpt_params           # the same by recipient, or None
    cdef bint _wide                  # an address is not ASCII
    cdef bint _chunked               # its content leaves by BDAT
    cdef bint _eager                 # with the envelope
    cdef readonly bint ahead         # left with the dot of the one before

    cpdef forget_body(self)
    cdef int _check_params(self) except -1
    cdef int _fill(self, tuple result) except -1
    cdef bint _fill_next(self, tuple result) except -1
    cdef Py_ssize_t _number(self, Py_ssize_t place) except -1
    cdef bint _screen(self, bint utf8) except -1
    cdef bytes _bdat(self)
    cdef Py_ssize_t _wire_size(self)
    cdef int _put_mail(self, Buffer *to, int capabilities) except -1
    cdef int _put_rcpt(self, Buffer *to, Py_ssize_t place) except -1


cdef class ClientCore:
    cdef readonly ClientOptions options
    cdef int _state                   # State
    cdef int _told                    # the state whose event was given out, -1 for none
    cdef ReplyReader _reader
    cdef bytes _held                  # read after 354, before the content was given
    cdef list _out                    # buffers to write, None for none
    cdef list _done                   # ended transactions that were not taken yet, None for none
    cdef Transaction _current         # the one whose replies are read
    cdef Transaction _next            # the one sent ahead
    cdef bint _reset_needed           # the server may still hold the last envelope
    cdef bint _pipeline               # group commands in this session
    cdef bint _chunk_all              # content leaves by BDAT where it can
    cdef bint _eager                  # with its envelope
    cdef readonly bint idle           # in the state IDLE
    cdef readonly bint overlap_ok     # send the next envelope with the dot
    cdef readonly bint overlap_failed
    cdef readonly int deadline_kind   # Kind
    cdef readonly int capabilities    # Capability bits
    cdef Py_ssize_t _size_limit       # octets, 0 for none; cut to what fits
    cdef readonly dict limits         # of LIMITS (RFC 9422), by name; None for none
    cdef readonly long long transactions
    cdef readonly long long replies
    cdef readonly tuple failure       # why the session ended: a result, or None

    cpdef int event(self) except -1
    cpdef Transaction take_done(self)
    cpdef Transaction awaiting(self)
    cpdef list output(self)
    cpdef submit(self, Transaction transaction)
    cpdef send_content(self, Transaction next_one=*)
    cpdef feed(self, data, Py_ssize_t size=*)
    cpdef quit(self)
    cpdef overlap_off(self)
    cpdef connection_lost(self, str reason=*)
    cpdef time_out(self)

    cdef int _say(self, bytes octets) except -1
    cdef int _decided(self, Transaction tx) except -1
    cdef int _lose(self, str what, str reason) except -1
    cdef bint _sent_all(self)
    cdef int _malformed(self, str text) except -1
    cdef int _end(self, tuple failure) except -1
    cdef bint _admit(self, Transaction tx) except -1
    cdef bint _admit_addresses(self, Transaction tx) except -1
    cdef bint _takes_binary(self)
    cdef int _send_envelope(self, Transaction tx, bytes before) except -1
    cdef int _send_rcpt(self, Transaction tx, Py_ssize_t place) except -1
    cdef int _finish(self, tuple result) except -1
    cdef int _enter(self, int state) except -1
    cdef int _read(self, const char *data, Py_ssize_t size) except -1
    cdef int _hold(self, const char *data, Py_ssize_t size) except -1
    cdef int _reply(self, ReplyReader reader) except -1
    cdef bint _out_of_step(self, int code)
    cdef int _act(self, int action, ReplyReader reader) except -1
    cdef int _on_session(self, int action, ReplyReader reader) except -1
    cdef int _learn(self, list lines) except -1
    cdef int _on_mail(self, Transaction tx, ReplyReader reader, bint ok) except -1
    cdef int _on_rcpt(self, Transaction tx, ReplyReader reader, bint ok) except -1
    cdef int _on_content(self, Transaction tx) except -1
