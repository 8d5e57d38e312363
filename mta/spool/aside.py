"""A thread that does slow things aside, one after the other, and tells the loop of each."""

from __future__ import annotations

import threading
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    Job = Callable[[], Callable[[], None]]


class Aside:
    """One thread: jobs in the order of `work`, each followed by what it gives back, on the loop."""

    def __init__(self, name: str, wake: Callable[[Callable[[], None]], None]) -> None:
        """`wake` is `loop.call_soon_threadsafe`."""
        self._wake = wake
        self._work: SimpleQueue[Job | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def work(self, job: Job) -> None:
        """Run `job` here, and what it gives back on the loop."""
        self._work.put(job)

    def close(self) -> None:
        """End the thread after what was asked for."""
        self._work.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (job := self._work.get()) is not None:
            try:
                done = job()
            except Exception as error:  # noqa: BLE001 - nothing more is done by a thread that died
                done = partial(_raise, error)
            self._wake(done)


def _raise(error: Exception) -> None:
    raise error
