"""The dead letters: bounces of bounces, which have nobody left to be told (RFC 5321 6.1).

One file for each recipient, `ID.letter` or `ID-NUMBER.letter` for a message's further recipients:
one line of JSON, then the content. A file is synced under another name and renamed, and its
folder synced, so that it is whole or absent. All methods touch the disk: call them in a thread.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from mta.clock import Clock, SystemClock
from mta.errors import ControlError
from mta.model import Class, Message, Outcome, Recipient, id_text

SUFFIX = ".letter"
DAY_US = 86_400_000_000
SHOWN = 8192  # octets of the header that `show` returns
MAX_HEADER = 1 << 20  # octets of a letter's first line

_ID = re.compile(r"[0-9a-f]{32}(-[1-9]\d*)?")


class Letter(msgspec.Struct, kw_only=True):
    """What is known of a dead letter; the first line of its file."""

    id: str
    time: int  # when it was put away, wall clock microseconds
    sender: str = ""
    recipient: str = ""
    tenant: str = ""
    campaign: str = ""
    pool: str = ""
    klass: int = 1
    received: int = 0  # when the message was accepted, microseconds
    message_id: str = ""
    flags: int = 0
    size: int = 0
    attempts: int = 0
    code: int = 0
    enhanced: str = ""
    text: str = ""
    command: str = ""


def shown(letter: Letter) -> dict[str, Any]:
    """A letter in the words of the log: its class as text, a reply that there is not left out."""
    found: dict[str, Any] = msgspec.to_builtins(letter)
    found["class"] = Class(found.pop("klass")).name.lower()
    reply = ("code", "enhanced", "text", "command")
    return {key: value for key, value in found.items() if value or key not in reply}


class FullLetter(Letter, kw_only=True):
    """A dead letter with its content: what is needed to queue it again."""

    content: bytes = b""


Letters = list[Letter]
_decode = msgspec.json.Decoder(Letter).decode


class DeadLetters:
    """The folder; letters older than `keep_days` go at a `purge`."""

    def __init__(self, folder: Path, keep_days: int, clock: Clock | None = None) -> None:
        self.folder, self.keep_days = folder, keep_days
        self._clock = clock or SystemClock()

    def add(self, message: Message, recipient: Recipient, outcome: Outcome, content: bytes) -> str:
        """Put a letter away durably; its id. OSError if it could not be written."""
        id = id_text(message.id)
        id = f"{id}-{recipient.number}" if recipient.number else id
        letter = Letter(
            id=id, time=self._clock.wall_us(), sender=message.sender, recipient=recipient.address,
            tenant=message.tenant, campaign=message.campaign, pool=message.pool,
            klass=message.klass, received=message.received_us, message_id=message.message_id,
            flags=message.flags, size=len(content), attempts=recipient.attempts,
            code=outcome.code, enhanced=outcome.enhanced, text=outcome.text,
            command=outcome.command,
        )  # fmt: skip
        self._write(id, msgspec.json.encode(letter) + b"\n", content)
        return id

    def list(self) -> Letters:
        """All letters, oldest first; one that cannot be read says so in its text."""
        letters = [self._head(path) for path in self._paths()]
        return sorted(letters, key=lambda letter: (letter.time, letter.id))

    def show(self, id: str) -> dict[str, Any]:
        """What is known of a letter and the beginning of its header."""
        letter = self.load(id)
        found = shown(letter)
        del found["content"]
        header = letter.content.partition(b"\r\n\r\n")[0][:SHOWN]
        return found | {"header": header.decode("utf-8", "replace")}

    def load(self, id: str) -> FullLetter:
        """A letter with its content; ControlError if there is none or it cannot be read."""
        path = self._path(id)
        try:
            line, _, content = path.read_bytes().partition(b"\n")
            letter = _decode(line)
        except FileNotFoundError:
            raise ControlError(f"there is no dead letter {id}") from None
        except msgspec.DecodeError as error:
            raise ControlError(f"{path} cannot be read: {error}") from error
        if len(content) != letter.size:
            raise ControlError(f"{path} holds {len(content)} octets instead of {letter.size}")
        return FullLetter(**msgspec.structs.asdict(letter), content=content)

    def export(self, id: str) -> bytes:
        """The content as it was accepted: an .eml file."""
        return self.load(id).content

    def remove(self, id: str) -> None:
        """Remove a letter durably; ControlError if there is none."""
        try:
            self._path(id).unlink()
        except FileNotFoundError:
            raise ControlError(f"there is no dead letter {id}") from None
        self._sync_folder()

    def purge(self) -> int:
        """Remove the letters older than `keep_days` and what broken writes left; how many."""
        limit = self._clock.wall_us() - self.keep_days * DAY_US
        old = [path for path in self._paths() if self._head(path).time < limit]
        old += [path for path in self._paths(".tmp") if path.stat().st_mtime_ns // 1000 < limit]
        for path in old:
            path.unlink(missing_ok=True)
        if old:
            self._sync_folder()
        return len(old)

    def _paths(self, suffix: str = SUFFIX) -> Iterator[Path]:
        return self.folder.glob(f"*{suffix}")

    def _path(self, id: str) -> Path:
        if _ID.fullmatch(id) is None:
            raise ControlError(f"{id!r} is no dead letter's id: `mta queue dead list` has them")
        return self.folder / f"{id}{SUFFIX}"

    def _head(self, path: Path) -> Letter:
        try:
            with path.open("rb") as file:
                return _decode(file.readline(MAX_HEADER))
        except (OSError, msgspec.DecodeError) as error:
            text = f"cannot be read: {error}"
            return Letter(id=path.name.removesuffix(SUFFIX), time=self._changed(path), text=text)

    def _changed(self, path: Path) -> int:
        try:
            return path.stat().st_mtime_ns // 1000
        except OSError:
            return self._clock.wall_us()  # just removed

    def _write(self, id: str, head: bytes, content: bytes) -> None:
        if not self.folder.is_dir():
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _sync(self.folder.parent)
        path = self._path(id)
        draft = path.with_suffix(".tmp")
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(head)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)
        self._sync_folder()

    def _sync_folder(self) -> None:
        _sync(self.folder)


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
