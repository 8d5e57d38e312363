"""Where the contents of messages are kept: an interface, and the store inside RocksDB."""

from __future__ import annotations

import threading
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Protocol

from mta.errors import SpoolDamagedError, SpoolError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rocksdict import WriteBatch

    from mta.spool.store import Store

Bodies = dict[bytes, bytes]
if TYPE_CHECKING:
    ReadDone = Callable[[Bodies, BaseException | None], None]


class BodyStore(Protocol):
    """Contents by message id; changes ride in the batch of the spool's other rows."""

    def put(self, batch: WriteBatch, id: bytes, body: bytes) -> None:
        """Store a body with the batch."""
        ...

    def delete(self, batch: WriteBatch, id: bytes) -> None:
        """Forget a body with the batch."""
        ...

    def get(self, id: bytes) -> bytes | None:
        """A body, or None."""
        ...

    def get_many(self, ids: list[bytes]) -> list[bytes | None]:
        """Bodies in the order of the ids."""
        ...


class RocksBodies:
    """Bodies in the column family `bodies`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def put(self, batch: WriteBatch, id: bytes, body: bytes) -> None:
        """Store a body with the batch."""
        batch.put(id, body, self._store.in_bodies)

    def delete(self, batch: WriteBatch, id: bytes) -> None:
        """Forget a body with the batch."""
        batch.delete(id, self._store.in_bodies)

    def get(self, id: bytes) -> bytes | None:
        """A body, or None."""
        return self._store.get(self._store.bodies, id)

    def get_many(self, ids: list[bytes]) -> list[bytes | None]:
        """Bodies in the order of the ids; one in a damaged block counts as gone."""
        try:
            return self._store.get_many(self._store.bodies, ids)
        except SpoolDamagedError:
            return [self._readable(id) for id in ids]

    def _readable(self, id: bytes) -> bytes | None:
        try:
            return self.get(id)
        except SpoolDamagedError:
            return None


class BodyReader:
    """A thread that reads bodies ahead, for any number of shards of a worker.

    Point reads hold the GIL, so a request is read in slices: the loop gets its turn between them.
    """

    SLICE = 8

    def __init__(self, wake: Callable[[Callable[[], None]], None]) -> None:
        self._wake = wake
        self._requests: SimpleQueue[tuple[BodyStore, list[bytes], ReadDone] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="mta-bodies", daemon=True)
        self._thread.start()

    def read(self, store: BodyStore, ids: list[bytes], done: ReadDone) -> None:
        """Read `ids`; `done(bodies, error)` runs on the loop, without the ids that have none."""
        self._requests.put((store, ids, done))

    def close(self) -> None:
        """End the thread after what was asked for."""
        self._requests.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (request := self._requests.get()) is not None:
            store, ids, done = request
            bodies, error = self._read(store, ids)
            self._wake(partial(done, bodies, error))

    def _read(self, store: BodyStore, ids: list[bytes]) -> tuple[Bodies, SpoolError | None]:
        bodies: Bodies = {}
        try:
            for at in range(0, len(ids), self.SLICE):
                part = ids[at : at + self.SLICE]
                found = zip(part, store.get_many(part), strict=True)
                bodies.update((id, body) for id, body in found if body is not None)
        except SpoolError as error:
            return bodies, error
        return bodies, None
