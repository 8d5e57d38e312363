"""Sessions of a listener whose policy is a handler written for aiosmtpd.

The session stays what it is: the core's parsing, limits, extensions, and `admit`, of which the
handler is a member (`member.py`). A 2xx of handle_DATA means: spool it. Hooks that are coroutines
run in a task, while the core keeps what the client sends.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Generator
from typing import TYPE_CHECKING, Any

from aiosmtpd.smtp import MISSING

from mta._speedups.server import HELLO
from mta._speedups.verdict import Reason, Verdict
from mta.reception.admit import Pending, Said
from mta.reception.received import trace
from mta.smtp.replies import reply
from mta.smtp.server import Command, Event, Hello
from mta.smtpd.aiosmtpd_compat.commands import Commands
from mta.smtpd.aiosmtpd_compat.statuses import verdict_of
from mta.smtpd.session import Session

if TYPE_CHECKING:
    from mta.smtpd.listener import Listener

log = logging.getLogger("mail.log")

ASIDE = ("NOOP", "VRFY", "RSET", "QUIT")  # commands that the handler answers where it has a hook
ARGUMENTS = (  # of SMTP, that a handler gives as its own attributes
    "authenticator", "auth_callback", "auth_required", "auth_require_tls", "auth_exclude_mechanism",
)  # fmt: skip
FAILED = Verdict(
    451, "4.3.0", "The policy of this listener failed, try again later", Reason.HANDLER
)
NO_AUTH_HERE = reply(503, "5.5.1", "AUTH is not allowed within a transaction")  # RFC 4954 4


class Dialogue(Commands):
    """What hooks get as `server`, with the commands that they answer whole."""

    def __init__(
        self, owner: HandledSession, handler: Any, loop: asyncio.AbstractEventLoop
    ) -> None:
        options = owner.core.options
        given = {name: getattr(handler, name) for name in ARGUMENTS if hasattr(handler, name)}
        super().__init__(
            handler,
            loop=loop,
            hostname=options.hostname,
            ident=options.banner,
            data_size_limit=options.max_size,
            enable_SMTPUTF8=True,
            **given,
        )
        for name in ARGUMENTS:  # those that begin with auth_ are no mechanisms
            self._auth_methods.pop(name.removeprefix("auth_"), None)
        self._owner, self._core = owner, owner.core
        self._waiter: asyncio.Future[Event] | None = None  # for the next line of an exchange
        self.command_size_limit = options.max_command_line
        self.begin(owner.address)

    def begin(self, address: str) -> None:
        """A new session of a client."""
        self._set_rset_state()
        self.session = self._create_session()
        self.session.peer = (address, 0)  # type: ignore[assignment]  # aiosmtpd's are no str either

    def _written(self) -> None:
        self._owner.flush()

    def _reset_timeout(self, duration: float | None = None) -> None:
        """The session has its own."""

    def _close(self) -> None:
        self._closing = True

    async def _next(self) -> Event:
        self._waiter = self.loop.create_future()
        self._owner.go_on()
        try:
            return await self._waiter
        finally:
            self._waiter = None


class HandledSession(Session):
    """A client's connection with a handler; `server` is what its hooks see."""

    __slots__ = ("server",)

    server: Dialogue

    def __init__(
        self, handler: Any, listener: Listener, address: str, network: bytes, relay: bool
    ) -> None:
        super().__init__(listener, address, network, relay)
        self.server = Dialogue(self, handler, asyncio.get_running_loop())

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet the client."""
        server = self.server
        server.transport = transport  # type: ignore[assignment]  # always a stream's
        peer = transport.get_extra_info("peername")
        if peer and peer[0] == self.address:  # else a proxy's
            server.session.peer = peer
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """The end; a hook under way is cancelled, a message it has accepted stays accepted."""
        self.server.transport = None
        super().connection_lost(exc)

    def flush(self) -> None:
        """Send what a hook said, now."""
        if self.transport is not None and not self.turning:
            self.transport.write(self.core.output())

    def go_on(self) -> None:
        """A turn for what came meanwhile, unless one is under way."""
        if not self.turning:
            self._turn()

    # Asking the handler.

    def ask(self, command: str, then: Callable[[Any], Verdict], *args: Any) -> Said:
        """What `then` makes of the hook's status: MISSING without one, FAILED if it failed."""
        server = self.server
        hook = server._handle_hooks.get(command)
        if hook is None:
            return self.taken(MISSING, then)
        try:
            said = hook(server, server.session, server.envelope, *args)
        except Exception as error:  # noqa: BLE001  the handler's own affair
            return HookAnswer(self, self.excused(error), then)
        if hasattr(said, "__await__"):
            return HookAnswer(self, said, then)
        return self.taken(said, then)

    def taken(self, status: Any, then: Callable[[Any], Verdict]) -> Verdict:
        """Go by a status; one that cannot be sent defers."""
        try:
            return then(status)
        except (ValueError, TypeError) as error:
            log.error("the handler of %r answered %r: %s", self, status, error)
            return then(FAILED)

    async def excused(self, error: Exception) -> Any:
        """The status that stands for an exception of a hook."""
        if not hasattr(self.server.event_handler, "handle_exception"):
            log.error("a hook of the handler of %r failed", self, exc_info=error)
            return FAILED
        try:
            return await self.server.handle_exception(error)
        except Exception:
            log.exception("handle_exception() of the handler of %r failed", self)
            return FAILED

    # Verdicts.

    def _answer(self, kind: int) -> None:
        if kind == HELLO:
            self._take_hello(self.core.event(kind))
        else:
            super()._answer(kind)

    def _take_hello(self, event: Hello) -> None:
        server = self.server
        offered = self._greeted(event.name, event.extended)
        if server.session.authenticated:
            self._note_login()
        server.session.extended_smtp = event.extended
        server._set_rset_state()
        said: Said
        if not event.extended:
            said = self.ask("HELO", self._greet, event.name)
        else:
            lines = self._offers(offered)
            if server._ehlo_hook_arguments == 5:
                said = self.ask("EHLO", self._greet, event.name, lines)
            else:
                said = self.ask("EHLO", lambda s: self._greet(_behind(lines, s)), event.name)
        self.settle(said if isinstance(said, Verdict) else Pending(said), self.say)

    def _offers(self, standard: bytes) -> list[str]:
        """The lines of the EHLO reply, AUTH among them where the client may use it."""
        lines = standard.decode("ascii").split("\r\n")[:-1]
        server = self.server
        if "AUTH" in self.core.options.commands and not server._auth_require_tls:
            last = lines.pop()
            names = " ".join(sorted(server._auth_methods))
            lines += [f"250-{last[4:]}", f"250 AUTH {names}"]
        return lines

    def _greet(self, status: Any) -> Verdict:
        self.server.session.host_name = self.name
        return verdict_of(status)

    def _reset(self, refusal: Verdict | None) -> None:
        super()._reset(refusal)
        self.server._set_rset_state()

    # Commands that the handler answers whole.

    def _command(self, event: Command) -> None:
        waiter = self.server._waiter
        if not event.verb and waiter is not None:
            if not waiter.done():
                waiter.set_result(event)
            return
        if event.verb == "XCLIENT":
            super()._command(event)
            self.server.begin(self.address)
            return
        if event.verb == "AUTH" and self.sender is not None:
            self.core.say(NO_AUTH_HERE)
            self.core.proceed()
            return
        self.task = self.server.loop.create_task(self._obey(event))

    async def _obey(self, event: Command) -> None:
        """Run the command's method; what it pushed is the reply."""
        server, core = self.server, self.core
        try:
            await server._obey(event.verb, event.line)
        except Exception as error:  # noqa: BLE001  the handler's own affair
            log.error("a hook of the handler of %r failed", self, exc_info=error)
            core.say(FAILED.reply())
        self.task = None
        if self.transport is None:
            return
        if event.verb == "AUTH" and server.session.authenticated:
            self.relay = True
            self._note_login()
        if event.verb == "RSET":
            self._forget()
            core.proceed("reset")
        else:
            core.proceed("close" if server._closing else "command")
        self.go_on()

    def _note_login(self) -> None:
        """Received says ESMTPA from now on (RFC 3848)."""
        hostname = self.terms.reception.options.hostname
        self.trace = trace(self.name, self.address, hostname, extended=self.extended, login=True)


