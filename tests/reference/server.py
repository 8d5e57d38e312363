"""The SMTP server, simple: it keeps all octets and reads the next command or content whole.

It says what the core says, as (code, enhanced code) pairs and event tuples; texts are its own.
"""

from __future__ import annotations

import re
from typing import Any

from mta.smtp.server import ServerOptions
from tests.reference import command, content

FAULTS = {
    "size": (552, "5.3.4"),
    "bare_cr": (550, "5.5.2"),
    "bare_lf": (550, "5.5.2"),
    "nul": (550, "5.6.0"),
    "line": (500, "5.6.0"),
}
POSITIVE = {
    "hello": (250, ""),
    "mail": (250, "2.1.0"),
    "rcpt": (250, "2.1.5"),
    "data": (354, ""),
    "content": (250, "2.0.0"),
}
Reply = tuple[int, str]


def summary(output: bytes) -> list[Reply]:
    """Replies on the wire as the twin writes them: the last line of each."""
    found = re.findall(rb"(?m)^(\d{3}) (\d\.\d\.\d)?", output)
    return [(int(code), enhanced.decode()) for code, enhanced in found]


class Server:
    """The twin of ServerCore."""

    def __init__(self, options: ServerOptions) -> None:
        self.options, self.buffer, self.state = options, b"", "connect"
        self.events: list[tuple[Any, ...]] = []
        self.replies: list[Reply] = []
        self.waiting, self.skipping, self.closing = "", False, False
        self.recipients = self.messages = self.error_run = 0
        self.mail_refused, self.declared = False, 0
        self.rebuffed = False  # the last command was a DATA that was refused
        self.left: int | None = None  # octets of the chunk that comes
        self.final, self.chunks = False, b""
        self.farewell: Reply | None = None
        self.urgent = False

    # what the shell calls

    def greeting(self) -> None:
        self.state = "start"
        self.replies.append((220, ""))

    def feed(self, data: bytes) -> None:
        self.buffer += data
        self._parse()

    def next_event(self) -> tuple[Any, ...] | None:
        self._parse()
        return self.events.pop(0) if self.events else None

    def _parse(self) -> None:
        while not (self.events or self.waiting or self.closing) and self._step():
            pass

    def verdict(self, reply: Reply | None = None) -> None:
        what, self.waiting = self.waiting, ""
        reply = reply or POSITIVE[what]
        if reply[0] == 421:
            self._close(reply)
        elif reply[0] < 400:
            if what != "data" or self.left is None:
                self.replies.append(reply)
            self._accepted(what)
        else:
            self.replies.append(reply)
            self._refused(what, reply)
        self._boundary()

    def shutdown(self) -> None:
        self.farewell = (421, "4.3.2")
        self._boundary()

    def time_out(self) -> None:
        self.farewell, self.urgent = (421, "4.4.2"), True
        self._boundary()

    # transitions

    def _accepted(self, what: str) -> None:
        if what == "content":
            self.messages, self.error_run = self.messages + 1, 0
        if what in ("hello", "content"):
            self.state, self.recipients = "ready", 0
        else:
            data = "content" if self.left is None else "chunks"
            self.state = {"mail": "mail", "rcpt": "rcpt", "data": data}[what]
            self.recipients += what == "rcpt"

    def _refused(self, what: str, reply: Reply) -> None:
        if what == "content":
            self.state, self.recipients = "ready", 0
        self.mail_refused = what == "mail"
        if what == "data" and self.left is None:
            self.rebuffed = True
            self._ward_off()
        if what == "data" and self.left is not None:
            self.state, self.recipients, self.mail_refused = "ready", 0, True
            self.events.append(("reset", None))
        if reply[0] >= 500:
            self._count()

    def _ward_off(self) -> None:
        """Content waits behind a DATA that was refused."""
        if self.rebuffed and self.buffer:
            self._close((503, "5.5.1"))

    def _no_command(self) -> None:
        self._close((503, "5.5.1")) if self.rebuffed else self._error(500, "5.5.2")

    def _error(self, code: int, enhanced: str) -> None:
        self.replies.append((code, enhanced))
        self._count()

    def _count(self) -> None:
        self.error_run += 1
        if self.options.max_errors and self.error_run >= self.options.max_errors:
            self._close((421, "4.7.0"))

    def _close(self, reply: Reply) -> None:
        if not self.closing:
            self.closing, self.state, self.recipients = True, "closed", 0
            self.replies.append(reply)
            self.events.append(("closed",))

    def _boundary(self) -> None:
        at_rest = self.state in ("connect", "start", "ready")
        if self.farewell and not self.waiting and (self.urgent or at_rest):
            self._close(self.farewell)

    def _ask(self, what: str, *details: Any) -> None:
        self.waiting = what
        self.events.append((what, *details))

    # octets

    def _step(self) -> bool:
        """Take the next line or content from the buffer; False where it is not whole."""
        if self.state == "connect" and self.buffer:
            self._close((421, "4.5.1"))
            return False
        if self.left is not None:
            return self._chunk()
        if self.state == "content":
            return self._content()
        if self.skipping:
            return self._skip()
        fix, window = self.options.bare_newlines == "fix", self.buffer[: self._longest]
        at = re.compile(rb"[\r\n]|\Z").search(window).start()  # type: ignore[union-attr]
        end = window[at : at + 2]
        if end in (b"", b"\r"):
            self.skipping = len(window) == self._longest
            self.buffer = self.buffer[at:] if self.skipping else self.buffer
            return self.skipping
        if end != b"\r\n" and not fix:
            self._close((500, "5.5.2"))
            return True
        line, self.buffer = window[:at], self.buffer[at + (2 if end == b"\r\n" else 1) :]
        self._command(line)
        self._ward_off()
        return True

    @property
    def _longest(self) -> int:
        return self.options.max_command_line

    def _skip(self) -> bool:
        end = b"\n" if self.options.bare_newlines == "fix" else b"\r\n"
        _, found, rest = self.buffer.partition(end)
        if not found:
            return False
        self.skipping, self.buffer = False, rest
        self._no_command()
        self._ward_off()
        return True

    def _chunk(self) -> bool:
        options, size = self.options, self.left
        assert size is not None
        if len(self.buffer) < size:
            return False
        chunk, self.buffer, self.left = self.buffer[:size], self.buffer[size:], None
        if self.state != "chunks":
            return True
        self.chunks += chunk
        binary, mend = bool(self.declared & 32), options.bare_newlines == "fix"
        max_line = 0 if binary else options.max_text_line
        keep = binary or options.bare_newlines == "keep"
        found = content.read_chunks(self.chunks, self.final, options.max_size, max_line, mend, keep)
        if found.fault:
            self.mail_refused = True
            self._give_up(found.fault)
        elif self.final:
            self._ask("content", found.body, found.flags | self.declared)
        else:
            self.replies.append((250, "2.0.0"))
        return True

    def _give_up(self, fault: str) -> None:
        self.state, self.recipients = "ready", 0
        self.events.append(("reset", FAULTS[fault]))
        if fault in ("bare_cr", "bare_lf"):
            return self._close(FAULTS[fault])
        self._error(*FAULTS[fault])
        return self._boundary()

    def _bdat(self, argument: bytes) -> None:
        found = re.fullmatch(rb"([0-9]{1,18})( +LAST)?", argument, re.I)
        if not found:
            return self._close((501, "5.5.4"))
        self.left, self.final = int(found[1]), bool(found[2])
        if self.state not in ("rcpt", "chunks"):
            return (
                self._error(503, "5.5.1")
                if not self.mail_refused
                else self.replies.append((503, "5.5.1"))
            )
        self.chunks = self.chunks if self.state == "chunks" else b""
        most = self.options.max_size
        if most and len(self.chunks) + self.left > most:
            self.mail_refused = True
            return self._give_up("size")
        return self._ask("data") if self.state == "rcpt" else None

    def _content(self) -> bool:
        options = self.options
        mend = options.bare_newlines == "fix"
        found = content.read(self.buffer, options.max_size, options.max_text_line, mend)
        if found is None:
            return False
        self.buffer = self.buffer[found.taken :]
        if not found.fault:
            self._ask("content", found.body, found.flags | self.declared)
            return True
        self._give_up(found.fault)
        return True

    # commands

    def _command(self, line: bytes) -> None:
        if b"\0" in line:
            return self._no_command()
        line = line.rstrip(b" \t")
        verb, after = command.verb(line)
        if not verb:
            self.mail_refused = False
            return self._no_command()
        self.rebuffed = verb == "DATA" and (not self._in_order("DATA") or after < len(line))
        if verb == "BDAT":
            return self._bdat(line[after:]) if self.options.chunking else self._unoffered()
        if verb in ("MAIL", "RCPT", "DATA") and not self._in_order(verb):
            if not (self.mail_refused and verb != "MAIL"):
                self._error(503, "5.5.1")
            else:
                self.replies.append((503, "5.5.1"))
            return None
        if verb != "RCPT":
            self.mail_refused = False
        handler = getattr(self, f"_{verb.lower()}")
        return handler(line[after:])  # type: ignore[no-any-return]

    def _unoffered(self) -> None:
        self.mail_refused = False
        self._error(502, "5.5.1")

    def _in_order(self, verb: str) -> bool:
        states = {"MAIL": ("ready",), "RCPT": ("mail", "rcpt"), "DATA": ("rcpt",)}
        return self.state in states[verb]

    def _ehlo(self, argument: bytes, extended: bool = True) -> None:
        if not command.NAME.match(argument):
            return self._error(501, "5.5.4")
        return self._ask("hello", argument.decode(), extended)

    def _helo(self, argument: bytes) -> None:
        self._ehlo(argument, False)

    def _mail(self, argument: bytes) -> None:
        if self.options.max_messages and self.messages >= self.options.max_messages:
            return self._close((421, "4.7.0"))
        self.declared = 0
        problem, address, given = self._path(argument, b"FROM:", False)
        parameters = dict(given)
        if "SMTPUTF8" in parameters:
            self.declared |= 16
        body = (parameters.get("BODY") or "").upper()
        self.declared |= {"8BITMIME": 4, "BINARYMIME": 32}.get(body, 0)
        problem = problem or self._parameters(given, True) or self._undeclared(argument)
        if problem:
            self.mail_refused = True
            return self._error(*problem)
        size, declared = int(parameters.get("SIZE") or 0), self.declared
        handed_on = {k: v for k, v in given if k not in ("SIZE", "BODY", "SMTPUTF8")} or None
        kinds = bool(declared & 4), bool(declared & 32), bool(declared & 16)
        return self._ask("mail", address, size, *kinds, handed_on)

    def _undeclared(self, argument: bytes) -> Reply | None:
        return None if argument.isascii() or self.declared & 16 else (553, "5.6.7")

    def _rcpt(self, argument: bytes) -> None:
        problem, address, given = self._path(argument, b"TO:", True)
        problem = problem or self._parameters(given, False) or self._undeclared(argument)
        if problem:
            return self._error(*problem)
        if self.options.max_recipients and self.recipients >= self.options.max_recipients:
            self.replies.append((452, "4.5.3"))
            return None
        return self._ask("rcpt", address, dict(given) or None)

    def _path(
        self, argument: bytes, prefix: bytes, recipient: bool
    ) -> tuple[Reply | None, str, list[tuple[str, str | None]]]:
        if argument[: len(prefix)].upper() != prefix:
            return (501, "5.5.4"), "", []
        text = argument[len(prefix) :].lstrip(b" ")
        read = command.bare if self.options.bare_addresses else command.path
        found = read(text, recipient)
        path = text if found is None else text[: found[1]]
        if not path.isascii() and not (self.options.smtputf8 and _is_utf8(path)):
            return (553, "5.6.7"), "", []
        if found is None:
            return (501, "5.1.3" if recipient else "5.1.7"), "", []
        return None, found[0], command.judged(text[found[1] :])

    def _parameters(self, given: list[tuple[str, str | None]], mail: bool) -> Reply | None:
        options = self.options
        for place, (key, value) in enumerate(given):
            if key == command.MALFORMED or key in dict(given[:place]):
                return 501, "5.5.4"
            if not mail:
                if key not in options.rcpt_parameters:
                    return 555, "5.5.4"
                if not _is_value(key, value or ""):
                    return 501, "5.5.4"
            elif key == "SIZE":
                if not re.fullmatch(r"[0-9]{1,18}", value or ""):
                    return 501, "5.5.4"
                if self.options.max_size and int(value or 0) > self.options.max_size:
                    return 552, "5.3.4"
            elif key == "BODY":
                kinds = ("7BIT", "8BITMIME", "BINARYMIME")[: 2 + options.binarymime]
                if (value or "").upper() not in kinds:
                    return 501, "5.5.4"
            elif key == "SMTPUTF8" and options.smtputf8:
                if value is not None:
                    return 501, "5.5.4"
            elif key not in options.mail_parameters:
                return 555, "5.5.4"
            elif not _is_value(key, value or ""):
                return 501, "5.5.4"
        return None

    def _data(self, argument: bytes) -> None:
        if argument:
            self._error(501, "5.5.4")
        elif self.declared & 32:
            self.rebuffed = True
            self._error(503, "5.5.1")
        else:
            self._ask("data")

    def _rset(self, argument: bytes) -> None:
        if argument:
            return self._error(501, "5.5.4")
        self.state, self.recipients = ("start" if self.state == "start" else "ready"), 0
        self.replies.append((250, "2.0.0"))
        self.events.append(("reset", None))
        return self._boundary()

    def _quit(self, argument: bytes) -> None:
        self._error(501, "5.5.4") if argument else self._close((221, "2.0.0"))

    def _noop(self, argument: bytes) -> None:
        self.replies.append((250, "2.0.0"))

    def _help(self, argument: bytes) -> None:
        self.replies.append((214, "2.0.0"))

    def _vrfy(self, argument: bytes) -> None:
        wide = self.options.smtputf8 and not argument.isascii()
        if wide and not argument.upper().endswith(b" SMTPUTF8"):
            self._error(553, "5.6.7")
        else:
            self.replies.append((252, "2.0.0")) if argument else self._error(501, "5.5.4")

    def _expn(self, argument: bytes) -> None:
        self._error(502, "5.5.1")

    _other = _expn

    def _http(self, argument: bytes) -> None:
        self._close((500, "5.5.1"))


def _is_value(key: str, value: str) -> bool:
    return value.isascii() or key == "ORCPT" and not re.search("[\udc80-\udcff]", value)


def _is_utf8(text: bytes) -> bool:
    try:
        return bool(text.decode()) or True
    except UnicodeDecodeError:
        return False
