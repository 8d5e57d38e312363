"""The SMTP client in plain Python: the oracle of mta/_speedups/client.pyx.

Built another way on purpose: no states, but a queue of the replies that are expected, each with
what it is about. Texts of results that no server gave (code 0) are its own.
"""

from __future__ import annotations

import re
import sys

from mta.smtp.client import ClientOptions, LocalProtocolError, Result, Transaction

MAX_LINE, MAX_LINES, MAX_TEXT = 4096, 128, 4096
LINE = re.compile(rb"([2-5][0-9][0-9])(?:([ -])(.*))?", re.S)
ENHANCED = re.compile(rb"([245])\.[0-9]{1,3}\.[0-9]{1,3}(?= |$)")
LIMIT = re.compile(r"([^=]*)=(?!0+\Z)([0-9]{1,6})")  # RFC 9422 4
WIDE = "\x80-\ud7ff\ue000-\U0010ffff"
SAFE = re.compile(rf'(?:[!#-;=?-~{WIDE}]|"(?:[ !#-\[\]-~{WIDE}]|\\[ -~{WIDE}])*")*')
# A backslash outside of quotes stands for itself.
KINDS = {
    "connect": "greeting", "EHLO": "hello", "HELO": "hello", "RSET": "rset", "MAIL": "mail",
    "RCPT": "rcpt", "DATA": "data", ".": "dot", "lone": "dot", "QUIT": "quit",
}  # fmt: skip


class Malformed(Exception):
    """The stream cannot be read any further."""


def stuff(body: bytes) -> bytes:
    """Dot-stuffed, as RFC 5321 4.5.2 has it."""
    return b"\r\n".join(b"." + x if x[:1] == b"." else x for x in body.split(b"\r\n"))


def clean(text: bytes) -> str:
    """Text as people see it."""
    mended = bytes(32 if c == 9 else 63 if c < 32 or c == 127 else c for c in text)
    return mended.decode("utf-8", "replace")


class Reply:
    """One reply, of whole lines."""

    def __init__(self, code: int, lines: list[bytes]) -> None:
        self.code, self.lines = code, lines

    def result(self, command: str) -> Result:
        """As the core gives it."""
        enhanced, parts = "", []
        for line in self.lines:
            found = ENHANCED.match(line)
            if found and int(found[1]) == self.code // 100:
                enhanced = enhanced or found[0].decode()
                line = line[found.end() + 1 :]
            if line:
                parts.append(clean(line))
        return self.code, enhanced, " ".join(parts), command


class ReplyBuffer:
    """Octets to replies."""

    def __init__(self) -> None:
        self.data = b""
        self.lines: list[bytes] = []

    def next(self) -> Reply | None:
        """The next whole reply, None if there is none yet."""
        while b"\n" in self.data:
            line, _, self.data = self.data.partition(b"\n")
            if len(line) > MAX_LINE:
                raise Malformed
            if self._last(line.removesuffix(b"\r")):
                lines, self.lines = self.lines, []
                return Reply(self.code, lines)
        if len(self.data) > MAX_LINE:
            raise Malformed
        return None

    def _last(self, line: bytes) -> bool:
        found = LINE.fullmatch(line)
        if len(self.lines) == MAX_LINES or not found:
            raise Malformed
        self.code = int(found[1])
        left = MAX_TEXT - sum(map(len, self.lines))
        self.lines.append((found[3] or b"")[:left])
        return found[2] != b"-"


