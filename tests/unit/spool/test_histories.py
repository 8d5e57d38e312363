"""Random histories of a shard, with failures and restarts, against a plain dictionary."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mta.errors import SpoolBusyError, SpoolError
from mta.model import Where
from mta.spool import ShardOptions
from mta.spool.rocks import StallError
from mta.spool.store import Store
from mta.testing.spool import SpoolBench

if TYPE_CHECKING:
    from mta.model import Recipient

OPTIONS = ShardOptions(16 << 20, min_free_bytes=0, segment_bytes=64 << 10, segment_from=1)
WHERE = st.sampled_from([Where.DUE, Where.BACKLOG, Where.HELD])
INDEX = st.integers(0, 30)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("accept"), st.integers(1, 3), WHERE),
        st.tuples(st.just("close"), INDEX, WHERE),
        st.tuples(st.just("dsn"), INDEX, WHERE),
        st.tuples(st.just("defer"), INDEX, WHERE),
        st.tuples(st.just("move"), INDEX, WHERE),
        st.tuples(st.just("read"), INDEX, WHERE),
        st.tuples(st.just("pass"), st.sampled_from([0, 20, 60, 3000]), WHERE),
        st.tuples(st.just("turn"), INDEX, WHERE),
        st.tuples(
            st.just("fail"), st.sampled_from(["write", "sync", "lost", "log", "stall"]), WHERE
        ),
        st.tuples(st.just("heal"), INDEX, WHERE),
        st.tuples(st.just("restart"), INDEX, WHERE),
    ),
    min_size=12,
    max_size=60,
)


class Loss:
    """What is written meanwhile is lost, and syncs fail, until the database was reopened."""

    def __init__(self, store: Store) -> None:
        self._store, self._lost = store, 0

    def begin(self) -> None:
        vars(self._store).update(write=self._write, sync=self._sync, reopen=self._reopen)

    def _write(self, batch: object) -> None:
        self._lost += 1

    def _sync(self) -> None:
        if self._lost:
            raise SpoolError("I/O error")
        Store.sync(self._store)

    def _reopen(self) -> None:
        for name in ("write", "sync", "reopen"):
            vars(self._store).pop(name, None)
        self._store.reopen()


class History:
    """Plays steps and keeps what must be in the spool."""

    def __init__(self, folder: Path) -> None:
        self.bench = SpoolBench(folder, options=OPTIONS)
        self.open: list[Recipient] = []  # acknowledged, without a terminal record
        self.closed = self.logged = 0
        self.loss = Loss(self.bench.shard._store)
        self.earlier: list[bytes] = []  # records of earlier runs
        self.bodies: dict[bytes, bytes | None] = {}  # of the messages that were acknowledged

    def play(self, step: tuple[str, object, Where]) -> None:
        name, argument, where = step
        if name in ("close", "dsn", "defer", "move"):
            if self.open:
                assert isinstance(argument, int)
                recipient = self.open[argument % len(self.open)]
                getattr(self, name)(recipient, where)
        else:
            getattr(self, name if name != "pass" else "wait")(argument)

    def accept(self, count: int) -> None:
        body = os.urandom(3000)
        recipients = self.bench.message(*(f"{n}@x.example" for n in range(count)), body=body)
        try:
            self.bench.shard.accept(recipients[0].message, recipients, self._done(recipients))
        except SpoolBusyError:
            pass

    def _done(self, recipients: list[Recipient]) -> object:
        def done(error: BaseException | None) -> None:
            if error is None:
                self.open += recipients
                message = recipients[0].message
                self.bodies[message.id], message.body = message.body, None

        return done

    def close(self, recipient: Recipient, where: Where) -> None:
        self.open.remove(recipient)
        self.closed += 1
        self.bench.shard.close(recipient, b"end")

    def dsn(self, recipient: Recipient, where: Where) -> None:
        made = self.bench.message("sender@x.example", body=os.urandom(9000))
        self.open.remove(recipient)
        self.closed += 1
        self.bench.shard.close(recipient, b"end", (made[0].message, made, self._done(made)))

    def defer(self, recipient: Recipient, where: Where) -> None:
        recipient.attempts += 1
        self.logged += 1
        self.bench.shard.defer(recipient, b"later", where, self.bench.clock.wall_us() + 1000)

    def move(self, recipient: Recipient, where: Where) -> None:
        self.bench.shard.move(recipient, where)

    def read(self, argument: object) -> None:
        """Any read writes what may be written."""
        try:
            self.bench.shard.due(b"", self.bench.clock.wall_us(), 10)
            found, _ = self.bench.shard.scan(b"", 1000)
        except SpoolBusyError:
            return
        acknowledged = {id(r): r for r in self.open}
        for recipient in found:
            twin = acknowledged.get(id(recipient))
            assert twin is None or twin is recipient

    def wait(self, milliseconds: int) -> None:
        self.bench.loop.advance(milliseconds / 1000, self.bench.shard)

    def turn(self, argument: object) -> None:
        """One callback of the loop, so that calls fall between the halves of a cycle."""
        self.bench.loop._run_timer()

    def fail(self, what: str) -> None:
        error = StallError("stall") if what == "stall" else SpoolError("I/O error")

        def raise_error(*arguments: object) -> None:
            raise error

        store = self.bench.shard._store
        if what == "log":
            self.bench.memory_log.fail = OSError("No space left on device")
        elif what == "lost":
            if "reopen" not in vars(store):
                self.loss = Loss(store)
            self.loss.begin()
        else:
            setattr(store, "write" if what == "stall" else what, raise_error)

    def heal(self, argument: object = None) -> None:
        self.bench.memory_log.fail = None
        patched = vars(self.bench.shard._store)
        patched.pop("write", None)
        if "reopen" not in patched:  # what was lost stays lost until then
            patched.pop("sync", None)

    def settle(self) -> None:
        self.heal()
        for _ in range(6):
            self.bench.loop.advance(6, self.bench.shard)
        assert self.bench.shard.healthy

    def restart(self, argument: object) -> None:
        self.settle()
        clock = self.bench.clock
        assert self.bench.close() is None
        self.earlier += self.bench.memory_log.lines
        self.bench = SpoolBench(self.bench.folder, options=OPTIONS)
        self.bench.clock = self.bench.loop.clock = clock
        self.bench.ids.resume_after(self.bench.shard.newest_id() or bytes(16))
        known = {(r.message.id, r.number): r for r in self.bench.shard.scan(b"", 1000)[0]}
        self.compare(list(known.values()))
        for recipient in known.values():
            content = self.bench.shard.body(recipient.message)
            assert content == self.bodies[recipient.message.id]
        self.open = [known[r.message.id, r.number] for r in self.open]

    def compare(self, found: list[Recipient]) -> None:
        def state(r: Recipient) -> tuple[object, ...]:
            return (r.message.id, r.number, r.where, r.due_us, r.attempts, r.message.open)

        assert sorted(map(state, found)) == sorted(map(state, self.open))

    def check(self) -> None:
        """The end: rows, records and log agree with what was called."""
        self.restart(None)
        store = self.bench.shard._store
        rows = store.rows(b"", b"\xff", 10_000)
        assert sorted(row[-20:] for row in rows if row[:1] == b"e") == sorted(
            row[-20:] for row in rows if row[:1] != b"e"
        )
        assert len(rows) == 2 * len(self.open)
        messages = {r.message.id for r in self.open}
        shared = {r.message.id for r in self.open if r.message.total > 1}
        assert len(store.records(b"", b"\xff" * 21, 10_000)) == len(self.open) + len(shared)
        while not self.bench.shard._bodies.segments.counted:
            self.bench.loop.advance(0.1, self.bench.shard)
        self.check_bodies(messages)
        assert self.earlier.count(b"end") == self.closed
        assert self.earlier.count(b"later") == self.logged
        assert self.bench.close() is None

    def check_bodies(self, messages: set[bytes]) -> None:
        """Each is in one place, and no place has another."""
        store, table = self.bench.shard._store, self.bench.shard._bodies.segments.table
        in_rocksdb = {key for key, _ in store._slice(store.bodies, b"", b"\xff" * 21, 10_000)}
        live = sum(segment.live for segment in table.values())
        assert in_rocksdb <= messages
        assert live == len(messages) - len(in_rocksdb)


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=STEPS)
def test_what_was_acknowledged_is_there_whatever_fails(
    folders: Path, steps: list[tuple[str, object, Where]]
) -> None:
    with tempfile.TemporaryDirectory(dir=folders) as folder:
        history = History(Path(folder))
        for count in (1, 2, 3):
            history.accept(count)
        history.wait(0)
        for step in steps:
            history.play(step)
        history.check()
