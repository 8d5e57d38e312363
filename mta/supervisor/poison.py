"""Messages that end their worker: found by what was in its hands, set aside at the second crash.

A worker notes in the shared table which message it receives, loads or sends at this instant. When
it dies of a fault of its own (not of SIGKILL, which comes from outside), the supervisor remembers
what it had in hand; a message that was in hand at two crashes is given to the successor to be set
aside: copied to `HOME/corrupt/`, its recipients closed with Removed records, before the rest is
loaded.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from mta.errors import SpoolError
from mta.model import id_text
from mta.queues import ends
from mta.spool import Gone, Unreadable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mta._speedups.sharedtable import Hand, SharedTable
    from mta.model import Recipient
    from mta.queues.manager import QueueManager
    from mta.spool.shard import Shard

RECEIVE, LOAD, SEND = range(3)  # a worker's hands
CRASHES = 2  # at which a message is set aside
NO_COPY = 4  # from so many on its content is not read: that may be what ends the worker
OWN_FAULTS = {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE}
REASON = f"in hand at {CRASHES} crashes of its worker, set aside under corrupt/"
ABORT_ON = "MTA_TEST_ABORT_ON"  # tests: "send:SENDER", a sender whose mail ends the worker there
NAMES = {"receive": RECEIVE, "load": LOAD, "send": SEND}


def own_fault(code: int | None) -> bool:
    """Whether a process with this return code died of its own."""
    return code is not None and -code in OWN_FAULTS


def set_aside(
    manager: QueueManager, folder: Path, poison: Mapping[str, int]
) -> tuple[list[str], list[str]]:
    """Set the worker's own of these messages aside (id to crashes); those, and those not saved."""
    done: list[str] = []
    failed: list[str] = []
    for text, crashes in poison.items():
        id = bytes.fromhex(text)
        for shard in manager.shards.values():
            try:
                recipients = shard.recipients(id)
            except SpoolError:
                failed.append(text)
                continue
            if recipients and not _save(shard, recipients, folder, with_body=crashes < NO_COPY):
                failed.append(text)
                continue
            for recipient in recipients:
                ends.remove(manager, recipient, REASON)
            if recipients:
                done.append(text)
    return done, failed


def _save(shard: Shard, recipients: list[Recipient], folder: Path, *, with_body: bool) -> bool:
    """Copy a message; False when the disk does not take it: then it stays where it is."""
    message = recipients[0].message
    name = id_text(message.id)
    facts = {
        "problem": REASON,
        "sender": message.sender,
        "recipients": [recipient.address for recipient in recipients],
        "tenant": message.tenant,
        "campaign": message.campaign,
        "size": message.size,
    }
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _write(folder / f"{name}.json", msgspec.json.encode(facts) + b"\n")
        body = shard.body(message) if with_body else None
        if isinstance(body, Unreadable):
            return False
        if isinstance(body, bytes):
            _write(folder / f"{name}.eml", body)
    except OSError:
        return False
    return not isinstance(body, Gone) or isinstance(shard.body(message, anew=True), Gone)


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


class AbortingHand:
    """For tests: ends the process when a message of one sender gets into the hand."""

    def __init__(self, hand: Hand, sender: str, sender_of: Callable[[bytes], str]) -> None:
        self._hand, self._sender, self._sender_of = hand, sender, sender_of

    def hold(self, id: bytes) -> None:
        """Note it, and abort if it is the one."""
        self._hand.hold(id)
        if self._sender_of(id) == self._sender:
            os.abort()

    def drop(self) -> None:
        """Nothing is in hand."""
        self._hand.drop()


def hands(
    table: SharedTable, worker: int, sender_of: Callable[[bytes], str]
) -> list[Hand | AbortingHand]:
    """A worker's hands: RECEIVE, LOAD, SEND."""
    found: list[Hand | AbortingHand] = [table.hand(worker, number) for number in range(3)]
    where, _, sender = os.environ.get(ABORT_ON, "").partition(":")
    if where:
        place = NAMES[where]
        found[place] = AbortingHand(table.hand(worker, place), sender, sender_of)
    return found
