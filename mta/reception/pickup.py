"""Files of the pickup folder: what they say, and taking them out of the folder.

A file begins with envelope lines, `X-Sender: address` and one or more `X-Receiver: address` (as
those of IIS and PowerMTA), behind each address parameters as in SMTP (`NOTIFY=NEVER`), then the
message. Without such lines the recipients come from its header, as with `sendmail -t`. Write it
under a name that begins with a dot or ends in `.tmp`, then rename it.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import NamedTuple

from mta._speedups import command
from mta._speedups.stuff import needs_stuffing
from mta._speedups.verdict import UNKNOWN, Reason, Verdict
from mta.errors import MailraceError
from mta.model import Flag
from mta.reception import envelope

# What the machine or the disk may get over: the file stays for a later look.
PASSING = frozenset({errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM})
LONGEST_LINE = 998  # RFC 5321 4.5.3.1.6, without the CRLF


class PickupError(MailraceError):
    """A file that is no message; the text is the reason."""


class EnvelopePath(NamedTuple):
    """An address with its parameters."""

    address: str
    params: dict[str, str | None] | None = None


class Drop(NamedTuple):
    """A file's message."""

    sender: EnvelopePath
    recipients: list[EnvelopePath]
    body: bytes
    flags: int

    @property
    def size(self) -> int:
        """Octets of the content."""
        return len(self.body)


def parse(data: bytes, hostname: str) -> Drop:
    """Envelope and content of a file; PickupError says why there is none."""
    content = envelope.with_crlf(data)
    sender, recipients, begin = _lines(content, hostname)
    content = content[begin:]
    if not recipients:
        if sender is not None:
            raise PickupError("it has an X-Sender and no X-Receiver")
        found = envelope.extract(content, hostname)
        content = found.content
        sender = _path(found.sender.encode() or b"<>", hostname)
        recipients = [_path(address.encode(), hostname) for address in found.recipients]
    if not recipients:
        raise PickupError("no recipients: neither X-Receiver lines nor To, Cc or Bcc")
    if b"\0" in content:
        raise PickupError("the content has a NUL")
    if sender is None:
        raise PickupError("it has an X-Receiver and no X-Sender; write `X-Sender: <>` for none")
    return Drop(sender, recipients, content, _flags(content, [sender, *recipients]))


def _lines(content: bytes, hostname: str) -> tuple[EnvelopePath | None, list[EnvelopePath], int]:
    """Sender and recipients of the envelope's lines, and where the message begins."""
    sender, recipients, begin = None, [], 0
    for field in envelope.header(content):
        if field.name not in (b"x-sender", b"x-receiver"):
            break
        path = _path(field.value, hostname)
        if field.name == b"x-receiver":
            if not path.address:
                raise PickupError("an X-Receiver is empty")
            recipients.append(path)
        elif sender is not None:
            raise PickupError("it has more than one X-Sender")
        else:
            sender = path
        begin = field.end
    return sender, recipients, begin


def _path(value: bytes, hostname: str) -> EnvelopePath:
    """`address` or `<address>`, then parameters; the grammar is that of SMTP (RFC 5321 4.1.2)."""
    value = value.strip()
    if value[:1] != b"<":
        address, blank, rest = value.partition(b" ")
        value = b"<%b>%b%b" % (address, blank, rest)
    local, end, rest = value.partition(b">")
    if len(local) > 1 and b"@" not in local:
        value = b"%b@%b%b%b" % (local, hostname.encode(), end, rest)
    try:
        found, at = command.path(value)
        params = dict(command.params(value[at:]))
    except ValueError as error:
        raise PickupError(f"{value.decode('utf-8', 'replace')}: {error}") from None
    return EnvelopePath(found, params or None)


def _flags(content: bytes, paths: list[EnvelopePath]) -> int:
    flags = 0
    if not content.isascii():
        flags |= Flag.EIGHT_BIT | Flag.BODY_8BITMIME
    if needs_stuffing(content):
        flags |= Flag.DOT_LINES
    if any(len(line) > LONGEST_LINE for line in content.split(b"\r\n")):
        flags |= Flag.LONG_LINES
    if not all(path.address.isascii() for path in paths):
        flags |= Flag.SMTPUTF8
    return flags


