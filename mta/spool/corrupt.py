"""Records that cannot be read: copied to the folder `corrupt`, taken out, reported."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from mta._speedups import bodylog
from mta.errors import RecordError, SpoolError
from mta.model import Message, Where, id_text
from mta.spool import keys, record

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mta.spool.bodies import BodyStore
    from mta.spool.cycle import Cycle
    from mta.spool.store import Store

    OnCorrupt = Callable[[bytes, int, str], None]


class Corrupt:
    """Sets records aside; `report(id, rno, detail)` may log, and shares the removal's frame.

    Without a `report`, as during recovery, records stay where they are until they are met again.
    """

    def __init__(self, store: Store, bodies: BodyStore, cycle: Cycle, folder: Path) -> None:
        self._store, self._bodies, self._cycle, self._folder = store, bodies, cycle, folder
        self.report: OnCorrupt | None = None

    def recipient(self, message: Message, key: bytes, value: bytes, why: str, row: bytes) -> None:
        """Set one recipient of a readable message aside."""
        if self.report is None or not self._save(key, value, why):
            return
        message.open -= 1
        self._cycle.frame.touched[message.id] = message
        self._remove(key, why, [row] if row else [])

    def message(self, id: bytes, value: bytes, why: str, row: bytes = b"") -> None:
        """Set a whole message aside: envelope, recipients and body."""
        if self.report is None or not self._save(id, value, why):
            return
        found = self._store.records(id + b"\0", id + keys.END, 1 << 31)
        for key, record_value in found:
            if key[:16] == id and len(key) == keys.KEY_SIZE and self._save(key, record_value, why):
                rows = self._rows(key, record_value)
                self._remove(key, why, [*rows, row] if row[-20:] == key else rows)
        place, units = record.place(value) if len(value) > record.PLACED else (0, 1)
        size = units * bodylog.UNIT - bodylog.HEADER  # rounded up
        self._save_body(id, place)
        self._cycle.frame.changes.end(Message(id, "", size=size, place=place))

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

    def _save_body(self, id: bytes, place: int) -> None:
        try:
            body = self._bodies.salvage(id, place)
        except SpoolError:
            return
        if body is not None:
            self._write(f"{id_text(id)}.eml", body)

    def _write(self, name: str, content: bytes) -> bool:
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with open(self._folder / name, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            return False
        return True
