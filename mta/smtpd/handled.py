"""Sessions of a listener whose policy is a handler written for aiosmtpd.

The session stays what it is: the core's parsing, limits, extensions, the relay rule. A command that
these accept is put to the handler's hook, and a refusal of it counts. A 2xx of handle_DATA means:
spool it. Hooks that are coroutines run in a task each, while the core keeps what the client sends.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from aiosmtpd.smtp import MISSING, Envelope

from mta._speedups.dots import ContentReader
from mta._speedups.server import CONTENT, HELLO, MAIL, RCPT
from mta._speedups.stuff import dot_stuff
from mta.model import Flag
from mta.reception.received import trace
from mta.smtp.replies import reply
from mta.smtp.server import Command, Content, Event, Hello, Mail, Rcpt
from mta.smtpd.commands import Commands
from mta.smtpd.session import Session

if TYPE_CHECKING:
    from mta.smtpd.listener import Listener

log = logging.getLogger("mail.log")

ASIDE = ("NOOP", "VRFY", "RSET", "QUIT")  # commands that the handler answers where it has a hook
ARGUMENTS = (  # of SMTP, that a handler gives as its own attributes
    "authenticator", "auth_callback", "auth_required", "auth_require_tls", "auth_exclude_mechanism",
)  # fmt: skip
LINE = re.compile(rb"[245]\d\d[ -][^\r\n]*")
ADDRESS = re.compile(r"[^\s<>\x00]+@[^\s<>\x00]+")
FAILED = reply(451, "4.3.0", "The policy of this listener failed, try again later")
NO_AUTH_HERE = reply(503, "5.5.1", "AUTH is not allowed within a transaction")  # RFC 4954 4
AUTH_REQUIRED = reply(530, "5.7.0", "Authentication required")
SCANNED: int = Flag.EIGHT_BIT | Flag.DOT_LINES | Flag.LONG_LINES


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

    __slots__ = ("server", "task")

    server: Dialogue
    task: asyncio.Task[None] | None

    def __init__(
        self, handler: Any, listener: Listener, address: str, network: bytes, relay: bool
    ) -> None:
        super().__init__(listener, address, network, relay)
        self.server = Dialogue(self, handler, asyncio.get_running_loop())
        self.task = None

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
        if self.task is not None:
            self.task.cancel()
        super().connection_lost(exc)

    def flush(self) -> None:
        """Send what a hook said, now."""
        if self.transport is not None and not self.turning:
            self.transport.write(self.core.output())

    # Asking the handler.

    def _ask(self, command: str, then: Callable[[Any], None], *args: Any) -> None:
        """Give `then` what the hook says: MISSING without one, a whole reply if it failed."""
        server = self.server
        hook = server._handle_hooks.get(command)
        if hook is None:
            then(MISSING)
            return
        try:
            said = hook(server, server.session, server.envelope, *args)
        except Exception as error:  # noqa: BLE001  the handler's own affair
            self._start(self._failed(error, then))
            return
        if hasattr(said, "__await__"):
            task = self._start(self._answered(said, then))
            if asyncio.iscoroutine(said):  # a client that goes at once has it never begin
                task.add_done_callback(lambda _: said.close())
        else:
            self._take(said, then)

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a hook while the core waits."""
        self.task = self.server.loop.create_task(work)
        return self.task

    async def _answered(self, said: Any, then: Callable[[Any], None]) -> None:
        try:
            status = await said
        except Exception as error:  # noqa: BLE001  the handler's own affair
            await self._failed(error, then)
            return
        self._late(status, then)

    async def _failed(self, error: Exception, then: Callable[[Any], None]) -> None:
        """An exception defers, unless handle_exception has a reply."""
        status: Any = FAILED
        if hasattr(self.server.event_handler, "handle_exception"):
            try:
                status = await self.server.handle_exception(error)
            except Exception:
                log.exception("handle_exception() of the handler of %r failed", self)
        else:
            log.error("a hook of the handler of %r failed", self, exc_info=error)
        self._late(status, then)

    def _late(self, status: Any, then: Callable[[Any], None]) -> None:
        """The answer of a hook that took its time."""
        self.task = None
        if self.transport is not None:
            self._take(status, then)
            self.go_on()

    def _take(self, status: Any, then: Callable[[Any], None]) -> None:
        """Go by an answer; one that cannot be sent defers."""
        try:
            then(status)
        except (ValueError, TypeError) as error:
            log.error("the handler of %r answered %r: %s", self, status, error)
            then(FAILED)

    def go_on(self) -> None:
        """A turn for what came meanwhile, unless one is under way."""
        if not self.turning:
            self._turn()

    # Verdicts.

    def _answer(self, kind: int) -> None:
        if kind == HELLO:
            self._take_hello(self.core.event(kind))
        elif kind == MAIL:
            self._take_mail(self.core.event(kind))
        elif kind == RCPT:
            self._take_rcpt(self.core.event(kind))
        elif kind == CONTENT:
            self._take_content(self.core.event(kind))
        else:
            super()._answer(kind)

    def _ahead(self) -> int:
        """The handler sees the content as it came."""
        return 0

    def _take_hello(self, event: Hello) -> None:
        core, server = self.core, self.server
        offered = self._greeted(event.name, event.extended)
        if server.session.authenticated:
            self._note_login()
        server.session.extended_smtp = event.extended
        server._set_rset_state()
        if not event.extended:
            self._ask("HELO", self._greet, event.name)
            return
        lines = self._offers(offered or core.options.extended)
        if server._ehlo_hook_arguments == 5:
            self._ask("EHLO", self._greet, event.name, lines)
        else:
            self._ask("EHLO", lambda status: self._greet(self._behind(lines, status)), event.name)

    def _offers(self, standard: bytes) -> list[str]:
        """The lines of the EHLO reply, AUTH among them where the client may use it."""
        lines = standard.decode("ascii").split("\r\n")[:-1]
        server = self.server
        if "AUTH" in self.core.options.commands and not server._auth_require_tls:
            last = lines.pop()
            names = " ".join(sorted(server._auth_methods))
            lines += [f"250-{last[4:]}", f"250 AUTH {names}"]
        return lines

    def _behind(self, lines: list[str], status: Any) -> list[str]:
        """The lines with the answer of a 4-argument hook, or without one."""
        if status is MISSING or status is FAILED:
            return lines if status is MISSING else [FAILED.decode().strip()]
        return [*(f"250-{line[4:]}" for line in lines), status]

    def _greet(self, status: Any) -> None:
        answer = None if status is MISSING else whole(status)
        self.server.session.host_name = self.name
        self.core.verdict(answer)

    def _take_mail(self, event: Mail) -> None:
        server = self.server
        server._set_post_data_state()
        if server._auth_required and not server.session.authenticated:
            self.core.verdict(AUTH_REQUIRED)
            return
        reception = self.terms.reception
        answer = reception.mail(self, event.sender, event.size, event.params)
        if answer is not None and answer[:1] != b"2":
            self.core.verdict(answer)
            return
        options = mail_options(event)
        server.envelope.smtp_utf8 = event.utf8

        def then(status: Any) -> None:
            said = answer if status is MISSING else whole(status)
            if said is None or said[:1] == b"2":
                envelope = server.envelope
                if status is MISSING:
                    envelope.mail_options.extend(options)
                if envelope.mail_from is None:
                    envelope.mail_from = event.sender
                self.sender = address(envelope.mail_from, empty=True)
            else:
                self._forget()
                server._set_post_data_state()
                self._note(said, "MAIL")
            self.core.verdict(said)

        self._ask("MAIL", then, event.sender, options)

    def _take_rcpt(self, event: Rcpt) -> None:
        refusal = self.terms.reception.rcpt(self, event.recipient, event.params)
        if refusal is not None:
            self.core.verdict(refusal)
            return
        envelope, recipients = self.server.envelope, self.recipients
        assert recipients is not None
        before, recipient = len(envelope.rcpt_tos), recipients[-1]
        options = words(event.params)

        def then(status: Any) -> None:
            said = None if status is MISSING else whole(status)
            if said is None or said[:1] == b"2":
                if len(envelope.rcpt_tos) == before:
                    envelope.rcpt_tos.append(recipient)
                    envelope.rcpt_options.extend(options)
                for added in envelope.rcpt_tos[before:]:
                    address(added)
            else:
                self._forget_last()
                del envelope.rcpt_tos[before:]
                self._note(said, "RCPT", recipient)
            self.core.verdict(said)

        self._ask("RCPT", then, recipient, options)

    def _note(self, refusal: bytes, command: str, recipient: str = "") -> None:
        """Take down a refusal of the handler's."""
        self.terms.reception.refused(self, refusal, command, recipient, "handler")

    def _forget_last(self) -> None:
        """The recipient that reception took is refused."""
        assert self.recipients is not None
        self.recipients.pop()
        if self.asked is not None and self.asked.wishes:
            self.asked.wishes.pop(len(self.recipients), None)

    def _take_content(self, event: Content) -> None:
        envelope = self.server.envelope
        self.cap = self.ends
        refusal = self.terms.reception.keep(self, len(event.body))
        if refusal is not None:
            self.core.verdict(refusal)
            self._forget()
            return
        envelope.content = envelope.original_content = event.body

        def then(status: Any) -> None:
            said = None if status is MISSING else whole(status)
            if said is None or said[:1] == b"2":
                body, flags = changed(envelope, event)
                self._use(envelope)
                self.terms.reception.content(self, self, body, flags, self.stored)
            else:
                self._note(said, ".")
                self.core.verdict(said)
            self._forget()
            self.server._set_post_data_state()

        self._ask("DATA", then)

    def _use(self, envelope: Envelope) -> None:
        """The handler's envelope is the one that counts."""
        given, recipients = self.recipients or [], [address(text) for text in envelope.rcpt_tos]
        if not recipients:
            raise ValueError("there is no recipient left")
        self.sender = address(envelope.mail_from or "", empty=True)
        if recipients != given and self.asked is not None and self.asked.wishes:
            wishes = {given[place]: wish for place, wish in self.asked.wishes.items()}
            self.asked.wishes = {
                place: wishes[text] for place, text in enumerate(recipients) if text in wishes
            }
        self.recipients = recipients

    def _reset(self, answer: bytes) -> None:
        super()._reset(answer)
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
        self._start(self._obey(event))

    async def _obey(self, event: Command) -> None:
        """Run the command's method; what it pushed is the reply."""
        server, core = self.server, self.core
        try:
            await server._obey(event.verb, event.line)
        except Exception as error:  # noqa: BLE001  the handler's own affair
            log.error("a hook of the handler of %r failed", self, exc_info=error)
            core.say(FAILED)
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