class HookAnswer:
    """The verdict of a hook that is a coroutine; it ends with its client, or when it is closed."""

    __slots__ = ("_session", "_said", "_then")

    def __init__(
        self, session: HandledSession, said: Awaitable[Any], then: Callable[[Any], Verdict]
    ) -> None:
        self._session, self._said, self._then = session, said, then

    def close(self) -> None:
        """Nobody wants it any more."""
        if asyncio.iscoroutine(self._said):
            self._said.close()

    def __await__(self) -> Generator[Any, None, Verdict]:
        return self._verdict().__await__()

    async def _verdict(self) -> Verdict:
        session = self._session
        if session.transport is None:
            raise asyncio.CancelledError
        session.task = asyncio.current_task()
        try:
            status = await self._said
        except Exception as error:  # noqa: BLE001  the handler's own affair
            status = await session.excused(error)
        if session.transport is None:
            raise asyncio.CancelledError
        session.task = None
        return session.taken(status, self._then)


def _behind(lines: list[str], status: Any) -> Any:
    """The lines of the EHLO reply with the answer of a 4-argument hook, or without one."""
    if status is MISSING or status is FAILED:
        return lines if status is MISSING else FAILED
    return [*(f"250-{line[4:]}" for line in lines), status]


def commands(handler: Any) -> set[str]:
    """The verbs that the core has to leave to sessions with this handler."""
    found = {verb for verb in ASIDE if hasattr(handler, f"handle_{verb}")}
    names = ("authenticator", "auth_callback", "handle_AUTH")
    if any(hasattr(handler, name) for name in names) or _mechanisms(handler):
        found.add("AUTH")
    return found


def mail_parameters(handler: Any) -> tuple[str, ...]:
    """The parameters of MAIL that come with what this handler has the listener offer."""
    offered = "AUTH" in commands(handler) and not getattr(handler, "auth_require_tls", True)
    return ("AUTH",) if offered else ()  # RFC 4954 5


def _mechanisms(handler: Any) -> bool:
    return any(
        name.startswith("auth_") and name not in ARGUMENTS and callable(getattr(handler, name))
        for name in dir(handler)
    )
