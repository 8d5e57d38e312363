"""From the configuration to the options of each package: the only place that knows both."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mta.config.listener import Listener
from mta.delivery.transports.smtp import Timeouts as DeliveryTimeouts
from mta.model import Recipient
from mta.queues.manager import KEPT_BODIES
from mta.queues.ports import Settings
from mta.queues.retry import RetryPolicy, exponential
from mta.reception import parameters
from mta.reception.control import ControlNames
from mta.reception.policy import Clients, Policy
from mta.reception.reception import ReceptionOptions
from mta.shaping.limits import Limits, LimitSpec
from mta.smtp.client import ClientOptions
from mta.smtp.server import ServerOptions
from mta.smtpd.handover import SESSIONS
from mta.smtpd.limits import SessionLimits
from mta.smtpd.listener import ListenerOptions
from mta.smtpd.session import Session
from mta.smtpd.timeouts import Timeouts as SessionTimeouts
from mta.smtpd.xclient import KEYWORD as XCLIENT
from mta.spool.options import ShardOptions

if TYPE_CHECKING:
    from mta._speedups.sharedtable import SharedTable
    from mta.config.schema import Config, Retry
    from mta.model import Message
    from mta.reception.admit import Member

SMALLEST_SEGMENT = 65_536  # octets, of the log
SPOOL_SHARE = 0.25  # of the memory cap, for RocksDB
BALLAST = SEGMENT = 64 << 20  # octets, of a shard
SMALL_PART = 64  # of a small disk a segment or the ballast of all shards takes one in so many


class Answers(NamedTuple):
    """What a listener's handler takes from the client by itself."""

    verbs: frozenset[str] = frozenset()
    parameters: tuple[str, ...] = ()  # of MAIL


NO_HANDLER = Answers()


def retry_policy(retry: Retry) -> RetryPolicy:
    """One `[retry]` table."""
    schedule = retry.schedule or exponential(retry.initial, retry.factor, retry.max_interval)
    return RetryPolicy(schedule, retry.jitter, retry.max_age)


def queue_settings(config: Config) -> Settings:
    """The queue manager's, for one worker."""
    retries = {name: retry_policy(retry) for name, retry in config.retry.named.items()}
    return Settings(
        lane_items=config.queue.lane_items,
        memory_items=config.queue.memory_items,
        body_memory=kept_bodies(config) // config.workers,
        per_transaction=config.delivery.recipients_per_transaction,
        retries={"": retry_policy(config.retry), **retries},
        delay_after=config.dsn.delay_after,
        delay_unasked=config.dsn.delay_unasked,
        by_domain=config.delivery.group_by == "domain",
    )


def budget(config: Config) -> tuple[int, int]:
    """Octets of content in memory, of the node, and the largest message of any listener."""
    return config.queue.body_memory, config.largest


