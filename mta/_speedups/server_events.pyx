"""What the server core tells its shell; the contract is in server_events.pyi."""

cimport cython
from mta._speedups.envelope cimport F8_BINARYMIME, F8_BODY_8BITMIME, F8_SMTPUTF8, Envelope
from mta._speedups.verdict cimport Verdict


@cython.final
@cython.freelist(16)
cdef class Hello:
    def __repr__(self):
        return f"<Hello {self.name} {'EHLO' if self.extended else 'HELO'}>"


@cython.final
@cython.freelist(64)
cdef class Mail:
    def __repr__(self):
        return f"<Mail <{self.sender}> size={self.size} body8={self.body8} {self.params or ''}>"


@cython.final
@cython.freelist(64)
cdef class Rcpt:
    def __repr__(self):
        return f"<Rcpt <{self.recipient}> {self.params or ''}>"


@cython.final
@cython.freelist(16)
cdef class Data:
    def __repr__(self):
        return "<Data>"


@cython.final
@cython.freelist(16)
cdef class Content:
    def __repr__(self):
        return f"<Content {self.size} octets flags={self.flags}>"


@cython.final
@cython.freelist(16)
cdef class Command:
    def __repr__(self):
        return f"<Command {self.verb or '(continued)'}>"  # its arguments may be secret


@cython.final
@cython.freelist(16)
cdef class Reset:
    def __repr__(self):
        return f"<Reset {self.refusal or ''}>"


@cython.final
cdef class Closed:
    def __repr__(self):
        return "<Closed>"


cdef Hello hello_of(str name, bint extended):
    cdef Hello event = Hello.__new__(Hello)
    event.name, event.extended = name, extended
    return event


cdef Mail mail_of(Envelope envelope):
    cdef Mail event = Mail.__new__(Mail)
    event.sender, event.size, event.params = envelope.address, envelope.size, envelope.params
    event.body8 = envelope.declared & F8_BODY_8BITMIME != 0
    event.binary = envelope.declared & F8_BINARYMIME != 0
    event.utf8 = envelope.declared & F8_SMTPUTF8 != 0
    return event


cdef Rcpt rcpt_of(Envelope envelope):
    cdef Rcpt event = Rcpt.__new__(Rcpt)
    event.recipient, event.params = envelope.address, envelope.params
    return event


cdef Content content_of(bytes body, Py_ssize_t size, int flags):
    cdef Content event = Content.__new__(Content)
    event.body, event.size, event.flags = body, size, flags
    return event


cdef Command command_of(str verb, bytes line):
    cdef Command event = Command.__new__(Command)
    event.verb, event.line = verb, line
    return event


cdef Reset reset_of(Verdict refusal):
    cdef Reset event = Reset.__new__(Reset)
    event.refusal = refusal
    return event
