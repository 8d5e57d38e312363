"""Records that cannot be read: copied to the folder `corrupt`, taken out, reported.

Messages whose content is gone are copied here, too; the queue manager ends their recipients.
"""

from __future__ import annotations

import contextlib
import os
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from mta._speedups import bodylog
from mta.errors import RecordError, SpoolError
from mta.model import Message, Where, id_text
from mta.spool import keys, record
from mta.spool.doubts import FIRST, Gone, Unreadable
from mta.spool.segments import sync_folder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mta.spool.bodies import BodyStore
    from mta.spool.cycle import CallLater, Cycle
    from mta.spool.store import Store

    OnCorrupt = Callable[[bytes, int, str], None]

AGAIN = 5.0  # s until a message whose body cannot be read is looked at again
MOST = 1000  # messages that are looked at again; others when they are met again
READ = 1000  # records read at a time


class Corrupt:
    """Sets records aside; `report(id, rno, detail)` may log, and shares the removal's frame.

    Without a `report`, as during recovery, records stay where they are until they are met again.
    """

    def __init__(
        self,
        store: Store,
        bodies: BodyStore,
        cycle: Cycle,
        folder: Path,
        call_later: CallLater,
    ) -> None:
        self._store, self._bodies, self._cycle, self._folder = store, bodies, cycle, folder
        self._call_later = call_later
        self._waiting: set[bytes] = set()  # messages that are to be looked at again
        self.report: OnCorrupt | None = None

    def recipient(self, message: Message, key: bytes, value: bytes, why: str, row: bytes) -> None:
        """Set one recipient of a readable message aside."""
        if self.report is None or not self._save(key, value, why):
            return
        message.open -= 1
        self._cycle.frame.touched[message.id] = message
        self._remove(key, why, [row] if row else [])

    def message(self, id: bytes, value: bytes, why: str, row: bytes = b"") -> None:
        """Set a whole message aside: envelope, recipients and body; later if not now."""
        if self.report is not None and not self.take(id, value, why, row):
            self._later(id, value, why, row)

    def take(self, id: bytes, value: bytes, why: str, row: bytes = b"") -> bool:
        """As `message`, now; False where it cannot be read or the disk takes no copy."""
        place, units = record.place(value) if len(value) > record.PLACED else (0, 1)
        size = units * bodylog.UNIT - bodylog.HEADER  # rounded up
        body = self._bodies.salvage(id, place, size)
        if isinstance(body, Unreadable):
            return False
        try:
            found = self._store.records(id + b"\0", id + keys.END, 1 << 31)
        except SpoolError:
            return False
        if not (self._save_body(id, body) and self._save(id, value, why)):
            return False
        for key, record_value in found:
            if key[:16] != id or len(key) != keys.KEY_SIZE or self._cycle.pending(key)[0]:
                continue
            if self._save(key, record_value, why):
                rows = self._rows(key, record_value)
                self._remove(key, why, [*rows, row] if row[-20:] == key else rows)
        self._cycle.frame.changes.end(Message(id, "", size=size, place=place))
        return True

    def keep(self, message: Message, gone: Gone) -> Gone | Unreadable:
        """Copy what is left of a message whose content is gone; Unreadable: it is not copied.

        May be called in any thread.
        """
        name = f"{id_text(message.id)}.json"
        if (self._folder / name).exists():  # the first copy has the most recipients
            return gone
        body = self._bodies.salvage(message.id, message.place, message.size)
        if isinstance(body, Unreadable):
            return Unreadable(body.why, FIRST)
        try:
            facts = self._facts(message, gone.why)
        except SpoolError as error:
            return Unreadable(str(error), FIRST)
        facts["content"] = f"{id_text(message.id)}.eml" if body else "nothing is left of it"
        text = msgspec.json.encode(facts) + b"\n"
        if not (self._save_body(message.id, body) and self._write(name, text)):
            return Unreadable(f"{self._folder} cannot take what is left of it", FIRST)
        self._bodies.doubts.set_aside()
        return gone

    def _facts(self, message: Message, why: str) -> dict[str, object]:
        """What is known of a message, for people, and its records as they are."""
        numbers = range(message.total)
        wanted = [message.id, *(keys.recipient(message.id, number) for number in numbers)]
        records: dict[bytes, bytes | None] = {}
        for at in range(0, len(wanted), READ):
            part = wanted[at : at + READ]
            values = self._store.get_many(self._store.messages, part)
            records.update(zip(part, values, strict=True))
        found = {key: value for key, value in records.items() if value is not None}
        addresses = []
        for key, value in found.items():
            if len(key) == keys.KEY_SIZE:
                with contextlib.suppress(RecordError):
                    addresses.append(record.address(value))
        return {
            "shard": self._store.number, "problem": why, "sender": message.sender,
            "recipients": addresses, "tenant": message.tenant, "campaign": message.campaign,
            "size": message.size, "received": message.received_us,
            "message_id": message.message_id,
            "records": {key.hex(): value.hex() for key, value in found.items()},
        }  # fmt: skip

    def _later(self, id: bytes, value: bytes, why: str, row: bytes) -> None:
        """Look at a message again that may have a body: it must not be forgotten with the rest."""
        if id not in self._waiting and len(self._waiting) < MOST:
            self._waiting.add(id)
            self._call_later(AGAIN, partial(self._again, id, value, why, row))

    def _again(self, id: bytes, value: bytes, why: str, row: bytes) -> None:
        self._waiting.discard(id)
        if not self._cycle.closed:
            with contextlib.suppress(SpoolError):
                self.message(id, value, why, row)

    def _remove(self, key: bytes, why: str, rows: list[bytes]) -> None:
        """Take a recipient's rows out with the frame that the report goes into."""
        id, number = keys.parse_recipient(key)
        self._cycle.stats.corrupt += 1
        if self.report is not None:
            self.report(id, number, why)
        frame = self._cycle.frame
        frame.changes.remove(key, keys.fresh(key), keys.held(key), *rows)
        frame.changing[key] = None
        self._cycle.changed()

    def _rows(self, key: bytes, value: bytes) -> list[bytes]:
        """The rows with a time, where the recipient's own record tells it."""
        id, number = keys.parse_recipient(key)
        try:
            recipient = record.decode_recipient(Message(id, ""), number, value)
        except RecordError:
            return []
        rows = [keys.expiry(recipient.expires_us, key)]
        if recipient.where == Where.DUE:
            rows.append(keys.due(recipient.due_us, key))
        return rows

    def _save(self, key: bytes, value: bytes, why: str) -> bool:
        """Copy a record; False when the disk does not take it: then it stays where it is."""
        name = id_text(key[:16])
        if len(key) == keys.KEY_SIZE:
            name += f"-{keys.parse_u32(key[16:])}"
        text = {"shard": self._store.number, "key": key.hex(), "value": value.hex(), "problem": why}
        return self._write(f"{name}.json", msgspec.json.encode(text) + b"\n")

    def _save_body(self, id: bytes, body: bytes | None) -> bool:
        return body is None or self._write(f"{id_text(id)}.eml", body)

    def _write(self, name: str, content: bytes) -> bool:
        """Write a file that is whole or absent; whether the disk took it."""
        draft = self._folder / f"{name}.tmp"
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with open(draft, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            draft.rename(self._folder / name)
            sync_folder(self._folder)
        except OSError:
            return False
        return True
