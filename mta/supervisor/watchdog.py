"""Tells of an event loop that stood still: for how long, and where it was.

A thread looks whether the loop has come round. If it has not for `AFTER` seconds it notes where the
main thread is; when the loop goes on, that is told and for how long it stood. Where a C function
keeps the interpreter to itself the thread runs only afterwards.
"""

from __future__ import annotations

import sys
import threading
import traceback
from typing import TYPE_CHECKING

from mta.alarms import Trouble

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mta.clock import Clock

AFTER = 5.0  # seconds
EVERY = 1.0  # seconds between two looks of the thread
TOLD = 30.0  # seconds that it stays an alarm
FRAMES = 6  # of the stack that are told


class Watchdog:
    """Watches the loop of the thread that makes it; `beat` is to be called once a second."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._main = threading.get_ident()
        self._beat_at = self._looked_at = clock.monotonic()
        self._where = ""  # where the loop stands now
        self._ended = threading.Event()
        self._trouble: tuple[float, Trouble] | None = None  # until when it is told

    def start(self) -> None:
        """Begin to watch, from now on."""
        self._beat_at = self._looked_at = self._clock.monotonic()
        threading.Thread(target=self._run, name="mta-watchdog", daemon=True).start()

    def stop(self) -> None:
        """Watch no more."""
        self._ended.set()

    def beat(self) -> None:
        """The loop comes round."""
        now = self._clock.monotonic()
        stood, self._beat_at = now - self._beat_at, now
        where, self._where = self._where, ""
        if stood >= AFTER:
            text = f"the event loop stood still for {stood:.1f} s"
            text += f", in {where}" if where else ""
            self._trouble = now + TOLD, Trouble("stalled_loop", text)

    def check(self) -> Iterator[Trouble]:
        """The alarm `stalled_loop`."""
        if self._trouble is not None and self._clock.monotonic() < self._trouble[0]:
            yield self._trouble[1]

    def _run(self) -> None:
        while not self._ended.wait(EVERY):
            self.look()

    def look(self) -> None:
        """The thread's look."""
        now = self._clock.monotonic()
        late, self._looked_at = now - self._looked_at > EVERY + AFTER / 2, now
        if late or self._where or now - self._beat_at < AFTER:
            return  # where the thread was late itself, the whole process stood still
        frame = sys._current_frames().get(self._main)
        self._where = _stack(traceback.extract_stack(frame, FRAMES)) if frame else "unknown"


def _stack(frames: traceback.StackSummary) -> str:
    """The innermost frames, in one line."""
    places = [f"{f.name} ({f.filename.rpartition('/')[2]}:{f.lineno})" for f in reversed(frames)]
    return " < ".join(places)
