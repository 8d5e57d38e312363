"""The thread that syncs: bodies, spool, then the log frame, all without the GIL (compiled)."""

from __future__ import annotations

import contextlib
import threading
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Protocol

from mta.spool import segments
from mta.spool.kept import pack, unpack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mta.clock import Clock
    from mta.spool.bodies import BodyStore
    from mta.spool.changes import Changes, Frame, Stored
    from mta.spool.segments import Run
    from mta.spool.store import Store


class FrameLog(Protocol):
    """The log that a shard writes to."""

    @property
    def position(self) -> tuple[int, int]:
        """Segment and offset of the log's end."""
        ...

    @property
    def mark(self) -> bytes:
        """The last mark that was synced, b"" if there is none."""
        ...

    def append(self, lines: list[bytes], mark: bytes = b"") -> tuple[int, int]:
        """Write and sync one frame; the position after it. On an OSError nothing was added.

        `mark` tells how far the spool was synced before; the log keeps it for the next start.
        """
        ...

    def since(self, position: tuple[int, int]) -> Iterator[bytes]:
        """The contents of the frames behind a position."""
        ...

    def applied(self, position: tuple[int, int]) -> None:
        """Everything before `position` is in the spool: it is not needed for recovery."""
        ...

    @property
    def trouble(self) -> str | None:
        """What goes wrong beside the records themselves, for people."""
        ...

    def retire(self) -> None:
        """Remove what is too old, now and then; raises nothing."""
        ...

    def close(self) -> None:
        """Close the segment; raises nothing."""
        ...


class Job:
    """What one cycle has to make durable, and how that went."""

    __slots__ = (
        "frame", "keep", "backlog", "accepted", "frames", "changes", "runs", "reopen", "close",
        "placed", "logged", "position", "packed", "drained", "frame_error", "error", "seconds",
    )  # fmt: skip

    def __init__(self, reopen: bool = False, close: bool = False) -> None:
        self.frame: Frame | None = None  # to be logged
        self.keep = False  # the frame is to be a row of the spool
        self.backlog: list[bytes] = []  # such rows, to be logged before it
        self.accepted: list[Stored] = []  # written, to be synced
        self.frames: list[Frame] = []  # written, to be synced
        self.changes: list[Changes] = []  # what was written, in order, for a second time
        self.runs: list[Run] = []  # bodies to be written and synced
        self.reopen = reopen
        self.close = close
        self.placed = False  # the bodies are on the disk
        self.logged = False  # the frame is in the log
        self.position: tuple[int, int] | None = None  # after it
        self.packed: bytes | None = None  # the frame as a row, where the log did not take it
        self.drained: tuple[int, int] | None = None  # after the backlog, which is in the log
        self.frame_error: Exception | None = None
        self.error: Exception | None = None
        self.seconds = 0.0

    @property
    def written(self) -> bool:
        """Whether there is something to sync."""
        return bool(self.accepted or self.changes)


class Committer:
    """Runs jobs one after the other and reports each on the loop."""

    def __init__(
        self,
        store: Store,
        bodies: BodyStore,
        log: FrameLog,
        clock: Clock,
        wake: Callable[[Callable[[], None]], None],
        finished: Callable[[Job], None],
    ) -> None:
        self._store, self._bodies, self._log, self._clock = store, bodies, log, clock
        self._wake, self._finished = wake, finished
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        name = f"mta-commit-{store.number}"
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin to take jobs; RuntimeError where no thread can be had."""
        self._thread.start()

    def abandon(self) -> None:
        """End without having closed anything; no job may follow."""
        self._jobs.put(None)

    def submit(self, job: Job) -> None:
        """Have a job done; `finished(job)` follows on the loop."""
        self._jobs.put(job)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            began = self._clock.monotonic()
            self._do(job)
            job.seconds = self._clock.monotonic() - began
            self._wake(partial(self._finished, job))
            if job.close:
                return
            self._log.retire()  # when nobody waits for a frame or a sync

    def _do(self, job: Job) -> None:
        try:
            if job.reopen:
                self._store.reopen()
            segments.write(job.runs)
            job.placed = True
            # point: bodies are synced, their envelopes are not
            if job.written:
                self._store.sync()
                # point: a commit is synced, its frame is not
        except Exception as error:  # noqa: BLE001 - the loop decides; a thread that dies hangs it
            job.error = error
            self._store.ballast.relieve(error)
        try:
            self._append(job)
        except Exception as error:  # noqa: BLE001 - as above
            job.frame_error = error
            self._store.ballast.relieve(error)
        if job.close:
            self._close()

    def _append(self, job: Job) -> None:
        """Log what is due; what the log does not take is packed, for the spool to keep it."""
        lines = [] if job.frame is None else job.frame.lines
        job.logged = not lines
        try:
            if job.backlog:
                job.drained = self._log.append(unpack(job.backlog), self._store.mark)
            if lines and not job.keep:
                job.position = self._log.append(lines, self._store.mark)
                job.logged = True
        finally:
            if not job.logged:
                job.packed = pack(lines)

    def _close(self) -> None:
        for part in (self._store, self._bodies, self._log):
            with contextlib.suppress(Exception):  # what was promised is synced
                part.close()
