"""MAIL and RCPT behind their verb: address and parameters, or what is wrong."""

from cpython.unicode cimport PyUnicode_DecodeUTF8

from mta._speedups cimport server_replies as say
from mta._speedups.command cimport (
    PATH_TEXTS,
    P_BRACKET,
    P_OK,
    Param,
    Path,
    PathError,
    next_param,
    parse_bare,
    parse_path,
    skip_word,
)
from mta._speedups.server_options cimport ServerOptions
from mta._speedups.verdict cimport Verdict

from mta._speedups.verdict import Reason


cdef class Envelope:
    def __init__(self, ServerOptions options not None):
        self.options = options

    cdef void clear(self) noexcept:
        """No transaction is open."""
        self.size = 0
        self.declared = 0

    cdef Verdict mail(self, const unsigned char* p, Py_ssize_t n):
        """FROM:<path> and its parameters; what is wrong, or None."""
        self.size = self.declared = 0
        return self._take(p, n, True)

    cdef Verdict rcpt(self, const unsigned char* p, Py_ssize_t n):
        """TO:<path> and its parameters; what is wrong, or None."""
        return self._take(p, n, False)

    cdef Verdict _take(self, const unsigned char* p, Py_ssize_t n, bint mail):
        cdef Path path
        cdef Verdict problem = self._path(&p, &n, not mail, &path)
        self.params = None
        if problem is None and path.after < n:
            problem = self._parameters(p, n, path.after, mail)
        if problem is None and self.wide and not self.declared & F8_SMTPUTF8:
            problem = say.UNDECLARED if self.options.smtputf8 else say.NON_ASCII  # RFC 6531 3.4
        if problem is None:
            self.address = PyUnicode_DecodeUTF8(
                <const char*> p + path.start, path.end - path.start, NULL
            )
        return problem

    cdef Verdict _path(
        self, const unsigned char** p, Py_ssize_t* n, bint recipient, Path* path
    ):
        """Find the path; `p` and `n` move to it. What is wrong, or None."""
        cdef Py_ssize_t size, at = skip_word(p[0], n[0], b"TO:", 3) if recipient \
            else skip_word(p[0], n[0], b"FROM:", 5)
        cdef PathError error
        if at < 0:
            return say.RCPT_SYNTAX if recipient else say.MAIL_SYNTAX
        p[0] += at
        n[0] -= at
        self.wide = not is_ascii(p[0], n[0])
        error = parse_path(p[0], n[0], recipient, path)
        if error == P_BRACKET and self.options.bare_addresses:
            error = parse_bare(p[0], n[0], recipient, path)
        size = path.after if error == P_OK else n[0]
        if self.wide and not is_ascii(p[0], size):  # else a parameter's value is
            if not self.options.smtputf8:
                return say.NON_ASCII  # RFC 6531 3.5
            if not is_utf8(p[0], size):
                return say.NOT_UTF8
        if error == P_OK:
            return None
        if recipient:
            text = f"Bad recipient address: {PATH_TEXTS[<int> error]}"
            return Verdict(501, "5.1.3", text, Reason.ADDRESS)
        text = f"Bad sender address: {PATH_TEXTS[<int> error]}"
        return Verdict(501, "5.1.7", text, Reason.ADDRESS)

    cdef Verdict _parameters(self, const unsigned char* p, Py_ssize_t n, Py_ssize_t at, bint mail):
        """The parameters from p[at]; what is wrong with the first that is, or None."""
        cdef Param one
        cdef int more
        cdef str value
        cdef set seen = None
        while at < n:
            more = next_param(p, n, &at, &one)
            if more == 0:
                break
            if more < 0:
                return say.BAD_PARAM
            key = p[one.key:one.key_end].decode("ascii").upper()
            value = None if one.value < 0 \
                else p[one.value:one.value_end].decode("utf-8", "surrogateescape")
            if seen is None:
                seen = set()
            if key in seen:
                text = f"Parameter {key[:40]} is given twice"
                return Verdict(501, "5.5.4", text, Reason.PARAMETER)
            seen.add(key)
            problem = self._parameter(key, value, mail)
            if problem is not None:
                return problem
        return None

    cdef Verdict _parameter(self, str key, str value, bint mail):
        """Take one parameter; why it cannot be taken, or None."""
        if mail and key == "SIZE":  # RFC 1870 3
            if value is None or not (value.isascii() and value.isdecimal()) or len(value) > 18:
                return say.BAD_SIZE
            self.size = int(value)
            if self.options.max_size and self.size > self.options.max_size:
                return self.options.oversize
            return None
        if mail and key == "BODY":  # RFC 6152 3
            return self._body(value.upper() if value else "")
        if mail and key == "SMTPUTF8" and self.options.smtputf8:  # RFC 6531 3.4
            self.declared |= F8_SMTPUTF8
            return None if value is None else say.NO_VALUE
        if key in (self.options.mail_parameters if mail else self.options.rcpt_parameters):
            if value is not None and not value.isascii() and (key != "ORCPT" or not is_text(value)):
                return say.BAD_PARAM  # RFC 6533 3: UTF-8 in ORCPT alone
            if self.params is None:
                self.params = {}
            self.params[key] = value
            return None
        text = f"Parameter {key[:40]} is not known here"
        return Verdict(555, "5.5.4", text, Reason.PARAMETER)  # RFC 5321 4.1.1.11

    cdef Verdict _body(self, str value):
        """BODY=value; why it cannot be taken, or None."""
        if value == "BINARYMIME" and self.options.binarymime:  # RFC 3030 3
            self.declared |= F8_BINARYMIME
        elif value == "8BITMIME":
            self.declared |= F8_BODY_8BITMIME
        elif value != "7BIT":
            return say.BAD_BODY
        return None


cdef bint is_text(str value):
    """Whether no octet of it was kept as a surrogate."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


cdef bint is_utf8(const unsigned char* p, Py_ssize_t n):
    try:
        PyUnicode_DecodeUTF8(<const char*> p, n, NULL)
    except UnicodeDecodeError:
        return False
    return True
