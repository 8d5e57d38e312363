"""A worker process, and the only place that wires a shard to everything around it.

Started by the supervisor as `python -m mta.supervisor.worker FD`; over that socket it gets its
orders (numbers, descriptors, configuration), then requests.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import uvloop

from mta import sharedmem
from mta.alarms import LOOK_EVERY, Alarms, Trouble
from mta.clock import SteadyClock
from mta.config.load import from_json
from mta.delivery.dispatcher import Dispatcher
from mta.delivery.stuck import StuckPools
from mta.errors import ConfigError, ControlError, MailraceError, SpoolError
from mta.metrics import MAXIMA
from mta.model import IdGenerator, id_shard
from mta.queues.acts import Act, Acts, Select, Verb
from mta.queues.census import Census
from mta.queues.loader import Loader
from mta.queues.manager import QueueManager
from mta.queues.ports import Ports
from mta.queues.stuck import StuckRows
from mta.queues.sweeper import Sweeper
from mta.queues.timekeeper import Timekeeper
from mta.queues.views import Views
from mta.reception.budget import Budget
from mta.reception.members import admission
from mta.reception.pickup import Folder
from mta.reception.reception import Reception
from mta.shaping.gate import Gate
from mta.smtpd.handover import Handover
from mta.smtpd.listener import Listener
from mta.smtpd.service import Service
from mta.supervisor import journal, poison, wiring
from mta.supervisor.channel import Channel
from mta.supervisor.failures import Failures
from mta.supervisor.faults import Faults
from mta.supervisor.figures import REPORT_EVERY
from mta.supervisor.follow import Followers
from mta.supervisor.hooks import Loader as HookLoader
from mta.supervisor.hooks import WorkerHooks
from mta.supervisor.losses import LossWatch
from mta.supervisor.paths import Paths
from mta.supervisor.pickup import Pickup
from mta.supervisor.shards import Opened, Shards, open_shard
from mta.supervisor.watchdog import Watchdog
from mta.supervisor.workers import Orders

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mta.config.schema import Config
    from mta.delivery.dispatcher import Missed
    from mta.hooks.runner import Hooks
    from mta.maillog.records import RecordWriter
    from mta.model import Message
    from mta.spool.doubts import Found
    from mta.spool.shard import Shard

SWEEP_POOLS = 10.0  # seconds between looks for pools that have nothing left
# Objects before a look for cycles, looks before an elder generation: with 10,000 destinations
# the collector took a quarter of the CPU by Python's 700, 10 and 10.
COLLECT = (20_000, 10, 10)


class Worker:
    """One worker's parts; `run` is its life."""

    def __init__(self, orders: Orders, channel: Channel) -> None:
        self.orders, self.channel = orders, channel
        self.config: Config = from_json(bytes(orders.config))
        self.loop = asyncio.get_running_loop()
        self.clock = SteadyClock()
        self.stopped = asyncio.Event()
        self.faults = Faults(
            f"worker {orders.number}",
            Path(self.config.log_dir) / f"worker-{orders.number}.err",
            lambda line: channel.notify("fault", text=line),
        )
        self.faults.watch(self.loop)
        self.alarms = Alarms(self.clock, self._say)
        self.listeners: list[Listener] = []
        self.hook_loader = HookLoader(self.clock)
        self.prepared: tuple[str, Hooks | None] = "", None  # text of a hook file, and its hooks
        self.shards = Shards(orders.shards, self._open_shard, self._tell_shards, self._fault)
        self.opened: list[Opened] = []  # those that serve, the home first
        self.losses = LossWatch(
            Path(self.config.log_dir),
            self.clock,
            lambda e: self._fault(e, "comparing with the log"),
        )
        self.serving = False  # wired, so that it can be asked

    async def start(self) -> None:
        """Open the shards, recover, wire, accept; where no shard opens, wait for one."""
        config, orders = self.config, self.orders
        self._report()
        hooks = await self.hook_loader.load(config, orders.hooks)
        self.table = sharedmem.attach(orders.table)
        self.gate = Gate(
            self.table, orders.number, wiring.limits(config), self.clock, orders.wakers
        )
        self.paths = Paths(config, self.gate, self.clock, self.loop)
        self.acts = Acts(self.paths.site_of)
        self.hands = poison.hands(self.table, orders.number, self._sender_of)
        self.budget = Budget(
            self.table, orders.number, *wiring.budget(config), self.loop.call_later
        )
        self.ids = {number: IdGenerator(number, self.clock) for number in orders.shards}
        self.failures = Failures(config, self.ids, self.clock, self._content_of)
        self.opened = await self.shards.first()
        news = await self.channel.request("news")  # as they are now, however long that took
        self._wire_manager()
        self._wire_delivery()
        self._wire_queues(news["poison"])
        self.watchdog = Watchdog(self.clock)
        self.alarms.checks += [
            self._troubles_of_shards,
            self.losses.troubles,
            StuckRows(self.manager, self.loaders.values()),
            StuckPools(self.dispatcher),
            self.watchdog.check,
        ]
        self.hooks = WorkerHooks(self)
        self.hooks.use(hooks, config)  # before the loop's next turn, in which loaders read
        self._wire_reception()
        self.sweeper.begin(self._learn(msgspec.convert(news["acts"], list[Act])))
        self.shards.join(self._join)
        self.loop.add_reader(orders.wakers[orders.number], self._woken)
        self.loop.call_later(SWEEP_POOLS, self._housekeeping)
        self.loop.call_later(LOOK_EVERY, self._look_for_troubles)
        self.watchdog.start()
        # What lives now lives to the end: keep it out of every later collection.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*COLLECT)
        self.serving = True
        self._tell_figures()  # who asks for readiness then is told of losses, too
        self.channel.notify("ready")

    def _wire_manager(self) -> None:
        self.manager = QueueManager(
            [opened.shard for opened in self.opened],
            [opened.lines for opened in self.opened],
            wiring.queue_settings(self.config),
            Ports(
                clock=self.clock,
                random=random.random,
                peek=self.paths.peek,
                resolve=self.paths.resolve,
                wake=lambda ready: None,  # the dispatcher's, once there is one
                failed=self.failures.failed,
                bury=self.failures.bury,
                egress=self.paths.egress,
                memory=self.budget.count,
                take_memory=self.budget.take,
                receiving=self.hands[poison.RECEIVE],
                loading=self.hands[poison.LOAD],
            ),
            self.acts,
        )
        self.manager.missing.update(self.shards.refused)

    def _wire_delivery(self) -> None:
        self.dispatcher = Dispatcher(
            self.loop,
            self.clock,
            self.manager,
            self.gate,
            self.paths.hosts,
            targets=self.paths.targets,
            connection=lambda *path: self.paths.connection(self.dispatcher, *path),
            read_bodies=self._read_bodies,
            no_overlap=self.paths.no_overlap,
            hand=self.hands[poison.SEND],
        )
        self.manager.ports.wake = self.dispatcher.wake

    def _wire_queues(self, poisonous: dict[str, int]) -> None:
        self.poison = poisonous
        self.loaders: dict[int, Loader] = {}
        for opened in self.opened:
            self._wire_shard(opened)
        self.manager.on_backlog = self._backlogged
        self.manager.behind = self.loaders[self.manager.home.number].lanes
        self.followers = Followers(self.manager, Path(self.config.log_dir))
        self.sweeper = Sweeper(self.manager, self.paths.site_of, self.paths.learn_site, self._swept)
        self.views = Views(self.manager, self.paths.site_of)
        self.census = Census(self.manager, self.loop.call_later)
        self.census.begin()
        self._set_aside()
        self.timekeeper = Timekeeper(self.manager, self.clock.look, self.loop.call_later, self._say)
        for opened in self.opened:
            self._load(opened)
        self.timekeeper.start()

    def _wire_shard(self, opened: Opened) -> None:
        """Its loader, and the records that recovery found missing."""
        shard = opened.shard
        ids = self.ids[shard.number]
        if opened.newest:
            ids.resume_after(opened.newest)
        loader = Loader(shard, self.manager, self.loop.call_later, ids.next())
        self.loaders[shard.number] = loader
        loader.held = self.dispatcher.held
        shard.on_hold = self._hold
        for id, line in opened.receptions:
            shard.log(line, logged=id)
        for line in opened.found:
            shard.log(line)
        for note in opened.notes:
            self.channel.notify("fault", text=note)
        shard.on_corrupt = self._log_corrupt(shard, opened.lines)

    def _load(self, opened: Opened) -> None:
        """Set aside what is torn, then bring in the rest."""
        for message in opened.torn:
            self._set_torn_aside(opened, message)
        loader = self.loaders[opened.shard.number]
        self.timekeeper.join(loader)
        loader.start()
        self.losses.begin(opened)

    def _set_torn_aside(self, opened: Opened, message: Message) -> None:
        shard, aside = opened.shard, False
        with contextlib.suppress(SpoolError):  # the loader meets it again
            aside = shard.set_aside(message, "its content is torn: stored half at a crash")
            if not aside:  # it is mail like any other, until its content is read
                line = opened.lines.reception(message, shard.recipients(message.id))
                shard.log(line, logged=message.id)

    def _join(self, opened: Opened) -> None:
        """Serve a shard that could not be opened at the start."""
        opened.shard.require_free(self.config.disk.min_free)
        self.opened.append(opened)
        self.manager.add_shard(opened.shard, opened.lines)
        self._wire_shard(opened)
        self._set_aside()
        self.acts.cover([opened.shard])
        self.sweeper.extend(opened.shard)
        self.census.recount()
        self.hooks.joined(opened.shard)
        self._load(opened)

    def _wire_reception(self) -> None:
        number = self.orders.number
        places = wiring.NodeSessions(self.table, number)
        limits = wiring.session_limits(self.config, places)
        self.service = Service(self.loop, limits, worker=number)
        self.budget.on_tight = self.service.read_small
        inboxes = [socket.socket(fileno=fd) for fd in self.orders.inboxes]
        inbox = socket.socket(fileno=self.orders.inbox)
        self.handover = Handover(self.table, number, inboxes, inbox, self.clock)
        pairs = zip(self.config.listener, self.orders.listeners, strict=True)
        for place, (options, fd) in enumerate(pairs):
            listener = Listener(
                wiring.listener_options(self.config, options),
                [socket.socket(fileno=fd)],
                reception=self._reception(options),
                service=self.service,
                loop=self.loop,
                number=place,
                handover=self.handover,
            )
            listener.start()
            self.listeners.append(listener)
        self.handover.start(
            self.loop, lambda place, *one: self.listeners[place].take(*one), self.service.starve
        )
        self.pickup: Pickup | None = None
        if self.orders.number == 0 and self.config.pickup.interval:
            self.pickup = Pickup(
                Folder(Path(self.config.pickup.folder)),
                self.config.pickup.interval,
                self._reception(wiring.pickup_listener(self.config)),
                self.config.smtpd.max_size,
                self.loop,
            )
            self.pickup.start()

    def _reception(self, options: Any) -> Reception:
        judged = wiring.reception_options(self.config, options)
        policy = wiring.policy(self.config, options)
        login, handler = wiring.handler_members(options)
        members = admission(
            judged,
            policy,
            self.clock,
            self.budget,
            store=self.manager.home,
            login=login,
            handler=handler,
            before=self.hooks.before,
        )
        return Reception(
            judged,
            policy,
            members,
            self.ids[self.manager.home.number],
            self.manager.submit,
            self.manager.home.log,
            self.clock,
            self.budget,
            records=self.opened[0].lines,
            hand=self.hands[poison.RECEIVE],
        )

    # ------------------------------------------------------------------ shards

    def _open_shard(self, number: int) -> Opened:
        """In a thread."""
        count = len(self.orders.shards) * self.orders.workers
        return open_shard(
            self.config, number, count, self.clock, self.loop, self.failures.failed_with
        )

    def _tell_shards(self) -> None:
        refused = msgspec.to_builtins(list(self.shards.refused.values()))
        self.channel.notify("shards", serving=self.shards.serving, refused=refused)

    def _fault(self, error: Exception, what: str = "opening a shard") -> None:
        self.channel.notify("fault", text=self.faults.record(error, what))

    # ------------------------------------------------------------------ between the parts

    def _say(self, line: str) -> None:
        """A line for the operator."""
        self.channel.notify("fault", text=f"worker {self.orders.number}: {line}")

    def _sender_of(self, id: bytes) -> str:
        message = self.manager.shards[id_shard(id)].message(id)
        return "" if message is None else message.sender

    def _set_aside(self) -> None:
        """Take messages out of the queue that ended their worker twice."""
        folder = Path(self.config.home) / "corrupt"
        done, failed = poison.set_aside(self.manager, folder, self.poison)
        if done or failed:
            self.census.recount()
            self.channel.notify("set_aside", done=done, failed=failed)

    def _backlogged(self, recipient: Any) -> None:
        shard = self.manager.shard_of(recipient.message)
        self.loaders[shard.number].backlogged(recipient)

    def _content_of(self, message: Message) -> Found:
        """The content, wherever it is, or what stands in its way."""
        if message.body is not None:
            return message.body
        return self.manager.shard_of(message).body(message)

    def _read_bodies(self, messages: list[Message], done: Callable[[Missed], None]) -> None:
        """Contents from their shards, in the reader thread; `done` tells of those not read."""
        by_shard: dict[int, list[Message]] = {}
        for message in messages:
            by_shard.setdefault(self.manager.shard_of(message).number, []).append(message)
        left = len(by_shard)
        unread: Missed = {}

        def arrived(found: dict[bytes, Found]) -> None:
            nonlocal left
            for message in messages:
                body = found.get(message.id)
                if isinstance(body, bytes):
                    self.manager.keep_body(message, body)
                elif body is not None:
                    unread[message.id] = body
            left -= 1
            if not left:
                done(unread)

        for number, asked in by_shard.items():
            self.manager.shards[number].read_bodies(asked, arrived)

    def _hold(self) -> None:
        """Begin nothing while a shard could not keep what becomes of it."""
        held = any(opened.shard.hold is not None for opened in self.opened)
        if held is not self.dispatcher.held:
            self.dispatcher.hold(held)
            for loader in self.loaders.values():
                loader.held = held

    def _woken(self) -> None:
        os.eventfd_read(self.orders.wakers[self.orders.number])
        self.dispatcher.released()

    def _learn(self, acts: list[Act]) -> list[Act]:
        """Take over the node's acts; those that are new."""
        new = self.acts.replace(acts)
        self.acts.cover(self.manager.shards.values())
        self.hooks.compose()
        return new

    def _swept(self, sequence: int, touched: int) -> None:
        self.channel.notify("swept", act=sequence, touched=touched)

    def _report(self) -> None:
        """Tell the supervisor what was counted: it keeps this when we are gone."""
        if not self.stopped.is_set():
            self.loop.call_later(REPORT_EVERY, self._report)
            if self.serving:
                self.handover.sign()
                self._hold()
            self._tell_figures()

    def _tell_figures(self) -> None:
        self.channel.notify("figures", figures=self.status())

    def _log_corrupt(self, shard: Shard, lines: RecordWriter) -> Callable[[bytes, int, str], None]:
        """What to do when a record was set aside: the recipient is logged as Removed."""

        def report(id: bytes, number: int, detail: str) -> None:
            shard.log(lines.set_aside(id, number, detail))
            self.census.recount()

        return report

    def _housekeeping(self) -> None:
        self.dispatcher.sweep()
        self.failures.purge()
        self.loop.call_later(SWEEP_POOLS, self._housekeeping)

    def _troubles_of_shards(self) -> Iterator[Trouble]:
        for opened in self.opened:
            yield from opened.shard.troubles()

    def _look_for_troubles(self) -> None:
        self.loop.call_later(LOOK_EVERY, self._look_for_troubles)
        self.watchdog.beat()
        self.alarms.look()

    # ------------------------------------------------------------------ requests

    async def answer(self, op: str, args: dict[str, Any], part: Callable[[Any], None]) -> Any:
        """One request of the supervisor."""
        if op == "status":
            return self.status()
        if op == "queue.list":
            return await self.views.listing(msgspec.convert(args["select"], Select), args["limit"])
        if op == "queue.show":
            return self._show(args["id"])
        if op == "queue.top":
            return await self.views.top(args["by"])
        if op == "acts":
            return self._take_acts(msgspec.convert(args["acts"], list[Act]))
        if op == "act.count":
            act, ends = msgspec.convert(args["act"], Act), set(args["ends"])
            return await self.views.reached(act, ends, self.paths.learn_site)
        if op == "act.touched":
            return self.acts.all_touched()
        if op == "act.log":
            return await self._log_act(args)
        if op == "reload":
            config = from_json(msgspec.json.encode(args["config"]))
            return self._reload(config, await self.hook_loader.load(config, args["hooks"]))
        if op == "hooks.prepare":
            self.prepared = args["text"], await self.hook_loader.load(self.config, args["text"])
            return None
        if op == "hooks.use":
            return await self._use_hooks(args["text"])
        if op == "spool.accept":
            accepted = self.losses.accept(args["by"], args["reason"])
            self._tell_figures()
            return accepted
        if op == "message.follow":
            return await self.followers.follow(args["id"], part)
        if op == "dead.requeue":
            home = self.manager.home.number
            return await self.failures.requeue(args["id"], home, self.manager.submit)
        if op == "drain":
            return await self._drain(args["grace"], away=args.get("away", False))
        raise ControlError(f"a worker knows no request {op!r}")

    def status(self) -> dict[str, Any]:
        """This worker's figures; numbers are summed over workers by the supervisor."""
        about = {
            "number": self.orders.number,
            "pid": os.getpid(),
            "shards_serving": len(self.opened),
            "shards_refused": len(self.shards.refused),
        }
        return about | self._figures() if self.serving else about

    def _figures(self) -> dict[str, Any]:
        shards: dict[str, Any] = {}
        for opened in self.opened:
            stats, number = msgspec.to_builtins(opened.shard.stats()), opened.shard.number
            for at, count in enumerate(stats.pop("commit_times")):
                stats[f"commit_time_{at}"] = count
            for name, value in stats.items():
                old = shards.get(name, 0)
                shards[name] = max(old, value) if name in MAXIMA else old + value
            shards[f"log_segment:{number}"], shards[f"log_offset:{number}"] = (
                opened.shard.log_end.position
            )
        return {
            "sessions": sum(len(listener.sessions) for listener in self.listeners),
            "sessions_accepted": self.service.accepted,
            "sessions_refused": self.service.refused,
            "sessions_timed_out": self.service.timed_out,
            "accept_pauses": self.service.starved,
            "sessions_handed_over": self.handover.passed,
            "content_waits": self.budget.waits,
            "contents_dropped": self.budget.dropped,
            **self.manager.figures(),
            **self.dispatcher.figures(),
            "pickup_files": self.pickup.taken if self.pickup else 0,
            "pickup_bad": self.pickup.bad if self.pickup else 0,
            **self.census.figures(self.dispatcher.flying),
            **shards,
            **self.alarms.figures(),
            **self.losses.figures(),
            "oldest": self.census.oldest_us(),
            "problem": next((o.shard.problem for o in self.opened if o.shard.problem), None),
        }

    def _show(self, id: str) -> dict[str, Any]:
        found = self.views.show(id)
        if found is None:
            raise ControlError(f"{id} is not queued; `mta logs find --id {id}` tells what became")
        return found

    def _take_acts(self, acts: list[Act]) -> None:
        """Obey a new list of acts from now on."""
        new = self._learn(acts)
        self.sweeper.begin(new)
        if any(act.verb is Verb.FLUSH for act in new):
            self.dispatcher.retry_now()

    async def _log_act(self, fields: dict[str, Any]) -> None:
        """Log an act of the node; it is synced at the end."""
        self.manager.home.log(self.opened[0].lines.act(**fields))
        synced = asyncio.Event()
        self.manager.home.when_durable(lambda error: synced.set())
        await synced.wait()

    async def _use_hooks(self, text: str) -> None:
        """Change over to the hooks of a text, which every worker has found good."""
        (prepared, hooks), self.prepared = self.prepared, ("", None)
        if prepared != text:  # this worker was starting when the others prepared
            hooks = await self.hook_loader.load(self.config, text)
        self.hooks.use(hooks, self.config)
        for listener, options in zip(self.listeners, self.config.listener, strict=True):
            session = wiring.listener_options(self.config, options)
            listener.reload(session, self._reception(options))
        if self.pickup is not None:
            dropped = self._reception(wiring.pickup_listener(self.config))
            self.pickup.reload(dropped, self.config.smtpd.max_size)

    def _reload(self, config: Config, hooks: Hooks | None) -> None:
        """Use other settings from now on; all of them are built before any takes effect."""
        settings = wiring.queue_settings(config)
        self.config, old = config, self.config
        try:
            for options in config.listener:
                wiring.policy(config, options)
            parts = [wiring.listener_options(config, options) for options in config.listener]
            self.paths.reload(config)
        except MailraceError:
            self.config = old
            raise
        self.manager.ports.egress = self.paths.egress
        self.manager.settings.retries = settings.retries
        self.manager.settings.per_transaction = settings.per_transaction
        self.manager.settings.delay_after = settings.delay_after
        self.manager.settings.delay_unasked = settings.delay_unasked
        self.failures.reload(config)
        self.hooks.use(hooks, config)
        receptions = [self._reception(options) for options in config.listener]
        self.budget.resize(*wiring.budget(config))
        self.service.limits.reload(wiring.session_limits(config))
        for listener, reception, part in zip(self.listeners, receptions, parts, strict=True):
            listener.reload(part, reception)
        if self.pickup is not None:
            dropped = self._reception(wiring.pickup_listener(config))
            self.pickup.reload(dropped, config.smtpd.max_size)
        for opened in self.opened:
            opened.shard.require_free(config.disk.min_free)
        self.gate.reload(wiring.limits(config))
        self.dispatcher.renew(self.paths.gone)
        self.dispatcher.reloaded()

    async def _drain(self, grace: float, *, away: bool = False) -> None:
        """End: no new mail, sessions and attempts to their boundary, then sync and close.

        `away`: this worker alone ends, and passes connections on to the others meanwhile.
        """
        deadline = self.loop.time() + grace
        self.shards.stop()
        self.losses.stop()
        if away:
            self.handover.retire(self.loop)
        for listener in self.listeners:
            listener.drain()
        for loader in self.loaders.values():
            loader.stop()
        self.sweeper.stop()
        self.census.stop()
        self.timekeeper.stop()
        self.dispatcher.drain()
        ended = [listener.wait_closed() for listener in self.listeners]
        ended.append(self.dispatcher.wait_idle())
        if self.pickup is not None:
            ended.append(self.pickup.stop())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                await asyncio.gather(*ended)
        for listener in self.listeners:
            listener.abort()
        self.dispatcher.abort()
        await self.handover.finish(deadline)
        # point: a worker drains
        await self.hooks.close()
        await asyncio.sleep(0)
        await asyncio.gather(*(self._close_shard(opened.shard) for opened in self.opened))
        self.stopped.set()

    async def _close_shard(self, shard: Shard) -> None:
        closed: asyncio.Future[None] = self.loop.create_future()
        shard.close_shard(lambda error: closed.set_result(None))
        await closed


