"""What the server core tells its shell; the contract is in server_events.pyi."""

cimport cython


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
        return f"<Reset {self.reply!r}>"


@cython.final
cdef class Closed:
    def __repr__(self):
        return "<Closed>"
