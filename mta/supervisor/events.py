"""Gives a shard's records to the `event` hook, from its log: never from the way of the mail.

A cursor says how far the hook has come. It is kept in `HOME/hooks/`, so that a restart goes on
there; without one the hook begins at the log's end. A hook that is slow falls behind, nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
from itertools import islice
from typing import TYPE_CHECKING

import msgspec

from mta.errors import HookError
from mta.maillog import reader

if TYPE_CHECKING:
    from pathlib import Path

    from mta.hooks.runner import Hooks
    from mta.maillog.records import Fields
    from mta.maillog.writer import Position
    from mta.spool.shard import Shard

IDLE = 0.2  # seconds between looks for new records
FRAMES = 8  # frames read at once
SAVE_EVERY = 1.0  # seconds between two writings of the cursor


class EventPump:
    """One shard's records on their way to the hook."""

    def __init__(self, shard: Shard, log_dir: Path, folder: Path, hooks: Hooks) -> None:
        self.hooks = hooks
        self._shard = shard
        self._log = log_dir / f"shard-{shard.number:04}"
        self._file = folder / f"events-{shard.number:04}.json"
        self._at: Position = shard.log_end.position
        self._saved: Position | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin where the cursor is, or at the log's end as it is now."""
        self._load()
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """End between two records and keep the cursor."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await asyncio.to_thread(self._save)

    def forget(self) -> None:
        """There is no hook any more: a later one begins at the log's end."""
        if self._task is not None:
            self._task.cancel()
        self._file.unlink(missing_ok=True)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        save_at = loop.time() + SAVE_EVERY
        while True:
            synced = self._shard.log_end.position
            if synced == self._at or not await self._advance(synced):
                await asyncio.sleep(IDLE)
            if loop.time() >= save_at:
                await asyncio.to_thread(self._save)
                save_at = loop.time() + SAVE_EVERY

    async def _advance(self, synced: Position) -> bool:
        """Give the next frames; False when there are none."""
        frames = await asyncio.to_thread(self._read, synced)
        for end, records in frames:
            await self._give(records)
            self._at = end
        return bool(frames)

    async def _give(self, records: list[Fields]) -> None:
        for record in records:
            with contextlib.suppress(HookError):  # told by the runner
                await self.hooks.call("event", record)

    def _read(self, synced: Position) -> list[tuple[Position, list[Fields]]]:
        """The next frames, none that is not yet `synced`; each with its end."""
        frames = islice(reader.read_frames(self._log, self._at), FRAMES)
        found = [(end, records) for (_, end), records in frames if end <= synced]
        if not found and synced[0] > self._at[0]:  # the segment has ended, or was retired
            found.append(((synced[0], 0), []))
        return found

    def _load(self) -> None:
        """Go to the cursor, or make one here."""
        try:
            self._at = msgspec.json.decode(self._file.read_bytes(), type=tuple[int, int])
        except (OSError, msgspec.MsgspecError):
            self._save()

    def _save(self) -> None:
        at = self._at
        if at == self._saved:
            return
        try:
            self._file.parent.mkdir(exist_ok=True)
            new = self._file.with_suffix(".new")
            new.write_bytes(msgspec.json.encode(at))
            new.replace(self._file)
            self._saved = at
        except OSError:
            pass  # a full disk: the next time
