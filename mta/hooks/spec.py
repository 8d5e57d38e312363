"""All hooks: what each is given, what it may answer, when it is asked.

A hook is a function of the hook file, named as below, plain or async. It takes one argument and
answers None for "as it would be without me". Plain functions run in threads, async ones on the
worker's loop: those must not block. What they are given cannot be changed; what they want is said
by the answer. `docs/hooks.md` is the operator's view of this file.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeAlias

from mta.hooks.headers import check_headers, header
from mta.model import Class

_ENHANCED = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")
LONGEST_TEXT = 400  # characters of a reply text (RFC 5321 4.5.3.1.5 allows lines of 512 octets)
LONGEST_NAME = 64  # characters of a tenant, campaign or pool, as of the control headers


def _check_reply(digit: str, code: int, enhanced: str, text: str) -> None:
    """ValueError unless this is one line of a reply that begins with `digit`."""
    if not 100 <= code <= 599 or str(code)[0] != digit:
        raise ValueError(f"code = {code}: {digit}00 to {digit}99 are possible here")
    if not _ENHANCED.fullmatch(enhanced) or enhanced[0] != digit:
        raise ValueError(f'enhanced = "{enhanced}": write it like {digit}.7.1')
    if not text.isprintable() or len(text) > LONGEST_TEXT:
        raise ValueError(f"text: one printable line of at most {LONGEST_TEXT} characters")


# ---------------------------------------------------------------------- message_accepted


@dataclass(frozen=True, slots=True, kw_only=True)
class NewMessage:
    """A message that has arrived whole and is not yet stored."""

    sender: str  # "" is the null sender
    recipients: tuple[str, ...]
    tenant: str  # of the control headers, where they are believed
    campaign: str
    pool: str
    klass: Class
    content: bytes  # as received, unstuffed, without our Received
    peer_name: str  # what the client said in EHLO
    peer_address: str  # IP address of the client, or "unix"
    session: str  # as in the log

    def header(self, name: str) -> str | None:
        """The first header field of this name, unfolded; None if there is none."""
        return header(self.content, name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Accept:
    """Take the message; None leaves a value as it is. Fields set replace those of their name."""

    tenant: str | None = None
    campaign: str | None = None
    pool: str | None = None
    klass: Class | None = None
    set_headers: Mapping[str, str] = field(default_factory=dict)
    remove_headers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("tenant", "campaign", "pool"):
            value = getattr(self, name)
            if value is not None and (not value.isprintable() or len(value) > LONGEST_NAME):
                raise ValueError(f"{name}: at most {LONGEST_NAME} printable characters")
        if self.klass is not None:
            object.__setattr__(self, "klass", Class(self.klass))
        check_headers(self.set_headers, self.remove_headers)


@dataclass(frozen=True, slots=True)
class Refuse:
    """Answer the client 4xx or 5xx; nothing is stored."""

    text: str
    code: int = 550
    enhanced: str = "5.7.1"

    def __post_init__(self) -> None:
        _check_reply("4" if self.enhanced[:1] == "4" else "5", self.code, self.enhanced, self.text)


class MessageAccepted(Protocol):
    """Before a message is stored: refuse it, or alter tenant, campaign, pool, class or header."""

    def __call__(
        self, message: NewMessage, /
    ) -> Accept | Refuse | None | Awaitable[Accept | Refuse | None]: ...


# ---------------------------------------------------------------------- queue_settings


class Queue(NamedTuple):
    """A scheduled queue."""

    name: str  # campaign:tenant@domain!route
    campaign: str
    tenant: str
    domain: str
    route: str  # next hop that an operator rerouted it to, else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSettings:
    """What holds for one queue; None leaves the setting of its route or of `[retry]`."""

    schedule: tuple[float, ...] | None = None  # seconds after each failed attempt; the last repeats
    jitter: float | None = None  # 0 to below 1
    max_age: float | None = None  # seconds; holds for mail that is accepted from now on
    rate: str | None = None  # messages that leave, "100/s, burst=400", over all workers


class QueueSettingsHook(Protocol):
    """When a queue is first used, then every `hooks.refresh`: its retries, max age and rate."""

    def __call__(
        self, queue: Queue, /
    ) -> QueueSettings | None | Awaitable[QueueSettings | None]: ...


# ---------------------------------------------------------------------- choose_route


class Destination(NamedTuple):
    """What a route is chosen for."""

    domain: str  # of the recipients, lower case, A-labels
    tenant: str
    campaign: str
    sender: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteChoice:
    """Where mail goes and from which source; None leaves what the first matching route says."""

    next_hop: str | None = None  # "[192.0.2.1]:25", several with commas; "mx" for the domain's MX
    transport: str | None = None  # name of a [transport.NAME], instead of a next hop
    pool: str | None = None  # a pool or one source
    retry: str | None = None  # name of a [retry.NAME]


class ChooseRoute(Protocol):
    """Before mail for a destination is routed, then every `hooks.refresh`: next hop and source."""

    def __call__(
        self, destination: Destination, /
    ) -> RouteChoice | None | Awaitable[RouteChoice | None]: ...


# ---------------------------------------------------------------------- before_attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class NextAttempt:
    """A message that is about to be sent to some of its recipients in one transaction."""

    id: str  # 32 hexadecimal digits, as in the log
    sender: str
    recipients: tuple[str, ...]
    tenant: str
    campaign: str
    klass: Class
    attempts: int  # the most that one of the recipients has behind it
    received_us: int  # wall clock, microseconds
    site: str
    source: str
    content: bytes  # as it is stored

    def header(self, name: str) -> str | None:
        """The first header field of this name, unfolded; None if there is none."""
        return header(self.content, name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Go:
    """Send it; the header is altered for this attempt only."""

    set_headers: Mapping[str, str] = field(default_factory=dict)
    remove_headers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_headers(self.set_headers, self.remove_headers)


@dataclass(frozen=True, slots=True)
class Skip:
    """Not now, and no attempt is counted: it waits so many seconds, 1 or more, without a record."""

    seconds: float

    def __post_init__(self) -> None:
        if not 1 <= self.seconds <= 10 * 365 * 86400:
            raise ValueError(f"seconds = {self.seconds}: 1 or more are needed")


@dataclass(frozen=True, slots=True)
class Defer:
    """The attempt failed for now: TransientFailure, then the retry schedule."""

    text: str
    code: int = 451
    enhanced: str = "4.7.0"

    def __post_init__(self) -> None:
        _check_reply("4", self.code, self.enhanced, self.text)


@dataclass(frozen=True, slots=True)
class Bounce:
    """The attempt failed for good: Bounce, and a DSN."""

    text: str
    code: int = 550
    enhanced: str = "5.7.1"

    def __post_init__(self) -> None:
        _check_reply("5", self.code, self.enhanced, self.text)


BeforeAnswer: TypeAlias = Go | Skip | Defer | Bounce | None


class BeforeAttempt(Protocol):
    """Before a message is handed to a connection: send, alter, skip, defer or bounce it."""

    def __call__(self, attempt: NextAttempt, /) -> BeforeAnswer | Awaitable[BeforeAnswer]: ...


# ---------------------------------------------------------------------- after_attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedAttempt:
    """What became of an attempt for one recipient; also of one that found no server."""

    id: str
    sender: str
    recipient: str
    tenant: str
    campaign: str
    attempts: int  # with this one
    site: str
    source: str
    peer_name: str
    peer_address: str
    kind: str  # "delivered", "deferred" or "bounced"
    code: int  # 0 where there was no reply
    enhanced: str
    text: str
    command: str  # what the reply answered


class AfterAttempt(Protocol):
    """After an attempt, once a recipient: make a deferral a bounce, a bounce a deferral.

    A delivery is told after it was recorded and cannot be changed: the message has left.
    """

    def __call__(
        self, attempt: EndedAttempt, /
    ) -> Defer | Bounce | None | Awaitable[Defer | Bounce | None]: ...


# ---------------------------------------------------------------------- event


class EventHook(Protocol):
    """Every record of the log, after it is on disk, in the log's order; docs/reference.md has them.

    A record may come twice after a crash. One that the hook fails on is told and passed over.
    """

    def __call__(self, record: dict[str, Any], /) -> None | Awaitable[None]: ...


# ---------------------------------------------------------------------- all


class Hook(NamedTuple):
    """One hook: its signature, and the types it may answer with beside None."""

    signature: type
    answers: tuple[type, ...]


HOOKS = {
    "message_accepted": Hook(MessageAccepted, (Accept, Refuse)),
    "queue_settings": Hook(QueueSettingsHook, (QueueSettings,)),
    "choose_route": Hook(ChooseRoute, (RouteChoice,)),
    "before_attempt": Hook(BeforeAttempt, (Go, Skip, Defer, Bounce)),
    "after_attempt": Hook(AfterAttempt, (Defer, Bounce)),
    "event": Hook(EventHook, ()),
}