async def main(fd: int) -> int:
    """Wait for orders, serve, end."""
    orders: asyncio.Future[Orders] = asyncio.get_running_loop().create_future()
    worker: Worker | None = None

    async def answer(op: str, args: dict[str, Any], part: Callable[[Any], None]) -> Any:
        if op == "orders":
            orders.set_result(msgspec.json.decode(msgspec.json.encode(args), type=Orders))
            return None
        if worker is not None and (worker.serving or op == "status"):
            return await worker.answer(op, args, part)
        if op == "drain":
            os._exit(0)  # nothing is in flight, and the spool may be left at any moment
        raise ControlError("the worker is starting: try again in a moment")

    sock = socket.socket(fileno=fd)
    sock.setblocking(False)
    channel = await Channel.over(sock, answer)

    def orphaned(_: object) -> None:
        """Die as the supervisor did, before the committer finds a loop that is closed."""
        if worker is None or not worker.stopped.is_set():
            os._exit(1)

    gone = asyncio.ensure_future(channel.closed.wait())
    gone.add_done_callback(orphaned)
    worker = Worker(await orders, channel)
    try:
        await worker.start()
    except Exception as error:  # noqa: BLE001 - the supervisor says it in one line
        if isinstance(error, MailraceError):
            text = f"worker {worker.orders.number}: {error}"
        else:
            text = worker.faults.record(error, "starting")
        with contextlib.suppress(ControlError):
            await channel.request("fatal", {"text": text, "wrong": isinstance(error, ConfigError)})
            return 1
        os._exit(1)  # the supervisor has died: nobody is there to be told
    await worker.stopped.wait()
    return 0


if __name__ == "__main__":
    # The supervisor decides when a worker ends; a terminal's Ctrl-C reaches all of the group.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    journal.install()
    code = uvloop.run(main(int(sys.argv[1])))
    sys.stdout.flush()
    os._exit(code)