class Found(NamedTuple):
    """A file of the folder: its message, or the verdict on what is none."""

    name: str
    content: Drop | Verdict


class Settled(NamedTuple):
    """What becomes of a file: the verdict on its message, and on recipients that it is not for."""

    verdict: Verdict
    refused: tuple[Verdict, ...] = ()

    @property
    def stays(self) -> bool:
        """Whether the file waits for a later look: not now, or nobody knows."""
        return self.verdict.temporary or self.verdict is UNKNOWN

    @property
    def bad(self) -> bool:
        """Whether it goes to `bad/`: it is not stored, or not for all its recipients."""
        return self.verdict.refuses or bool(self.refused)

    @property
    def reason(self) -> str:
        """Why it is there, for people."""
        refused = "; ".join(map(_line, self.refused))
        if not self.verdict.refuses:
            return f"{_line(self.verdict)}; to all but: {refused}"
        return refused or _line(self.verdict)


def _line(verdict: Verdict) -> str:
    return f"{verdict.code} {verdict.enhanced} {verdict.line}"


def no_message(problem: str) -> Verdict:
    """The verdict on a file that is no message."""
    return Verdict(554, "5.6.0", problem, Reason.CONTENT)


def _content(descriptor: int, largest: int) -> bytes:
    info = os.fstat(descriptor)
    if not stat.S_ISREG(info.st_mode) or info.st_nlink != 1:
        raise PickupError("it is no plain file of its own")
    if info.st_size > largest:
        raise PickupError(f"it has {info.st_size} octets, {largest} are allowed")
    with open(descriptor, "rb", closefd=False) as file:
        return file.read()


class Folder:
    """The pickup folder; its methods block."""

    def __init__(self, path: Path) -> None:
        self.path, self.bad = path, path / "bad"
        self.trouble = ""  # why the last look could not read some file, for people

    def make(self) -> None:
        """Make the folders; only our user may drop files in one that we make."""
        for folder in (self.path, self.bad):
            try:
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            except OSError as error:
                raise MailraceError(f"cannot make {folder}: {error.strerror}") from None

    def look(self, hostname: str, most: int, octets: int, busy: set[str]) -> list[Found]:
        """Whole files that are not `busy`: at most so many, and of so many octets in all."""
        found: list[Found] = []
        room, self.trouble = octets, ""
        with os.scandir(self.path) as entries:
            for entry in entries:
                name = entry.name
                if name[0] == "." or name.endswith(".tmp") or name in busy or name == "bad":
                    continue
                one = self._read(name, hostname, octets)
                if one is not None:
                    found.append(one)
                    room -= one.content.size if isinstance(one.content, Drop) else 0
                if len(found) >= most or room <= 0:
                    break
        return found

    def _read(self, name: str, hostname: str, largest: int) -> Found | None:
        # Whoever may drop files here must not have us read another's by a link.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            descriptor = os.open(self.path / name, flags)
            try:
                return Found(name, parse(_content(descriptor, largest), hostname))
            finally:
                os.close(descriptor)
        except FileNotFoundError:
            return None
        except PickupError as error:
            return Found(name, no_message(str(error)))
        except OSError as error:
            if error.errno in PASSING:
                self.trouble = f"{name} cannot be read now: {error.strerror}"
                return None
            return Found(name, no_message(f"it cannot be read: {error.strerror}"))

    def settle(self, done: dict[str, Settled]) -> list[str]:
        """Remove the files whose messages are stored, move bad ones to `bad/` with their reason.

        Returns those that are still there.
        """
        stuck = []
        for name, settled in done.items():
            try:
                if settled.bad:
                    text = f"{settled.reason}\n"
                    (self.bad / f"{name}.reason").write_text(text, encoding="utf-8")
                    (self.path / name).rename(self.bad / name)
                else:
                    (self.path / name).unlink(missing_ok=True)
            except OSError:
                stuck.append(name)
        return stuck
