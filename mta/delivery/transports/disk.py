"""What the transports that write files share: safe writing, and outcomes of what goes wrong."""

from __future__ import annotations

import asyncio
import errno
import os
import re
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from mta.model import Kind, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from mta.delivery.feeder import Attempt
    from mta.model import Message, Recipient

THREADS = 64  # of one transport; its limit of connections is usually lower

# errno to enhanced code (RFC 3463); a file system's troubles are never the message's.
_CODES = {
    errno.ENOSPC: "4.3.1",
    errno.EDQUOT: "4.2.2",
    errno.EACCES: "4.3.5",
    errno.EPERM: "4.3.5",
    errno.ENOENT: "4.3.5",
    errno.ENOTDIR: "4.3.5",
    errno.EROFS: "4.3.5",
}
_FROM = re.compile(rb"^(>*From )", re.M)


class Blocking:
    """A handler whose work blocks: each attempt is done by a thread of its own pool."""

    def __init__(self, kind: str, name: str) -> None:
        self.kind = kind
        self._threads = ThreadPoolExecutor(THREADS, f"{kind}-{name}")

    async def deliver(self, attempt: Attempt) -> list[Outcome]:
        """One outcome for each recipient, in order."""
        return await self.in_thread(self.handle, attempt)

    async def in_thread(self, work: Callable[..., list[Outcome]], *args: Any) -> list[Outcome]:
        """What `work` returns, done by one of the threads."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *args)

    def handle(self, attempt: Attempt) -> list[Outcome]:
        """In a thread: one outcome for each recipient."""
        raise NotImplementedError


def failed(error: OSError, kind: str) -> Outcome:
    """The outcome of a system call that failed."""
    where = f"{error.filename}: " if error.filename else ""
    text = f"{where}{error.strerror or error}"
    if error.errno == errno.ENAMETOOLONG:
        return Outcome(Kind.BOUNCED, 0, "5.1.3", text, kind)
    return Outcome(Kind.DEFERRED, 0, _CODES.get(error.errno or 0, "4.3.0"), text, kind)


def stored(where: str, kind: str) -> Outcome:
    """The outcome of a message that is on disk."""
    return Outcome(Kind.DELIVERED, 0, "2.0.0", f"stored in {where}", kind)


def trace(message: Message, recipients: Sequence[Recipient], end: bytes) -> bytes:
    """The fields of final delivery (RFC 5321 4.4), each ended by `end`."""
    lines = [f"Return-Path: <{message.sender}>"]
    lines += [f"Delivered-To: {recipient.address}" for recipient in recipients]
    return b"".join(line.encode("utf-8", "replace") + end for line in lines)


def unix(body: bytes) -> bytes:
    """Lines ended by LF, as files and programs have them."""
    return body.replace(b"\r\n", b"\n")


def mbox_entry(message: Message, recipients: Sequence[Recipient], body: bytes, date: str) -> bytes:
    """One entry of an mbox (RFC 4155), with From lines quoted so that it can be undone."""
    sender = message.sender.replace(" ", "-") or "MAILER-DAEMON"
    content = _FROM.sub(rb">\1", unix(body))
    head = f"From {sender} {date}\n".encode("utf-8", "replace")
    end = b"\n" if content.endswith(b"\n") else b"\n\n"
    return head + trace(message, recipients, b"\n") + content + end


def write_all(fd: int, data: bytes) -> None:
    """Every octet, though one call takes fewer."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def write_new(path: Path, data: bytes) -> None:
    """A new file with this content, synced; what cannot be written whole is removed."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        write_all(fd, data)
        os.fsync(fd)
    except OSError as error:
        path.unlink()
        error.filename = str(path)
        raise
    finally:
        os.close(fd)


def move(path: Path, to: Path) -> None:
    """Rename within one file system and sync the folder it goes to."""
    try:
        path.rename(to)
    except OSError:
        path.unlink(missing_ok=True)
        raise
    sync_folder(to.parent)


def make_folder(path: Path) -> None:
    """A folder and those above it, each synced into its parent."""
    if path.is_dir():
        return
    make_folder(path.parent)
    try:
        path.mkdir(0o700)
    except FileExistsError:
        return  # another worker was first
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make new names in a folder durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
