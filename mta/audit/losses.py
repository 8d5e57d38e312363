"""What a shard has lost, in a file beside its log: known until an operator has accepted it.

The file, `LOG_DIR/shard-NNNN/losses.json`, lies outside of the spool, so that it is there when that
is gone. A loss is written down before anything hides it: the spool's position in the log, the next
mark.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import msgspec

from mta.errors import MailraceError

if TYPE_CHECKING:
    from pathlib import Path

NAME = "losses.json"


class Loss(msgspec.Struct):
    """One loss, found at a start or by `mta spool repair`."""

    found_us: int  # wall clock
    what: str  # for people
    since: tuple[int, int]  # the log is compared with the spool from this position on
    certain: bool = True  # False: only if the comparison finds something
    compared: bool = False  # with the log, to its end
    recipients: int = 0  # missing, each with its record
    accepted_us: int = 0
    accepted_by: str = ""
    reason: str = ""  # what whoever accepted it said


class Losses:
    """The losses of one shard; the file is read once, and written whole."""

    def __init__(self, folder: Path) -> None:
        """`folder` is that of the shard's log; MailraceError if the file cannot be understood."""
        self.path = folder / NAME
        self.all: list[Loss] = []
        try:
            self.all = msgspec.json.decode(self.path.read_bytes(), type=list[Loss])
        except FileNotFoundError:
            pass
        except (msgspec.MsgspecError, OSError) as error:
            raise MailraceError(
                f"{self.path} cannot be read: {error}. It says what the spool has lost: restore it"
                " from a copy, or rename it and run `mta spool check`"
            ) from None

    @property
    def pending(self) -> list[Loss]:
        """Those that nobody has accepted."""
        return [loss for loss in self.all if not loss.accepted_us]

    def found(self, loss: Loss) -> Loss:
        """Note a loss durably. One that is still being compared goes on, from the earlier place."""
        known = next((one for one in self.pending if not one.compared), None)
        if known is None:
            self.all.append(loss)
            known = loss
        known.since = min(known.since, loss.since)
        known.certain = known.certain or loss.certain
        self.save()
        return known

    def forget(self, loss: Loss) -> None:
        """It turned out to be none."""
        self.all.remove(loss)
        self.save()

    def accept(self, by: str, reason: str, now_us: int) -> list[Loss]:
        """Note that somebody has seen the losses whose extent is known; those."""
        accepted = [loss for loss in self.pending if loss.compared]
        for loss in accepted:
            loss.accepted_us, loss.accepted_by, loss.reason = now_us, by, reason
        if accepted:
            self.save()
        return accepted

    def save(self) -> None:
        """Write the file and sync it; OSError."""
        temporary = self.path.with_suffix(".tmp")
        with open(temporary, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(self.all)) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(self.path)
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def row(shard: int, loss: Loss) -> dict[str, Any]:
    """A loss as commands print it."""
    return {"shard": shard, **msgspec.to_builtins(loss)}


def said(shard: int, loss: Loss) -> str:
    """A loss in a line."""
    if loss.compared:
        count = (
            f"{loss.recipients} recipients are recorded as Lost"
            if loss.recipients
            else "nothing that its log names is missing, but what came at the very end may be"
        )
    else:
        count = (
            f"it is being compared with its log, {loss.recipients} recipients are missing so far"
        )
    return f"shard {shard} has lost mail: {loss.what}; {count}"
