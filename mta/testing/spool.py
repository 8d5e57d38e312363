"""A real shard on a loop that is turned by hand: for tests of whatever stands on the spool."""

from __future__ import annotations

import heapq
from itertools import count
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from mta.model import IdGenerator, Message, Recipient
from mta.spool import Shard, ShardOptions
from mta.testing.clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mta.spool.committer import FrameLog

PATIENCE = 180.0  # seconds; only against hanging for ever


def descriptors() -> int:
    """How many descriptors this process has open."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


class ManualTimer:
    """A call that waits for its time."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """Do not call."""
        self.callback = None


class ManualLoop:
    """`call_later` and `call_soon_threadsafe` of a loop whose time is a FakeClock's."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self._timers: list[tuple[float, int, ManualTimer]] = []
        self._order = count()
        self._woken: SimpleQueue[Callable[[], None]] = SimpleQueue()

    def call_later(self, delay: float, callback: Callable[[], None], /) -> ManualTimer:
        """Call back once the clock has moved by `delay` seconds."""
        timer = ManualTimer(callback)
        heapq.heappush(self._timers, (self.clock.monotonic() + delay, next(self._order), timer))
        return timer

    def wake(self, callback: Callable[[], None]) -> None:
        """Call back soon; from any thread."""
        self._woken.put(callback)

    def run(self, *shards: Shard) -> None:
        """Run what is due until nothing is, and no shard is in the middle of a cycle."""
        while self._run_timer() or self._run_woken(any(shard.busy for shard in shards)):
            pass

    def advance(self, seconds: float, *shards: Shard) -> None:
        """Move the clock, then `run`."""
        self.clock.advance(seconds)
        self.run(*shards)

    def wait(self) -> None:
        """Run one call of another thread, which must come."""
        self._woken.get(timeout=PATIENCE)()

    def _run_timer(self) -> bool:
        if not self._timers or self._timers[0][0] > self.clock.monotonic() + 1e-9:
            return False
        callback = heapq.heappop(self._timers)[2].callback
        if callback is not None:
            callback()
        return True

    def _run_woken(self, block: bool) -> bool:
        try:
            callback = self._woken.get(block, timeout=PATIENCE if block else None)
        except Empty:
            return False
        callback()
        return True


class MemoryLog:
    """A log that keeps its frames in a list; `fail` is raised by `append` while it is set."""

    def __init__(self) -> None:
        self.frames: list[list[bytes]] = []
        self.fail: OSError | None = None
        self.safe = (0, 0)
        self.closed = False
        self.mark = b""

    @property
    def position(self) -> tuple[int, int]:
        """One segment, an offset for each frame."""
        return 1, len(self.frames)

    @property
    def lines(self) -> list[bytes]:
        """All records."""
        return [line for frame in self.frames for line in frame]

    def append(self, lines: list[bytes], mark: bytes = b"") -> tuple[int, int]:
        """Keep a frame, and the mark."""
        if self.fail is not None:
            raise self.fail
        if lines:
            self.frames.append(list(lines))
        self.mark = mark or self.mark
        return self.position

    def since(self, position: tuple[int, int]) -> Iterator[bytes]:
        """What `append` was given behind a position."""
        for lines in self.frames[position[1] :]:
            yield b"\n".join(lines) + b"\n"

    def applied(self, position: tuple[int, int]) -> None:
        """Note what recovery does not need."""
        self.safe = position

    @property
    def trouble(self) -> str | None:
        """None."""
        return None

    def retire(self) -> None:
        """Nothing is too old."""

    def close(self) -> None:
        """Note that it was closed."""
        self.closed = True


class SpoolBench:
    """A shard with its clock, loop, log and ids; `close` it."""

    def __init__(
        self,
        folder: Path,
        *,
        log: FrameLog | None = None,
        options: ShardOptions | None = None,
        number: int = 1,
    ) -> None:
        self.clock = FakeClock()
        self.loop = ManualLoop(self.clock)
        self.memory_log = MemoryLog()
        self.ids = IdGenerator(number, self.clock)
        self.folder = folder
        self.shard = Shard.open(
            folder / "spool" / f"shard-{number:04}",
            number,
            log or self.memory_log,
            options or ShardOptions(memory_bytes=16 << 20, min_free_bytes=0, segment_bytes=1 << 20),
            self.clock,
            self.loop.wake,
            self.loop.call_later,
        )
        self.shard.begin()

    def message(self, *addresses: str, body: bytes = b"Subject: x\r\n\r\nx\r\n") -> list[Recipient]:
        """The recipients of a new message that expires in a day; not accepted yet."""
        now = self.clock.wall_us()
        message = Message(self.ids.next(), "from@example.com", received_us=now, size=len(body))
        message.body = body
        expires = now + 86_400_000_000
        return [
            Recipient(message, number, address, due_us=now, expires_us=expires)
            for number, address in enumerate(addresses)
        ]

    def accept(self, recipients: list[Recipient]) -> list[BaseException | None]:
        """Accept a message and run the commit; what `done` was called with."""
        answers: list[BaseException | None] = []
        self.shard.accept(recipients[0].message, recipients, answers.append)
        self.run()
        return answers

    def stored(self, *addresses: str) -> list[Recipient]:
        """The recipients of a new message that is stored."""
        recipients = self.message(*addresses)
        answers = self.accept(recipients)
        assert answers == [None], answers
        return recipients

    def run(self) -> None:
        """Run what is due."""
        self.loop.run(self.shard)

    def commit(self) -> None:
        """Let the outcome interval pass and everything be committed."""
        self.loop.advance(0.06, self.shard)

    def close(self) -> BaseException | None:
        """Close the shard; the error it closed with."""
        answers: list[BaseException | None] = []
        self.shard.close_shard(answers.append)
        while not answers:
            self.loop.advance(10, self.shard)
        return answers[0]
