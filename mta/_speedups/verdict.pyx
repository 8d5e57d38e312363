"""What is decided of a command or a message, as a value, and the reply that says so."""

from enum import StrEnum
from typing import NamedTuple

cimport cython

LINE = 512  # RFC 5321 4.5.3.1.5, with the CRLF


class Reason(StrEnum):
    ADDRESS = "address"
    AUTHENTICATION = "authentication"
    BARE_NEWLINE = "bare newline"
    COMMIT_FAILED = "commit failed"
    CONTENT = "content"
    ERRORS = "errors"
    HANDLER = "handler"
    LOOP = "loop"
    NO_ROOM = "no room"
    PARAMETER = "parameter"
    PIPELINING = "pipelining"
    POLICY_FAILED = "policy failed"
    RECIPIENTS = "too many recipients"
    RELAYING_DENIED = "relaying denied"
    SEQUENCE = "sequence"
    SESSIONS = "too many sessions"
    STOPPING = "stopping"
    SYNTAX = "syntax"
    TOO_LARGE = "too large"
    UNKNOWN = "unknown"


@cython.final
@cython.freelist(16)
cdef class Verdict:
    """What is decided: a reply code, its enhanced code and text, and why."""

    def __init__(self, int code, str enhanced not None, str text not None, reason=""):
        self.code, self.enhanced, self.text, self.reason = code, enhanced, text, reason
        self._wire = rendered(code, enhanced, text)

    def __repr__(self):
        why = f" ({self.reason})" if self.reason else ""
        return f"<Verdict {self.code} {self.enhanced} {self.text}{why}>"

    def __eq__(self, other):
        if not isinstance(other, Verdict):
            return NotImplemented
        return self.reply() == other.reply() and self.reason == other.reason

    def __hash__(self):
        return hash(self._wire)

    @property
    def refuses(self):
        return self.code >= 400

    @property
    def temporary(self):
        return 400 <= self.code < 500

    @property
    def line(self):
        return " ".join(self.text.splitlines())

    cpdef bytes reply(self):
        return self._wire


cpdef bytes rendered(int code, str enhanced, str text):
    if not 200 <= code <= 599:
        raise ValueError(f"{code} is no reply code")
    if enhanced and ord(enhanced[0]) - 48 != code // 100:
        raise ValueError(f"{enhanced} does not begin as {code} does (RFC 2034 4)")
    prefix = f" {enhanced} " if enhanced else " "
    room = LINE - len(prefix) - 5
    lines = [part for line in text.splitlines() or [""] for part in _fold(_clean(line), room)]
    last = lines.pop()
    parts = [f"{code}-{prefix[1:]}{line}" for line in lines]
    parts.append(f"{code}{prefix}{last}")
    return "".join([f"{part}\r\n" for part in parts]).encode("ascii")


cdef str _clean(str line):
    """The line without what a reply may not have (RFC 5321 4.2: textstring)."""
    if line.isascii() and line.isprintable():
        return line
    return "".join([c if " " <= c <= "~" else " " if c == "\t" else "?" for c in line])


cdef list _fold(str line, Py_ssize_t room):
    """The line in pieces of at most `room` characters, broken at blanks where there are some."""
    cdef Py_ssize_t cut
    parts = []
    while len(line) > room:
        cut = line.rfind(" ", 1, room + 1)
        cut = cut if cut > 0 else room
        parts.append(line[:cut])
        line = line[cut:].lstrip(" ")
    parts.append(line)
    return parts


def given(bytes reply not None, reason=""):
    cdef Verdict verdict = Verdict.__new__(Verdict)
    lines = reply.removesuffix(b"\r\n").decode("ascii", "replace").split("\r\n")
    code = lines[0][:3]
    enhanced = lines[0][4:].partition(" ")[0]
    if not _is_enhanced(enhanced, code):
        enhanced = ""
    skip = len(enhanced) + 1 if enhanced else 0
    verdict.code, verdict.enhanced, verdict.reason = int(code), enhanced, reason
    verdict.text = "\n".join(
        [line[4 + skip:] if line[4:].startswith(enhanced) else line[4:] for line in lines]
    )
    verdict._wire = reply
    return verdict


cdef bint _is_enhanced(str text, str code):
    """Whether it is an enhanced code that fits the reply's own (RFC 2034 4)."""
    parts = text.split(".")
    return len(parts) == 3 and parts[0] == code[:1] and all(
        [part.isascii() and part.isdecimal() and len(part) <= 3 for part in parts]
    )


cpdef Verdict queued(bytes digits):
    cdef Verdict verdict = Verdict.__new__(Verdict)
    verdict.code, verdict.enhanced, verdict.reason = 250, "2.0.0", ""
    verdict.text = "Ok: queued as " + digits.decode("ascii")
    verdict._wire = b"250 2.0.0 Ok: queued as " + digits + b"\r\n"
    return verdict


cdef Verdict _silence():
    """The value that no reply may tell."""
    cdef Verdict verdict = Verdict.__new__(Verdict)
    verdict.code, verdict.enhanced, verdict.text = 0, "", "Nobody knows whether it is stored"
    verdict.reason, verdict._wire = Reason.UNKNOWN, b""
    return verdict


class Refused(NamedTuple):
    command: str
    verdict: Verdict


ACCEPTED = Verdict(250, "2.0.0", "Ok")
UNKNOWN = _silence()