def whole(status: Any) -> bytes:
    """The reply that a hook's answer stands for; ValueError or TypeError if it is none."""
    if isinstance(status, (list, tuple)):
        status = "\r\n".join(status)
    octets = status.encode() if isinstance(status, str) else status
    if not isinstance(octets, bytes):
        raise TypeError("a reply is str or bytes")
    lines = octets.removesuffix(b"\r\n").split(b"\r\n")
    if not all(LINE.fullmatch(line) for line in lines) or len({line[:3] for line in lines}) > 1:
        raise ValueError("that is no reply")
    if any(line[3:4] != b"-" for line in lines[:-1]) or lines[-1][3:4] == b"-":
        raise ValueError("the lines of a reply but its last have a hyphen behind the code")
    return b"\r\n".join(lines) + b"\r\n"


def address(text: str, *, empty: bool = False) -> str:
    """An address as a handler left it; ValueError if it cannot be sent."""
    if not (empty and not text) and not ADDRESS.fullmatch(text):
        raise ValueError(f"{text!r} is no address")
    return text


def words(params: Any) -> list[str]:
    """Parameters as aiosmtpd's hooks get them."""
    return [key if value is None else f"{key}={value}" for key, value in (params or {}).items()]


def mail_options(event: Mail) -> list[str]:
    """All parameters of MAIL as aiosmtpd's hooks get them."""
    found = [f"SIZE={event.size}"] if event.size else []
    if event.binary or event.body8:
        found.append("BODY=BINARYMIME" if event.binary else "BODY=8BITMIME")
    if event.utf8:
        found.append("SMTPUTF8")
    return found + words(event.params)


def changed(envelope: Envelope, event: Content) -> tuple[bytes, int]:
    """The content to spool: what came, or what the handler made of it, its line ends mended."""
    content = envelope.content
    if content is event.body:
        return event.body, event.flags
    if isinstance(content, str):
        content = content.encode("utf-8", "surrogateescape")
    if not isinstance(content, bytes):
        raise TypeError("envelope.content is str or bytes")
    if not content.endswith(b"\r\n"):
        bare = content.endswith((b"\r", b"\n"))
        content = (content[:-1] if bare else content) + b"\r\n"
    reader = ContentReader(mend=True)
    reader.feed(dot_stuff(content) + b".\r\n")
    return reader.body(), event.flags & ~SCANNED | reader.flags