def kept_bodies(config: Config) -> int:
    """Octets of stored content that may stay in memory, beside room for two largest messages.

    One of them is the elder's (`reception.budget`): nobody else gets it.
    """
    octets, largest = budget(config)
    return max(octets // 4, min(octets, int((octets - 2 * largest) / KEPT_BODIES)))


def shard_options(config: Config, shards: int) -> ShardOptions:
    """A shard's; the memory cap is shared by all shards of the node, as are its disks."""
    return ShardOptions(
        memory_bytes=max(16 << 20, int(config.memory.cap * SPOOL_SHARE / max(1, shards))),
        outcome_interval=config.delivery.outcome_interval,
        min_free_bytes=config.disk.min_free,
        ballast_bytes=_share(Path(config.spool), shards, BALLAST),
        segment_bytes=_share(Path(config.spool), shards, SEGMENT),
        shards=shards,
        log_folder=Path(config.log_dir),
        home_folder=Path(config.home),
        corrupt_folder=Path(config.home) / "corrupt",
    )


def log_sizes(config: Config, shards: int) -> tuple[int, int]:
    """Octets of a log segment, and of a shard's closed ones; 0 keeps all.

    Only whole segments can go, so they are no larger than a quarter of what is kept.
    """
    size, kept = config.log.segment_size, -(-config.log.retain_size // shards)
    return (min(size, max(SMALLEST_SEGMENT, kept // 4)) if kept else size), kept


def _share(spool: Path, shards: int, most: int) -> int:
    """A shard's part of a small disk: so much on one that is large enough for it."""
    folder = next(one for one in (spool, *spool.absolute().parents) if one.exists())
    disk = os.statvfs(folder)
    part = disk.f_blocks * disk.f_frsize // SMALL_PART // shards
    return min(most, max(1, part >> 20) << 20)


def server_options(
    config: Config, listener: Listener, *, xclient: bool = False, answers: Answers = NO_HANDLER
) -> ServerOptions:
    """The SMTP server core's, for one listener.

    `xclient` is for the proxies that may use it, `answers` are the handler's.
    """
    smtpd = config.smtpd
    return ServerOptions(
        hostname=config.hostname,
        max_size=listener.max_size or smtpd.max_size,
        max_recipients=listener.max_recipients or smtpd.max_recipients,
        max_command_line=smtpd.max_command_line,
        max_text_line=smtpd.max_text_line,
        max_errors=smtpd.max_errors,
        max_messages=smtpd.max_messages,
        pipeline_limit=smtpd.pipeline_limit,
        bare_newlines=listener.bare_newlines,
        bare_addresses=listener.bare_addresses,
        commands=(*answers.verbs, "XCLIENT") if xclient else answers.verbs,
        **extensions(config, listener, answers.parameters, xclient=xclient),
    )


def extensions(
    config: Config, listener: Listener, parameters_of_mail: Iterable[str], *, xclient: bool
) -> dict[str, Any]:
    """What the server core offers beyond plain SMTP."""
    smtpd = config.smtpd
    off = {name.upper() for name in smtpd.disable}
    keywords = [XCLIENT] if xclient else []
    mail = list(parameters_of_mail)
    if "DSN" not in off:
        keywords.append("DSN")
        mail += parameters.DSN_MAIL
    if "MT-PRIORITY" not in off:
        keywords.append("MT-PRIORITY")
        mail.append(parameters.PRIORITY)
    if "FUTURERELEASE" not in off:
        mail += parameters.HOLD
    most = listener.max_recipients or smtpd.max_recipients
    limits = f"MAILMAX={smtpd.max_messages} " if smtpd.max_messages else ""
    if "LIMITS" not in off:  # RFC 9422 4
        keywords.append(f"LIMITS {limits}RCPTMAX={most}")
    return {
        "chunking": "CHUNKING" not in off,
        "binarymime": not off & {"CHUNKING", "BINARYMIME"},
        "smtputf8": "SMTPUTF8" not in off,
        "keywords": keywords,
        "mail_parameters": mail,
        "rcpt_parameters": () if "DSN" in off else parameters.DSN_RCPT,
        "hidden": off & {"PIPELINING", "SIZE", "8BITMIME", "ENHANCEDSTATUSCODES"},
    }


def listener_options(config: Config, listener: Listener) -> ListenerOptions:
    """A listener's sessions."""
    smtpd = config.smtpd
    timeouts = SessionTimeouts(
        command=smtpd.command_timeout,
        idle=smtpd.command_timeout,
        data_block=smtpd.data_timeout,
        content=smtpd.content_timeout,
        session=smtpd.session_timeout,
        header=smtpd.proxy_timeout,
    )
    xclient = listener.xclient_from
    session, answers = sessions(listener)
    return ListenerOptions(
        server_options(config, listener, answers=answers),
        timeouts,
        session=session,
        proxies=Clients(listener.proxy_from) if listener.proxy_from else None,
        xclient=Clients(xclient) if xclient else None,
        server_xclient=server_options(config, listener, xclient=True, answers=answers)
        if xclient
        else None,
    )


def sessions(listener: Listener) -> tuple[Callable[..., Session], Answers]:
    """What serves a connection, and what its handler answers."""
    if not listener.handler:
        return Session, NO_HANDLER
    from mta.smtpd.aiosmtpd_compat import loading, session  # they import aiosmtpd

    handler = loading.load(listener.handler)
    answers = Answers(frozenset(session.commands(handler)), session.mail_parameters(handler))
    return partial(session.HandledSession, handler), answers


def handler_members(listener: Listener) -> tuple[list[Member], list[Member]]:
    """What a listener's handler has a say by: first the login that it demands, then its hooks."""
    if not listener.handler:
        return [], []
    from mta.smtpd.aiosmtpd_compat.member import HandlerMember, LoginRequired

    return [LoginRequired()], [HandlerMember()]


def reception_options(config: Config, listener: Listener) -> ReceptionOptions:
    """What a listener does with messages."""
    names = config.control_headers
    disabled = {name.upper() for name in config.smtpd.disable}
    return ReceptionOptions(
        hostname=config.hostname,
        believe_control=listener.control_headers,
        add_headers=listener.add_headers,
        max_hops=config.smtpd.max_hops,
        names=ControlNames(names.tenant, names.campaign, names.pool, names.klass),
        parameters=parameters.ParameterOptions(
            max_hold=0.0 if "FUTURERELEASE" in disabled else config.smtpd.max_hold,
            transactional=config.smtpd.priority_transactional,
            bulk=config.smtpd.priority_bulk,
        ),
    )


def pickup_listener(config: Config) -> Listener:
    """What files of the pickup folder are treated as: a local client that may relay."""
    return Listener(
        listen="unix:pickup",
        relay_from=("unix",),
        control_headers=config.pickup.control_headers,
        add_headers=True,
    )


def policy(config: Config, listener: Listener) -> Policy:
    """A listener's relay rule."""
    return Policy(
        config.hostname, relay_from=listener.relay_from, relay_domains=listener.relay_domains
    )


class NodeSessions:
    """Incoming sessions of the node, counted in the shared table."""

    def __init__(self, table: SharedTable, worker: int) -> None:
        self._table, self._worker = table, worker
        self._slot = table.slot(SESSIONS)

    def take(self, limit: int) -> bool:
        """One more, if all workers together have fewer than `limit`."""
        return self._table.acquire(self._slot, self._worker, limit)

    def give(self) -> None:
        """One less."""
        self._table.release(self._slot, self._worker)


def session_limits(config: Config, places: NodeSessions | None = None) -> SessionLimits:
    """Sessions of the node, and this worker's share of those of one client network."""
    smtpd = config.smtpd
    return SessionLimits(
        smtpd.max_sessions,
        -(-smtpd.max_sessions_per_network // config.workers),
        places=places,
        prefix4=smtpd.network_prefix_v4,
        prefix6=smtpd.network_prefix_v6,
    )


def limits(config: Config) -> Limits:
    """The gate's: sites, tenants and the node."""
    sites = {
        name: LimitSpec(limit.connections, limit.rate) for name, limit in config.limits.site.items()
    }
    return Limits(
        default=sites.pop("default", LimitSpec()),
        sites=sites,
        tenants={name: t.rate for name, t in config.tenant.items() if t.rate is not None},
        total=LimitSpec(config.delivery.max_connections),
    )


def client_options(
    config: Config, ehlo: str = "", *, overlap: bool, lmtp: bool = False
) -> ClientOptions:
    """The SMTP client core's; with `overlap` the dot travels with the next envelope."""
    return ClientOptions(
        ehlo or config.hostname,
        overlap=overlap,
        lmtp=lmtp,
        chunking=config.delivery.chunking,
        disable=[name.upper() for name in config.delivery.disable],
    )


def delivery_timeouts(config: Config) -> DeliveryTimeouts:
    """The client's (RFC 5321 4.5.3.2)."""
    d = config.delivery
    return DeliveryTimeouts(
        connect=d.connect_timeout,
        greeting=d.greeting_timeout,
        hello=d.ehlo_timeout,
        mail=d.mail_timeout,
        rcpt=d.rcpt_timeout,
        data=d.data_timeout,
        block=d.content_timeout,
        dot=d.dot_timeout,
        rset=d.quit_timeout,
        quit=d.quit_timeout,
    )


def dsn_recipient(config: Config, dsn: Message, failed: Recipient) -> Recipient:
    """To whom a DSN goes that recovery makes."""
    expires = dsn.received_us + round(config.retry.max_age * 1_000_000)
    address = failed.message.sender
    return Recipient(dsn, 0, address, due_us=dsn.received_us, expires_us=expires)
