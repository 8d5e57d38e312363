"""Dialogs as files: what a client sends and what the server must answer.

    # a comment
    : max_size = 1000                     a setting of the listener; [A, B] is a list
    : refuse RCPT nobody@b 550 5.1.1 No   the policy (MAIL, RCPT, DATA, or "." for the content);
                                          everything else is accepted, relaying too
    : live                                a flag: against a live worker alone
    : stranger                            the client may not relay, its recipients are ours
    : whole                               each step comes in one piece
    S: 220 *                              a line of the server; * stands for anything
    S+ 250*                               a whole reply, each of its lines
    S: <closed>                           the server closes
    C: EHLO client.example                a line of the client, CRLF is added
    C| text                               octets of the client as they are
    B: text                               a line of the content accepted last, CRLF is added
    B!                                    the content accepted last is empty

Client and content lines know \\r, \\n, \\0, \\xNN, \\\\ and {text*count}. Client lines that follow
each other are sent at once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

CLOSED = "<closed>"
ESCAPE = re.compile(r"\\(?:x([0-9a-f]{2})|([rn0t\\]))|\{([^{}]*)\*(\d+)\}")
NAMED = {"r": b"\r", "n": b"\n", "0": b"\0", "t": b"\t", "\\": b"\\"}


@dataclass
class Step:
    """Octets sent at once, and what comes back before anything else is sent."""

    sent: bytes = b""
    expected: list[tuple[str, str]] = field(default_factory=list)  # ("S:" or "S+", pattern)


@dataclass
class Dialog:
    """One file."""

    name: str
    settings: dict[str, str | int | list[str]] = field(default_factory=dict)
    flags: set[str] = field(default_factory=set)
    refusals: dict[tuple[str, str], bytes] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    def groups(self) -> list[list[Step]]:
        """Steps that may come at once: a client sends nothing behind DATA that is refused, and a
        stranger nothing behind any (RFC 2920 3.1)."""
        found: list[list[Step]] = [[]]
        for step in self.steps:
            found[-1].append(step)
            asks = step.sent.upper().endswith((b"DATA\r\n", b"DATA NOW\r\n"))
            if asks and ("stranger" in self.flags or step.expected[-1][1][:3] != "354"):
                found.append([])
        return [steps for steps in found if steps]

    @property
    def closes(self) -> bool:
        """Whether the server closes at the end."""
        return bool(self.steps) and ("S:", CLOSED) in self.steps[-1].expected

    def refusal(self, command: str, address: str = "*") -> bytes | None:
        """The reply that the policy gives, or None to accept."""
        found = self.refusals.get((command, address))
        return found or self.refusals.get((command, "*"))


def octets(text: str) -> bytes:
    """A client line's escapes and repetitions, undone."""
    out, at = b"", 0
    for found in ESCAPE.finditer(text):
        out += text[at : found.start()].encode()
        number, name, repeated, count = found.groups()
        if number:
            out += bytes.fromhex(number)
        elif name:
            out += NAMED[name]
        else:
            out += octets(repeated) * int(count)
        at = found.end()
    return out + text[at:].encode()


def load(path: Path) -> Dialog:
    """A dialog from its file; ValueError names the line that is none."""
    dialog, closed_body = Dialog(path.stem), True
    for number, line in enumerate(path.read_text().splitlines(), 1):
        mark, text = line[:2], line[3:]
        if not line or mark[0] == "#":
            continue
        if mark == "B:":
            if closed_body:
                dialog.bodies.append(b"")
            dialog.bodies[-1] += octets(text) + b"\r\n"
        elif mark == "B!":
            dialog.bodies.append(b"")
        elif mark in ("C:", "C|"):
            _sent(dialog, octets(text) + (b"\r\n" if mark == "C:" else b""))
        elif mark in ("S:", "S+"):
            dialog.steps = dialog.steps or [Step()]
            dialog.steps[-1].expected.append((mark, text))
        elif mark == ": ":
            _option(dialog, line[2:])
        else:
            raise ValueError(f"{path}:{number}: {line!r} is no line of a dialog")
        closed_body = mark != "B:"
    return dialog


def _sent(dialog: Dialog, data: bytes) -> None:
    if not dialog.steps or dialog.steps[-1].expected:
        dialog.steps.append(Step())
    dialog.steps[-1].sent += data


def _option(dialog: Dialog, text: str) -> None:
    if text.startswith("refuse "):
        _, command, address, reply = text.split(" ", 3)
        dialog.refusals[command, address] = reply.encode() + b"\r\n"
    elif "=" not in text:
        dialog.flags.add(text)
    else:
        name, _, value = (part.strip() for part in text.partition("="))
        if value.startswith("["):
            dialog.settings[name] = [part.strip() for part in value[1:-1].split(",")]
        else:
            dialog.settings[name] = int(value) if value.isdecimal() else value


def check(expected: list[tuple[str, str]], output: bytes) -> None:
    """AssertionError unless `output` is exactly what is expected."""
    lines = output.decode("ascii").split("\r\n")
    assert lines.pop() == "", f"output does not end a line: {output!r}"
    for mark, pattern in expected:
        if pattern == CLOSED:
            break
        more = True
        while more:
            assert lines, f"wanted {pattern!r}, nothing came"
            line = lines.pop(0)
            regex = ".*".join(re.escape(part) for part in pattern.split("*"))
            assert re.fullmatch(regex, line), f"wanted {pattern!r}, got {line!r}"
            more = mark == "S+" and line[3:4] == "-"
    assert not lines, f"nothing more was wanted, got {lines}"


DIALOGS = sorted(Path(__file__).parent.glob("*.smtp"))
