"""The supervisor: `mta serve`.

It binds the listeners (one socket per TCP listener and worker), makes the shared table, starts the
workers and answers the command line by asking them. SIGTERM and SIGINT drain: no new mail, what is
in flight ends within `grace`; a second one ends at once. SIGHUP reloads, SIGUSR2 replaces the
workers one after another.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from mta import sharedmem
from mta.clock import SystemClock
from mta.config.load import changed_static, load, to_json
from mta.errors import ControlError, MailraceError
from mta.model import id_text
from mta.supervisor import journal, poison, privileges
from mta.supervisor.activation import address_of
from mta.supervisor.channel import report_error
from mta.supervisor.control import ControlServer
from mta.supervisor.faults import Faults
from mta.supervisor.figures import Ledger
from mta.supervisor.health import Health
from mta.supervisor.home import Home
from mta.supervisor.hookfile import HookFile
from mta.supervisor.inboxes import Inboxes
from mta.supervisor.notify import Notifier
from mta.supervisor.questions import Questions
from mta.supervisor.refusals import Refusals
from mta.supervisor.shards import Cause, Refused
from mta.supervisor.sockets import File, open_all, remove
from mta.supervisor.starting import TELL_EVERY, first_ready, take_home
from mta.supervisor.state import NodeState
from mta.supervisor.statekeeper import learn, mend
from mta.supervisor.workers import Orders, WorkerProcess, say

if TYPE_CHECKING:
    import socket
    from collections.abc import Coroutine, Iterator, Sequence

    from mta.config.schema import Config

REPAIR = 0.1  # seconds between attempts to mend the shared table
HOOKS_EVERY = 1.0  # seconds between looks at the hook file
TABLE_SLOTS = 65_536  # destinations that have limits at the same time


class Supervisor:
    """One node: `run` binds, starts the workers, and returns the exit code when they have ended."""

    def __init__(
        self, config: Config, path: Path | None, overrides: Sequence[tuple[str, str]]
    ) -> None:
        self.config, self.path, self.overrides = config, path, list(overrides)
        self.home = Home(Path(config.home), Path(config.spool), Path(config.log_dir))
        self.count = config.workers
        self.workers: list[WorkerProcess] = []
        self.sockets: list[list[socket.socket]] = []  # by listener, then worker
        self.files: list[File] = []  # of Unix sockets
        self.started = time.monotonic()
        self.ledger = Ledger()
        self.health = Health(self)
        self.http: socket.socket | None = None
        self.notifier = Notifier(os.environ)
        self.hook_file = HookFile(config.hooks.file)
        self.hooks = ""  # its text as the workers have it
        self.shards: list[list[int]] = [[] for _ in range(self.count)]  # by worker
        self.refusals = Refusals(say, partial(print, flush=True))
        self.stopping = False
        self.announced = False  # it has said that it is ready
        self._code = 0  # what it ends with
        self._keepers: list[asyncio.Task[None]] = []
        self._stop = asyncio.Event()
        self._replacing = asyncio.Lock()
        self._stops = 0

    async def run(self) -> int:
        """Serve until a signal; the exit code."""
        journal.install()
        who = privileges.identity(self.config.user, self.config.group)
        folders = [self.home.path, self.home.spool, self.home.log]
        if self.config.pickup.interval:
            folders.append(Path(self.config.pickup.folder))
        if who is not None:
            privileges.make_folders(folders, who)
        with privileges.acting_as(who):
            if who is not None:
                privileges.check_access(who, folders)
            await take_home(self.home, say, self.notifier.starting)
        try:
            owner = None if who is None else (who.uid, who.gid)
            self.sockets, self.http, self.files = open_all(self.config, self.count, owner)
            privileges.drop(who)
            return await self._serve()
        finally:
            remove(self.files)
            self.home.release()

    async def _serve(self) -> int:
        self._prepare()
        control = ControlServer(Path(self.config.control.socket), self.questions.answer, say)
        try:
            await control.start()
            self._keep(control.keep())
            if self.http is not None:
                await self.health.server.start(self.http)
            self._keep(self.health.watch())
            self._keep(self.inboxes.watch(self.sockets, self._waiting))
            await self._live()
            self.stopping = True
            self.notifier.stopping()
        finally:
            control.close()
        await self._drain()
        self.health.server.close()
        for keeper in self._keepers:
            keeper.cancel()
        self.inboxes.close()
        self.state.close()
        return self._code

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        """Have something done until the end."""
        task = asyncio.get_running_loop().create_task(work)
        task.add_done_callback(_ended)
        self._keepers.append(task)

    async def _live(self) -> None:
        """From the start of the workers to the signal that ends them."""
        self._tell_starting()
        await learn(self._read, self._stop, say)
        if self._stop.is_set():
            return
        for worker in self.workers:
            self._keep(worker.keep())
        self._keep(self._watch_hooks())
        self._keep(mend(self.state, say, partial(print, flush=True)))
        if not await first_ready(self.workers, self._stop, self._tell_starting):
            return
        self._announce()
        if self.notifier.watchdog:
            self._keep(self._tell_watchdog())
        await self._stop.wait()

    def _read(self) -> None:
        """In a thread: what is in force, and which shards there are."""
        self.state.load()
        if self.state.notice:
            say(self.state.notice)
        numbers = self.home.shards(self.config.shards)
        self.shards = [numbers[number :: self.count] for number in range(self.count)]

    def _prepare(self) -> None:
        """All that workers share, and the signals."""
        self.state = NodeState(self.home.path / "state.db")
        Faults("supervisor", self.home.log / "supervisor.err", say).watch(
            asyncio.get_running_loop()
        )
        self.table_fd, self.table = sharedmem.create(TABLE_SLOTS, self.count)
        self.wakers = [os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in range(self.count)]
        self.inboxes = Inboxes(self.table, self.count, SystemClock())
        self.hooks = self.hook_file.read()
        self.questions = Questions(self)
        self.workers = [
            WorkerProcess(number, self._orders, self._notice, self._died, self._began)
            for number in range(self.count)
        ]
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_stop)
        loop.add_signal_handler(signal.SIGHUP, lambda: loop.create_task(self._on_hangup()))
        loop.add_signal_handler(signal.SIGUSR2, lambda: loop.create_task(self._on_replace()))

    def _tell_starting(self) -> None:
        """For the service manager: why it is not ready."""
        self.notifier.starting("; ".join(self.health.reasons()), 3 * TELL_EVERY)

    def _give_up(self) -> None:
        """End a start that cannot come to anything before somebody has changed something."""
        if not self.announced:
            self._code = 1
            for worker in self.workers:
                worker.stopping = True
            self._stop.set()

    def _waiting(self) -> int:
        return sum(worker.waiting for worker in self.workers)

    def _announce(self) -> None:
        """The first lines: where it listens and keeps things."""
        self.announced = True
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
        ready = sum(worker.ready.is_set() for worker in self.workers)
        of = "" if ready == self.count else f" of {self.count}"
        print(f"ready, {ready}{of} workers", flush=True)
        self.notifier.ready(self.health.summary())

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
            inboxes=self.inboxes.to,
            inbox=self.inboxes.out[number],
            config=msgspec.Raw(to_json(self.config)),
            hooks=self.hooks,
        )

    async def _notice(self, number: int, op: str, args: dict[str, Any]) -> Any:
        if op == "news":
            acts, poisonous = self.state.acts(), self.state.poison(poison.CRASHES)
            return {"acts": msgspec.to_builtins(acts), "poison": poisonous}
        if op == "swept":
            await self.questions.acts.swept(number, args["act"], args["touched"])
        elif op == "figures":
            self.ledger.take(args["figures"]["pid"], args["figures"], time.monotonic())
        elif op == "set_aside":
            await self._set_aside(args["done"], args["failed"])
        elif op == "ready":
            await self._catch_up(number)
        elif op == "shards":
            self._take_shards(args["serving"], msgspec.convert(args["refused"], list[Refused]))
        elif op in ("fatal", "fault"):
            say(args["text"])
            if args.get("wrong"):
                self._give_up()
        return None

    def _take_shards(self, serving: list[int], refused: list[Refused]) -> None:
        self.refusals.take(serving, refused)
        if any(one.cause is Cause.VERSION for one in refused):
            self._give_up()

    async def _catch_up(self, number: int) -> None:
        """Tell a worker what has changed since its orders were written."""
        channel = self.workers[number].channel
        if channel is not None:
            with contextlib.suppress(ControlError):  # it has gone again
                config = msgspec.Raw(to_json(self.config))
                await channel.request("reload", {"config": config, "hooks": self.hooks})
                await self.questions.acts.tell()

    def _died(self, number: int) -> None:
        """A worker is gone: give back its leases and wake those who wait for one."""
        process = self.workers[number].process
        assert process is not None
        self.ledger.ended(process.pid)
        if poison.own_fault(process.returncode):
            self._blame(number)
        # point: the supervisor takes back what a worker held
        waiters = self.table.reclaim(number)
        if not self.stopping:
            self.inboxes.died(number)
        for other, waker in enumerate(self.wakers):
            if waiters >> other & 1:
                with contextlib.suppress(BlockingIOError):  # it has not slept since the last one
                    os.eventfd_write(waker, 1)
        self._repair()

    def _blame(self, number: int) -> None:
        """A worker crashed: remember what it had in hand."""
        ids = [id_text(id) for id in dict.fromkeys(self.table.in_hand(number))]
        self.state.crashed(ids, time.time_ns() // 1000)
        for id in ids:
            say(f"worker {number} had message {id} in hand when it crashed")

    async def _set_aside(self, done: list[str], failed: list[str]) -> None:
        await asyncio.to_thread(self.state.set_aside, done)
        for id in done:
            say(f"message {id} is set aside in {self.home.path / 'corrupt'}: {poison.REASON}")
        for id in failed:
            say(f"message {id} ends its worker and cannot be copied to corrupt/: it stays queued")

    def _repair(self) -> None:
        """Mend what a dead worker left in the shared table; sometimes others must move first."""
        if self.table.repair():
            asyncio.get_running_loop().call_later(REPAIR, self._repair)

    def _began(self, number: int, pid: int) -> None:
        self.ledger.began(pid)

    def processes(self) -> Iterator[tuple[str, int]]:
        """Name and id of every process of the server."""
        yield "supervisor", os.getpid()
        for worker in self.workers:
            if worker.process is not None and worker.process.returncode is None:
                yield f"worker {worker.number}", worker.process.pid

    async def ask(self, op: str, args: dict[str, Any] | None = None, part: Any = None) -> list[Any]:
        """The answers of the workers that have a shard; ControlError while one is restarting."""
        asked = [w for w in self.workers if w.channel is not None and not w.waiting]
        answers = (w.channel.request(op, args, part) for w in asked if w.channel is not None)
        return await asyncio.gather(*answers)

    async def tell(self, op: str, args: dict[str, Any]) -> list[Any]:
        """The answers of the workers that are ready; one that starts is told when it is."""
        ready = [w for w in self.workers if w.ready.is_set() and w.channel is not None]
        asked = [w.channel.request(op, args) for w in ready if w.channel is not None]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        for worker, answer in zip(ready, answers, strict=True):
            gone = worker.channel is None or worker.channel.closed.is_set()
            if isinstance(answer, BaseException) and not gone:
                raise answer
        return [answer for answer in answers if not isinstance(answer, BaseException)]

    # ------------------------------------------------------------------ reload and stop

    async def reload(self) -> list[str]:
        """Read the configuration again, and say in the server's output what came of it."""
        try:
            found = await self._reload()
        except (MailraceError, OSError) as error:
            say(f"reload refused, the old settings stay: {error}")
            raise
        print("reloaded", flush=True)
        return found

    async def _reload(self) -> list[str]:
        """The changed settings that need a restart: there are none, as those are refused."""
        new, old = load(self.path, self.overrides, self.config.home), self.config
        static = changed_static(old, new)
        if static:
            raise ControlError(
                "nothing was reloaded, these settings need a restart: " + ", ".join(static)
            )
        file = HookFile(new.hooks.file)
        texts = file.read(), self.hooks
        self.config, self.hooks = new, texts[0]  # for a worker that starts meanwhile, too
        try:
            await self.tell("reload", {"config": msgspec.Raw(to_json(new)), "hooks": texts[0]})
        except ControlError:
            self.config, self.hooks = old, texts[1]
            await self.tell("reload", {"config": msgspec.Raw(to_json(old)), "hooks": texts[1]})
            raise
        self.hook_file = file
        return []

    async def replace_workers(self, numbers: Sequence[int] = ()) -> list[int]:
        """Replace workers one after another, all if none is named; those that were.

        Their sessions end at their next boundary, new ones go to the other workers or wait.
        """
        if self._replacing.locked():
            raise ControlError("workers are being replaced already")
        async with self._replacing:
            for number in numbers or range(self.count):
                if self.stopping:
                    break
                if not await self.workers[number].replace(self.config.grace):
                    raise ControlError(f"worker {number} is not ready")
        return list(numbers or range(self.count))

    async def _on_replace(self) -> None:
        try:
            await self.replace_workers()
        except ControlError as error:
            say(f"not all workers were replaced: {error}")
        else:
            print("workers replaced", flush=True)

    async def _on_hangup(self) -> None:
        self.notifier.reloading()
        with contextlib.suppress(MailraceError, OSError):
            await self.reload()
        self.notifier.ready(self.health.summary())

    async def _watch_hooks(self) -> None:
        """Use a hook file that was changed, once every worker has found it good."""
        while True:
            await asyncio.sleep(HOOKS_EVERY)
            if not any(worker.ready.is_set() for worker in self.workers):
                continue  # there is nobody to say whether they are good
            if not self.hook_file.changed():
                continue
            try:
                text = self.hook_file.read()
                await self.tell("hooks.prepare", {"text": text})
                self.hooks = text
                await self.tell("hooks.use", {"text": text})
            except MailraceError as error:
                say(f"hooks not reloaded, the old ones stay: {error}")
            else:
                print(f"hooks reloaded from {self.hook_file.path}", flush=True)

    def _on_stop(self) -> None:
        self._stops += 1
        if self._stops > 1:
            for worker in self.workers:
                worker.signal(signal.SIGKILL)
        self._stop.set()

    async def _drain(self) -> None:
        if self.announced:
            print(f"stopping, at most {self.config.grace:g} s for what is in flight", flush=True)
        for worker in self.workers:
            worker.stopping = True
            if worker.channel is not None:
                worker.channel.notify("drain", grace=self.config.grace)
        await self._end()

    async def _end(self) -> None:
        """Wait for the workers; those that do not end in time are killed (nothing is lost)."""
        ends = asyncio.gather(*(worker.ended() for worker in self.workers))
        try:
            await asyncio.wait_for(ends, self.config.grace + 10)
        except TimeoutError:
            for worker in self.workers:
                worker.signal(signal.SIGKILL)


def _ended(task: asyncio.Task[None]) -> None:
    """Tell of an error that nobody expected: nobody waits for what is done until the end."""
    if not task.cancelled() and (error := task.exception()) is not None:
        report_error(error, "the supervisor")


def serve(config: Config, path: Path | None, overrides: Sequence[tuple[str, str]]) -> int:
    """Run the server in the foreground; the process's exit code."""
    return asyncio.run(Supervisor(config, path, overrides).run())