class ClientTwin:
    """The same interface as `ClientCore`."""

    def __init__(self, options: ClientOptions) -> None:
        self.options, self.replies = options, ReplyBuffer()
        self.expected: list[tuple[str, Transaction | None, int]] = [("connect", None, 0)]
        self.results: dict[int, list[Result | None]] = {}  # by id of the transaction
        self.refused: set[int] = set()
        self.accepted: set[int] = set()
        self.ahead: set[int] = set()
        self.live: list[Transaction] = []
        self.done: list[tuple[Transaction, list[Result | None]]] = []
        self.out = b""
        self.keywords: dict[str, str] = {}
        self.limits: dict[str, int] = {}
        self.pipeline = self.overlap = self.closed = self.dirty = self.wanted = False
        self.overlap_failed = False
        self.transactions = 0
        self.params: dict[int, tuple[bytes, list[bytes]]] = {}  # by id of the transaction
        self.last: dict[int, int] = {}  # number of the last RCPT sent
        self.failure: Result | None = None
        self.told: object = None

    # The interface

    @property
    def idle(self) -> bool:
        return not (self.closed or self.expected or self.wanted)

    @property
    def kind(self) -> str:
        if self.wanted:
            return "block"
        if not self.expected:
            return "none"
        command, tx, _ = self.expected[0]
        if command == "MAIL" and id(tx) in self.ahead:
            return "ahead" if self.overlap else "late"
        return KINDS[command]

    def next_event(self) -> str | None:
        if self.done:
            return "DONE"
        if self.told is not None:
            return None
        names = {"CLOSED": self.closed, "CONTENT_WANTED": self.wanted, "READY": self.idle}
        self.told = next((name for name, holds in names.items() if holds), None)
        return self.told

    def output(self) -> bytes:
        out, self.out = self.out, b""
        return out

    def submit(self, tx: Transaction) -> None:
        if not self.idle:
            raise LocalProtocolError
        self.told = None
        if not self._admit(tx):
            return
        if self.dirty:
            self.dirty = False
            self.out += b"RSET\r\n"
            self.expected.append(("RSET", tx, 0))
            if not self.pipeline:
                self.live.append(tx)
                return
        self._envelope(tx)

    def send_content(self, ahead: Transaction | None) -> None:
        if not self.wanted or (ahead and not self.overlap):
            raise LocalProtocolError
        self.wanted, self.told = False, None
        tx = self.live[0]
        body = stuff(tx.body) if tx.flags & 2 else tx.body
        if body and not body.endswith(b"\r\n"):
            body += b"\r\n"
        self.out += self._chunk(tx) if self._chunked(tx) else body + b".\r\n"
        if self.options.lmtp:
            self.expected += [(".", tx, n) for n in self._open(tx)]
        else:
            self.expected.append((".", tx, 0))
        if ahead and self._admit(ahead):
            self.ahead.add(id(ahead))
            self._envelope(ahead)
        self._run()

    def quit(self) -> None:
        if not self.idle:
            raise LocalProtocolError
        self.out += b"QUIT\r\n"
        self.expected.append(("QUIT", None, 0))
        self.told = None

    def overlap_off(self) -> None:
        self.overlap_failed |= self.kind in ("ahead", "late")
        self.overlap = False

    def time_out(self) -> None:
        if not self.closed and self.kind in ("ahead", "late"):
            self.overlap_failed = True
        self.connection_lost()

    def connection_lost(self) -> None:
        if self.closed:
            return
        command = "DATA" if self.wanted else self.expected[0][0] if self.expected else "QUIT"
        command = "." if command == "lone" else command
        self._close(None if command == "QUIT" else (0, "", "", command))

    def feed(self, data: bytes) -> None:
        self.replies.data += data
        self._run()

    # Transactions

    def _admit(self, tx: Transaction) -> bool:
        size = len(tx.body) + (0 if not tx.body or tx.body.endswith(b"\r\n") else 2)
        limit = self._limit()
        results: list[Result | None] = [None] * len(tx.recipients)
        if limit and size > limit:
            text = f"the message has {size} octets, the server takes {limit}"
            results = [(552, "5.3.4", text, "MAIL")] * len(results)
        elif tx.flags & 32 and not self._takes_binary():
            text = "binary content, and the server has no BINARYMIME"
            results = [(554, "5.6.3", text, "MAIL")] * len(results)
        elif tx.flags & 1 and not tx.flags & 32 and "8BITMIME" not in self.keywords:
            text = "8-bit content, and the server has no 8BITMIME"
            results = [(554, "5.6.3", text, "MAIL")] * len(results)
        elif refusal := self._unsafe(tx.sender, "MAIL"):
            results = [refusal] * len(results)
        elif tx.flags & 16 and not self._utf8 and not tx.body.partition(b"\r\n\r\n")[0].isascii():
            text = "the header is not ASCII, and the server has no SMTPUTF8"
            results = [(554, "5.6.7", text, "MAIL")] * len(results)
        else:
            results = [self._unsafe(address, "RCPT") for address in tx.recipients]
        self.results[id(tx)] = results
        if None not in results:
            self._done(tx)
        return None in results

    def _limit(self) -> int:
        word = self.keywords.get("SIZE", "")
        return min(int(word), sys.maxsize) if re.fullmatch("[0-9]{1,19}", word) else 0

    @property
    def _utf8(self) -> bool:
        return "SMTPUTF8" in self.keywords

    def _takes_binary(self) -> bool:
        return {"CHUNKING", "BINARYMIME"} <= set(self.keywords) and self.options.chunking != "never"

    def _chunked(self, tx: Transaction) -> bool:
        by_option = self.options.chunking in ("always", "eager")
        return "CHUNKING" in self.keywords and (by_option or bool(tx.flags & 32))

    def _eager(self, tx: Transaction) -> bool:
        eager = self.options.chunking == "eager" and not self.options.lmtp
        return self._chunked(tx) and self.pipeline and eager

    def _chunk(self, tx: Transaction) -> bytes:
        return b"BDAT %d LAST\r\n" % len(tx.body) + tx.body

    def _unsafe(self, address: str, command: str) -> Result | None:
        if not SAFE.fullmatch(address):
            return 553, "5.1.3", "the address cannot be sent: it is not well-formed", command
        if address.isascii() or self._utf8:
            return None
        return 553, "5.6.7", "the address is not ASCII, and the server has no SMTPUTF8", command

    def _envelope(self, tx: Transaction) -> None:
        if tx not in self.live:
            self.live.append(tx)
        size = len(tx.body) + (0 if not tx.body or tx.body.endswith(b"\r\n") else 2)
        self.out += f"MAIL FROM:<{tx.sender}>".encode()
        self.out += f" SIZE={size}".encode() if "SIZE" in self.keywords else b""
        body = b" BODY=8BITMIME" if tx.flags & 1 else b""
        self.out += b" BODY=BINARYMIME" if tx.flags & 32 else body
        wide = not "".join([tx.sender, *(tx.recipients[n] for n in self._open(tx))]).isascii()
        self.out += b" SMTPUTF8" if self._utf8 and (wide or tx.flags & 16) else b""
        self.out += self.params.get(id(tx), (b"", []))[0] + b"\r\n"
        self.expected.append(("MAIL", tx, 0))
        if self.pipeline:
            for n in self._open(tx):
                self._rcpt(tx, n)
            self.last[id(tx)] = self._open(tx)[-1]
            if self._eager(tx):
                self.out += self._chunk(tx)
                self.expected.append((".", tx, 0))
            elif not self._chunked(tx):
                self._data(tx)

    def _open(self, tx: Transaction) -> list[int]:
        return [n for n, result in enumerate(self.results[id(tx)]) if result is None]

    def _rcpt(self, tx: Transaction, n: int) -> None:
        params = self.params.get(id(tx), (b"", []))[1]
        self.out += f"RCPT TO:<{tx.recipients[n]}>".encode()
        self.out += (params[n] if params else b"") + b"\r\n"
        self.expected.append(("RCPT", tx, n))

    def _data(self, tx: Transaction) -> None:
        self.out += b"DATA\r\n"
        self.expected.append(("DATA", tx, 0))

    def _fill(self, tx: Transaction, result: Result) -> None:
        mine = self.results[id(tx)]
        mine[:] = [result if one is None else one for one in mine]

    def _done(self, tx: Transaction) -> None:
        if tx in self.live:
            self.live.remove(tx)
        self.done.append((tx, self.results[id(tx)]))

    def _close(self, failure: Result | None) -> None:
        back = (0, "", "", "unattempted")
        waits = self.expected[0][0] if self.expected else ""
        for place, tx in enumerate(list(self.live)):
            untouched = waits in ("MAIL", "RSET") and (id(tx) in self.ahead or self.transactions)
            untouched = untouched and not self._eager(tx)
            self._fill(tx, back if place or untouched else failure)  # type: ignore[arg-type]
            self._done(tx)
        self.failure, self.closed, self.overlap, self.wanted = failure, True, False, False
        self.expected, self.told = [], None

    # Replies

    def _run(self) -> None:
        while not self.closed and not self.wanted:
            try:
                reply = self.replies.next()
            except Malformed:
                reply = None
                self._close((0, "", "", self._asked() or "nothing"))
            if reply is None:
                return
            self._take(reply)

    def _asked(self) -> str:
        command = self.expected[0][0] if self.expected else ""
        return "." if command == "lone" else command

    def _take(self, reply: Reply) -> None:
        asked, code = self._asked(), reply.code
        if code == 421 and asked != "QUIT":
            return self._close(reply.result(asked) if asked else None)
        if not asked:
            return self._close((0, "", "", "nothing"))
        command, tx, n = self.expected[0]
        if command == "MAIL" and id(tx) in self.ahead and code in (500, 502, 503):
            self.overlap_failed = True
            return self._close(reply.result("MAIL"))
        wrong = code // 100 == 3 if command != "DATA" else code // 100 == 2
        if (wrong and command != "QUIT") or (command == "RSET" and code > 299):
            return self._close((0, "", "", asked))
        self.expected.pop(0)
        self.told = None
        if command in ("connect", "EHLO", "HELO"):
            return self._session(command, reply)
        if command == "QUIT":
            return self._close(None)
        if command == "RSET" and tx and not self.pipeline:
            return self._envelope(tx)
        if tx and command != "RSET":
            self._about(command, tx, n, reply)
        return None

    def _session(self, command: str, reply: Reply) -> None:
        if command == "connect" and reply.code < 400:
            verb = "LHLO" if self.options.lmtp else "EHLO"
            self.out += f"{verb} {self.options.ehlo_name}\r\n".encode()
            self.expected.append(("EHLO", None, 0))
        elif command == "EHLO" and reply.code >= 500 and not self.options.lmtp:
            self.out += f"HELO {self.options.ehlo_name}\r\n".encode()
            self.expected.append(("HELO", None, 0))
        elif reply.code >= 400:
            self.out += b"QUIT\r\n"
            self._close(reply.result(command))
        elif command == "EHLO":
            for line in reply.lines[1:]:
                word, _, rest = clean(line).strip().partition(" ")
                if word.upper() in self.options.disable:
                    continue
                if word.upper() == "LIMITS":
                    words = map(LIMIT.fullmatch, rest.upper().split())
                    self.limits = {one[1]: int(one[2]) for one in words if one}
                if word.upper() != "SIZE" or re.fullmatch("[0-9]{1,19}", rest.strip()):
                    self.keywords[word.upper()] = rest.strip()
                else:
                    self.keywords.setdefault("SIZE", "")
            self.pipeline = self.options.pipelining and "PIPELINING" in self.keywords
            self.overlap = self.pipeline and self.options.overlap

    def _about(self, command: str, tx: Transaction, n: int, reply: Reply) -> None:
        key, ok = id(tx), reply.code < 400
        if command == "MAIL":
            self.transactions += 1
            if not ok:
                self.refused.add(key)
                self._fill(tx, reply.result("MAIL"))
        elif command == "RCPT" and key not in self.refused:
            if ok:
                self.accepted.add(key)
            else:
                self.results[key][n] = reply.result("RCPT")
        elif command == "DATA":
            self._about_data(tx, reply)
        elif command == ".":
            self.dirty = self._chunked(tx) and not ok and len(self.live) == 1
            if self.options.lmtp:
                self.results[key][n] = reply.result(".")
            else:
                self._fill(tx, reply.result("."))
            if not self._open(tx):
                self._done(tx)
        if self.pipeline and command == "RCPT" and n == self.last[key]:
            self._last_rcpt(tx)
        if not self.pipeline and command in ("MAIL", "RCPT"):
            self._one_by_one(tx, n if command == "RCPT" else -1)

    def _last_rcpt(self, tx: Transaction) -> None:
        if not self._chunked(tx) or self._eager(tx):
            return
        self.wanted = id(tx) in self.accepted
        if not self.wanted:
            self.dirty = id(tx) not in self.refused
            self._done(tx)

    def _about_data(self, tx: Transaction, reply: Reply) -> None:
        if reply.code < 400 and id(tx) in self.accepted:
            self.wanted = True
            return
        if reply.code < 400 and self.options.lmtp:
            self._done(tx)
            self._close((0, "", "", "DATA"))
            return
        if reply.code < 400:
            self.out += b".\r\n"
            self.expected.append(("lone", None, 0))
        else:
            self.dirty = id(tx) not in self.refused
            self._fill(tx, reply.result("DATA"))
        self._done(tx)

    def _one_by_one(self, tx: Transaction, after: int) -> None:
        key = id(tx)
        left = [n for n in self._open(tx) if n > after]
        if left and key not in self.refused:
            self._rcpt(tx, left[0])
        elif key in self.accepted and self._chunked(tx):
            self.wanted = True
        elif key in self.accepted:
            self._data(tx)
        else:
            self.dirty = key not in self.refused
            self._done(tx)
