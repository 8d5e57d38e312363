"""The supervisor: `mta serve`.

It binds the listeners (one socket per TCP listener and worker), makes the shared table, starts the
workers and answers the command line by asking them. SIGTERM and SIGINT drain: no new mail, what is
in flight ends within `grace`; a second one ends at once. SIGHUP reloads.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from mta import sharedmem
from mta.config.load import changed_static, load, to_json
from mta.errors import ControlError, MailraceError
from mta.supervisor import journal, privileges
from mta.supervisor.activation import address_of
from mta.supervisor.control import ControlServer
from mta.supervisor.figures import Ledger
from mta.supervisor.health import Health
from mta.supervisor.home import Home
from mta.supervisor.notify import Notifier
from mta.supervisor.questions import Questions
from mta.supervisor.sockets import open_all
from mta.supervisor.state import NodeState
from mta.supervisor.workers import Orders, WorkerProcess

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator, Sequence

    from mta.config.schema import Config

TABLE_SLOTS = 65_536  # destinations that have limits at the same time


class Supervisor:
    """See the module."""

    def __init__(
        self, config: Config, path: Path | None, overrides: Sequence[tuple[str, str]]
    ) -> None:
        self.config, self.path, self.overrides = config, path, list(overrides)
        self.home = Home(Path(config.home), Path(config.spool), Path(config.log_dir))
        self.count = config.workers
        self.workers: list[WorkerProcess] = []
        self.sockets: list[list[socket.socket]] = []  # by listener, then worker
        self.started = time.time()
        self.ledger = Ledger()
        self.health = Health(self)
        self.http: socket.socket | None = None
        self.notifier = Notifier(os.environ)
        self.stopping = False
        self._stop = asyncio.Event()
        self._stops = 0

    async def run(self) -> int:
        """Serve until a signal; the exit code."""
        journal.install()
        who = privileges.identity(self.config.user, self.config.group)
        folders = (self.home.path, self.home.spool, self.home.log)
        if who is not None:
            privileges.make_folders(folders, who)
        with privileges.acting_as(who):
            if who is not None:
                privileges.check_access(who, folders)
            self.home.prepare()
        try:
            self.sockets, self.http = open_all(self.config, self.count)
            privileges.drop(who)
            return await self._serve()
        finally:
            self.home.release()

    async def _serve(self) -> int:
        self.state = NodeState(self.home.path / "state.db")
        self.table_fd, self.table = sharedmem.create(TABLE_SLOTS, self.count)
        self.wakers = [os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in range(self.count)]
        shards = self.home.shards(self.config.shards)
        self.shards = [shards[number :: self.count] for number in range(self.count)]
        self.questions = Questions(self)
        self.workers = [
            WorkerProcess(number, self._orders, self._notice, self._died, self._began)
            for number in range(self.count)
        ]
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_stop)
        loop.add_signal_handler(signal.SIGHUP, lambda: loop.create_task(self._on_hangup()))
        if self.http is not None:
            await self.health.server.start(self.http)
        for worker in self.workers:
            await worker.start()
        if not all(await asyncio.gather(*(w.wait_ready() for w in self.workers))):
            await self._end()
            return 1
        control = ControlServer(Path(self.config.control.socket), self.questions.answer)
        await control.start()
        keepers = [loop.create_task(worker.keep()) for worker in self.workers]
        self._announce()
        if self.notifier.watchdog:
            keepers.append(loop.create_task(self._tell_watchdog()))
        await self._stop.wait()
        self.stopping = True
        self.notifier.stopping()
        control.close()
        await self._drain()
        self.health.server.close()
        for keeper in keepers:
            keeper.cancel()
        self.state.close()
        return 0

    def _announce(self) -> None:
        """The first lines: where it listens and keeps things."""
        for listener, sockets in zip(self.config.listener, self.sockets, strict=True):
            name = sockets[0].getsockname()
            spec = listener.listen
            if not listener.endpoint.path and not listener.endpoint.port:
                spec = f"{spec.rpartition(':')[0]}:{name[1]}"
            print(f"listening on {spec}")
        print(f"spool {self.home.spool}")
        print(f"logs {self.home.log}")
        print(f"control socket {self.config.control.socket}")
        if self.http is not None:
            print(f"metrics http://{address_of(self.http)}/metrics")
        print(f"ready, {self.count} workers", flush=True)
        self.notifier.ready(f"taking mail, {self.count} workers")

    async def _tell_watchdog(self) -> None:
        """Keep the watchdog quiet while every worker reports."""
        while True:
            if not self.ledger.silent(time.monotonic()):
                self.notifier.alive()
            await asyncio.sleep(self.notifier.watchdog)

    # ------------------------------------------------------------------ workers

    def _orders(self, number: int) -> Orders:
        return Orders(
            number=number,
            workers=self.count,
            shards=self.shards[number],
            listeners=[by_worker[number].fileno() for by_worker in self.sockets],
            table=self.table_fd,
            wakers=self.wakers,
            config=msgspec.Raw(to_json(self.config)),
            acts=msgspec.Raw(msgspec.json.encode(self.state.acts())),
        )

    async def _notice(self, number: int, op: str, args: dict[str, Any]) -> None:
        if op == "swept":
            await self.questions.swept(number, args["act"])
        elif op == "figures":
            self.ledger.take(args["figures"]["pid"], args["figures"], time.monotonic())
        elif op == "fatal":
            print(args["text"], file=sys.stderr, flush=True)

    def _died(self, number: int) -> None:
        """A worker is gone: give back its leases and wake those who wait for one."""
        process = self.workers[number].process
        assert process is not None
        self.ledger.ended(process.pid)
        waiters = self.table.reclaim(number)
        for other, waker in enumerate(self.wakers):
            if waiters >> other & 1:
                os.eventfd_write(waker, 1)

    def _began(self, number: int, pid: int) -> None:
        self.ledger.began(pid)

    def processes(self) -> Iterator[tuple[str, int]]:
        """Name and id of every process of the server."""
        yield "supervisor", os.getpid()
        for worker in self.workers:
            if worker.process is not None and worker.process.returncode is None:
                yield f"worker {worker.number}", worker.process.pid

    async def ask(self, op: str, args: dict[str, Any] | None = None, part: Any = None) -> list[Any]:
        """The answers of all workers, by number; ControlError while one is restarting."""
        asked = [w.channel.request(op, args, part) for w in self.workers if w.channel is not None]
        return await asyncio.gather(*asked)

    # ------------------------------------------------------------------ reload and stop

    async def reload(self) -> list[str]:
        """Read the configuration again; the changed settings that need a restart."""
        new = load(self.path, self.overrides, self.config.home)
        static = changed_static(self.config, new)
        if static:
            raise ControlError(
                "nothing was reloaded, these settings need a restart: " + ", ".join(static)
            )
        await self.ask("reload", {"config": msgspec.Raw(to_json(new))})
        self.config = new
        return []

    async def _on_hangup(self) -> None:
        self.notifier.reloading()
        try:
            await self.reload()
        except MailraceError as error:
            print(f"reload refused, the old settings stay: {error}", file=sys.stderr, flush=True)
        else:
            print("reloaded", flush=True)
        self.notifier.ready(f"taking mail, {self.count} workers")

    def _on_stop(self) -> None:
        self._stops += 1
        if self._stops > 1:
            for worker in self.workers:
                worker.signal(signal.SIGKILL)
        self._stop.set()

    async def _drain(self) -> None:
        print(f"stopping, at most {self.config.grace:g} s for what is in flight", flush=True)
        for worker in self.workers:
            worker.stopping = True
            if worker.channel is not None:
                worker.channel.notify("drain", grace=self.config.grace)
        await self._end()

    async def _end(self) -> None:
        """Wait for the workers; those that do not end in time are killed (nothing is lost)."""
        ends = [w.process.wait() for w in self.workers if w.process is not None]
        for worker in self.workers:
            worker.stopping = True
            if not self._stop.is_set():
                worker.signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(asyncio.gather(*ends), self.config.grace + 10)
        except TimeoutError:
            for worker in self.workers:
                worker.signal(signal.SIGKILL)


def serve(config: Config, path: Path | None, overrides: Sequence[tuple[str, str]]) -> int:
    """Run the server in the foreground; the process's exit code."""
    return asyncio.run(Supervisor(config, path, overrides).run())
