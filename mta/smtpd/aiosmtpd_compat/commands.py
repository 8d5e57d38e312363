"""The SMTP commands as aiosmtpd's handlers and subclasses know them.

The dialogue here is aiosmtpd's, down to its texts: a handler may answer each step, sets the
envelope itself where it does, and a subclass may replace or add any smtp_ method. What makes up
lines and contents, keeps their order and bounds them is the server core's (`mta.smtp.server`).
"""

from __future__ import annotations

import asyncio
import collections
import functools
import inspect
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any
from warnings import warn

import aiosmtpd.smtp
from aiosmtpd.smtp import (
    BOGUS_LIMIT,
    CALL_LIMIT_DEFAULT,
    DATA_SIZE_DEFAULT,
    MISSING,
    Envelope,
    Session,
    make_loop,
    sanitize,
    syntax,
)

from mta._speedups.verdict import Reason
from mta.smtp.server import Content, Event
from mta.smtpd.aiosmtpd_compat import addresses
from mta.smtpd.aiosmtpd_compat.auth import Auth, always_fail, mechanisms, settled

log = logging.getLogger("mail.log")  # aiosmtpd's

BEFORE_STARTTLS = {"NOOP", "EHLO", "STARTTLS", "QUIT"}  # RFC 3207 4
TOO_LONG = "500 Command line too long"
BAD_SYNTAX = "500 Error: bad syntax"
STRICT_ASCII = "500 Error: strict ASCII mode"


@functools.cache
def smtp_methods(kind: Any) -> tuple[str, ...]:
    """The names of a class's smtp_ methods."""
    return tuple(name for name in dir(kind) if name.startswith("smtp_"))


class Commands(Auth):
    """A dialogue; a subclass connects it to the core of a connection."""

    command_size_limit = 512
    line_length_limit = 1001  # with CRLF and stuffed dot (RFC 5321 4.5.3.1.6)
    local_part_limit = 0  # 0: none

    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport | None
    _closing: bool  # the last reply is given

    def __init__(
        self,
        handler: Any,
        *,
        data_size_limit: int | None = DATA_SIZE_DEFAULT,
        enable_SMTPUTF8: bool = False,
        decode_data: bool = False,
        hostname: str | None = None,
        ident: str | None = None,
        tls_context: ssl.SSLContext | None = None,
        require_starttls: bool = False,
        timeout: float = 300,
        auth_required: bool = False,
        auth_require_tls: bool = True,
        auth_exclude_mechanism: Iterable[str] | None = None,
        auth_callback: Callable[[str, bytes, bytes], bool] | None = None,
        command_call_limit: int | dict[str, int] | None = None,
        authenticator: Callable[..., Any] | None = None,
        proxy_protocol_timeout: float | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        assert data_size_limit is None or isinstance(data_size_limit, int)
        self.__ident__ = ident or aiosmtpd.smtp.__ident__
        self.loop = loop or make_loop()
        self.event_handler = handler
        self.data_size_limit, self.enable_SMTPUTF8 = data_size_limit, enable_SMTPUTF8
        self._decode_data = decode_data
        self.hostname = hostname or socket.getfqdn()
        self.command_size_limits: dict[str, int] = collections.defaultdict(
            lambda: self.command_size_limit
        )
        self.tls_context = tls_context
        self.require_starttls = bool(tls_context and require_starttls)
        self._timeout_duration, self._proxy_timeout = timeout, proxy_protocol_timeout
        self._secure, self._tls_handshake_okay, self._closing = False, True, False
        self.transport = None
        _warn_of(tls_context, auth_required and not auth_require_tls, proxy_protocol_timeout)
        self._auth_required, self._auth_require_tls = auth_required, auth_require_tls
        self._authenticator = authenticator
        self._auth_callback = auth_callback or always_fail
        self._find_methods(handler, auth_exclude_mechanism or ())
        self._limit_calls(command_call_limit)

    def _find_methods(self, handler: Any, excluded: Iterable[str]) -> None:
        """The hooks of the handler, mechanisms and commands."""
        self._auth_methods = mechanisms(self, handler)
        for name in excluded:
            self._auth_methods.pop(name, None)
        if log.isEnabledFor(logging.INFO):
            known = sorted(self._auth_methods.items())
            names = " ".join(f"{m}(builtin)" if kind.is_builtin else m for m, kind in known)
            log.info("Available AUTH mechanisms: %s", names)
        self._handle_hooks: dict[str, Callable[..., Any]] = {
            name.removeprefix("handle_"): getattr(handler, name)
            for name in dir(handler)
            if name.startswith("handle_")
        }
        hook = self._handle_hooks.get("EHLO")
        self._ehlo_hook_arguments = 0 if hook is None else ehlo_arguments(hook)
        kind: Any = type(self)
        self._smtp_methods: dict[str, Callable[[str | None], Awaitable[None]]] = {
            name.removeprefix("smtp_"): getattr(self, name) for name in smtp_methods(kind)
        }

    def _limit_calls(self, limit: int | dict[str, int] | None) -> None:
        """How often each command may be given on a connection."""
        self._calls_left: dict[str, int] | None = None
        self._bogus_left = BOGUS_LIMIT
        if limit is None:
            return
        base: Mapping[str, int] = {}
        if isinstance(limit, int):
            self._call_limit_default = limit
        elif isinstance(limit, dict):
            if not all(isinstance(value, int) for value in limit.values()):
                raise TypeError("All command_call_limit values must be int")
            base, self._call_limit_default = limit, limit.get("*", CALL_LIMIT_DEFAULT)
        else:
            raise TypeError("command_call_limit must be int or Dict[str, int]")
        self._calls_left = collections.defaultdict(lambda: self._call_limit_default, base)

    # What the connection gives.

    if TYPE_CHECKING:

        def _next(self) -> Awaitable[Event]:
            """What the core has next: the line asked for, or the end of the content."""
            ...

        def _written(self) -> Awaitable[None] | None:
            """Send what was said; something to wait for where the client does not read."""
            ...

        def _reset_timeout(self, duration: float | None = None) -> None: ...
        async def _upgrade(self, context: ssl.SSLContext) -> None: ...

    def _close(self) -> None:
        """The last reply is given."""
        self._closing = True
        if self.transport is not None:
            self.transport.close()

    # What handlers and subclasses use.

    def _create_session(self) -> Session:
        return Session(self.loop)

    def _create_envelope(self) -> Envelope:
        return Envelope()

    def _set_post_data_state(self) -> None:
        """Begin a new envelope."""
        self.envelope = self._create_envelope()

    def _set_rset_state(self) -> None:
        """Forget everything but the greeting."""
        self._set_post_data_state()

    @property
    def max_command_size_limit(self) -> int:
        """The largest of the limits by command."""
        return max(self.command_size_limits.values(), default=self.command_size_limit)

    async def push(self, status: str | bytes) -> None:
        """Send a reply line."""
        if isinstance(status, str):
            utf8 = self.enable_SMTPUTF8
            status = status.encode("utf-8" if utf8 else "ascii", "surrogateescape" if utf8 else "")
        if not isinstance(status, bytes):
            raise TypeError(f"a reply is str or bytes, not {type(status).__name__}")
        self._core.say(status + b"\r\n")
        log.debug("%r << %r", self.session.peer, status)
        blocked = self._written()
        if blocked is not None:
            await blocked

    async def _call_handler_hook(self, command: str, *args: Any) -> Any:
        """What the handler says to this command; MISSING where it has no such hook."""
        hook = self._handle_hooks.get(command)
        if hook is None:
            return MISSING
        return await settled(hook(self, self.session, self.envelope, *args))

    async def handle_exception(self, error: Exception) -> Any:
        """The reply to an exception of a command or hook."""
        if hasattr(self.event_handler, "handle_exception"):
            return await settled(self.event_handler.handle_exception(error))
        log.exception("%r SMTP session exception", self.session.peer)
        return f"500 Error: ({type(error).__name__}) {error}"

    async def check_helo_needed(self, helo: str = "HELO") -> bool:
        """Whether the greeting is wanting; then the client has been told."""
        if not self.session.host_name:
            await self.push(f"503 Error: send {helo} first")
            return True
        return False

    # One command.

    async def _obey(self, verb: str, line: bytes | None) -> None:
        """Judge a command line and call its method."""
        if log.isEnabledFor(logging.INFO):
            _log_line(self.session, line)
        argument, refusal = self._judge(verb, line)
        if refusal is not None:
            await self.push(refusal)
            return
        if self._calls_left is not None:
            if self._calls_left[verb] < 1:
                log.warning("%r over limit for %s", self.session.peer, verb)
                await self.push(f"421 4.7.0 {verb} sent too many times")
                self._close()
                return
            self._calls_left[verb] -= 1
        method = self._smtp_methods.get(verb)
        if method is None:
            await self._bogus(verb)
            return
        self._reset_timeout()
        await method(argument)

    def _judge(self, verb: str, line: bytes | None) -> tuple[str | None, str | None]:
        """The argument of a line, and the refusal of the line."""
        if line is None:
            return None, TOO_LONG
        if not verb:
            return None, BAD_SYNTAX
        octets = line[len(verb) :].strip()
        if self.enable_SMTPUTF8:
            argument = octets.decode("utf-8", "surrogateescape")
        elif octets.isascii():
            argument = octets.decode("ascii")
        else:
            return None, STRICT_ASCII
        extended = self.session.extended_smtp
        if len(line) > (self.command_size_limits[verb] if extended else self.command_size_limit):
            return None, TOO_LONG
        if not self._tls_handshake_okay and verb != "QUIT":
            return None, "554 Command refused due to lack of security"
        if self.require_starttls and not self._secure and verb not in BEFORE_STARTTLS:
            return None, "530 Must issue a STARTTLS command first"
        return argument or None, None

    async def _bogus(self, verb: str) -> None:
        """Answer what is no command."""
        log.warning("%r unrecognised: %s", self.session.peer, verb)
        self._bogus_left -= 1
        if self._bogus_left < 1:
            log.warning("%r too many bogus commands", self.session.peer)
            await self.push("502 5.5.1 Too many unrecognized commands, goodbye.")
            self._close()
            return
        await self.push(f'500 Error: command "{verb}" not recognized')

    async def _failed(self, error: Exception) -> None:
        """Answer an exception."""
        try:
            status = await self.handle_exception(error)
        except Exception as inner:  # noqa: BLE001  the session goes on
            try:
                log.exception("%r Exception in handle_exception()", self.session.peer)
                status = f"500 Error: ({type(inner).__name__}) {inner}"
            except Exception:  # noqa: BLE001  its own description fails
                status = "500 Error: Cannot describe error"
        await self.push(status)

    # The commands.

    @syntax("HELO hostname")
    async def smtp_HELO(self, hostname: str | None) -> None:
        """HELO."""
        if not hostname:
            await self.push("501 Syntax: HELO hostname")
            return
        self._set_rset_state()
        self.session.extended_smtp = False
        status = await self._call_handler_hook("HELO", hostname)
        if status is MISSING:
            self.session.host_name = hostname
            status = f"250 {self.hostname}"
        await self.push(status)

    @syntax("EHLO hostname")
    async def smtp_EHLO(self, hostname: str | None) -> None:
        """EHLO, with the lines that the hook may change."""
        if not hostname:
            await self.push("501 Syntax: EHLO hostname")
            return
        self._set_rset_state()
        self.session.extended_smtp = True
        lines = self._offers()
        if hasattr(self, "ehlo_hook"):
            warn("Use handler.handle_EHLO() instead of .ehlo_hook()", DeprecationWarning)  # noqa: B028
            await settled(self.ehlo_hook())
        if not self._ehlo_hook_arguments:
            self.session.host_name = hostname
            lines.append("250 HELP")
        elif self._ehlo_hook_arguments == 4:  # it gives the last line, and sets host_name
            for line in lines:
                await self.push(line)
            lines = [await self._call_handler_hook("EHLO", hostname)]
        else:
            lines.append("250 HELP")
            lines = await self._call_handler_hook("EHLO", hostname, lines)
        for line in lines:
            await self.push(line)

    def _offers(self) -> list[str]:
        """The lines of the EHLO reply but the last."""
        lines = [f"250-{self.hostname}"]
        if self.data_size_limit:  # RFC 1870 4
            lines.append(f"250-SIZE {self.data_size_limit}")
            self.command_size_limits["MAIL"] += 26
        if not self._decode_data:
            lines.append("250-8BITMIME")
        if self.enable_SMTPUTF8:
            lines.append("250-SMTPUTF8")
            self.command_size_limits["MAIL"] += 10
        if self.tls_context and not self._secure:
            lines.append("250-STARTTLS")
        if not self._auth_require_tls or self._secure:
            lines.append("250-AUTH " + " ".join(sorted(self._auth_methods)))
        return lines

    @syntax("NOOP [ignored]")
    async def smtp_NOOP(self, arg: str | None) -> None:
        """NOOP."""
        status = await self._call_handler_hook("NOOP", arg)
        await self.push("250 OK" if status is MISSING else status)

    @syntax("QUIT")
    async def smtp_QUIT(self, arg: str | None) -> None:
        """QUIT."""
        if arg:
            await self.push("501 Syntax: QUIT")
            return
        status = await self._call_handler_hook("QUIT")
        await self.push("221 Bye" if status is MISSING else status)
        self._close()

    @syntax("STARTTLS", when="tls_context")
    async def smtp_STARTTLS(self, arg: str | None) -> None:
        """STARTTLS."""
        if arg:
            await self.push("501 Syntax: STARTTLS")
            return
        if not self.tls_context:
            await self.push("454 TLS not available")
            return
        await self.push("220 Ready to start TLS")
        await self._upgrade(self.tls_context)

    @syntax("HELP [command]")
    async def smtp_HELP(self, arg: str | None) -> None:
        """HELP: the syntax of a command, or all of them."""
        if await self.check_auth_needed("HELP"):
            return
        method = self._smtp_methods.get(arg.upper()) if arg else None
        if method is not None and self._syntax_available(method):
            text = method.__smtp_syntax__  # type: ignore[attr-defined]
            if self.session.extended_smtp:
                text += method.__smtp_syntax_extended__ or ""  # type: ignore[attr-defined]
            await self.push(f"250 Syntax: {text}")
            return
        known = [name for name, m in self._smtp_methods.items() if self._syntax_available(m)]
        code = 501 if arg else 250
        await self.push(f"{code} Supported commands: {' '.join(sorted(known))}")

    def _syntax_available(self, method: Callable[..., Any]) -> bool:
        if not hasattr(method, "__smtp_syntax__"):
            return False
        when = method.__smtp_syntax_when__  # type: ignore[attr-defined]
        return bool(getattr(self, when)) if when else True

    @syntax("VRFY <address>")
    async def smtp_VRFY(self, arg: str | None) -> None:
        """VRFY."""
        if await self.check_auth_needed("VRFY"):
            return
        if not arg:
            await self.push("501 Syntax: VRFY <address>")
            return
        address, _ = self._getaddr(arg)
        if address is None:
            await self.push(f"502 Could not VRFY {arg}")
            return
        status = await self._call_handler_hook("VRFY", address)
        if status is MISSING:  # RFC 5321 7.3
            status = "252 Cannot VRFY user, but will accept message and attempt delivery"
        await self.push(status)

    @syntax("MAIL FROM: <address>", extended=" [SP <mail-parameters>]")
    async def smtp_MAIL(self, arg: str | None) -> None:
        """MAIL."""
        if await self.check_helo_needed() or await self.check_auth_needed("MAIL"):
            return
        address, options, refusal = self._envelope_argument("MAIL FROM:", arg)
        if refusal is None and self.envelope.mail_from:
            refusal = "503 Error: nested MAIL command"
        if refusal is None:
            refusal = self._mail_refusal(options)
        if refusal is not None:
            await self.push(refusal)
            return
        status = await self._call_handler_hook("MAIL", address, options)
        if status is MISSING:
            self.envelope.mail_from = address
            self.envelope.mail_options.extend(options)
            status = "250 OK"
        log.info("%r sender: %s", self.session.peer, address)
        await self.push(status)

    def _envelope_argument(
        self, keyword: str, arg: str | None
    ) -> tuple[str, list[str], str | None]:
        """Address and options of MAIL or RCPT, and their refusal."""
        extended = self.session.extended_smtp
        wrong = f"501 Syntax: {keyword} <address>{' [SP <mail-parameters>]' if extended else ''}"
        text = None if arg is None else addresses.after_keyword(keyword[5:], arg)
        if text is None:
            return "", [], wrong
        address, rest = self._getaddr(text)
        if address is None:
            return "", [], "553 5.1.3 Error: malformed address"
        if not address or rest and not extended:
            return "", [], wrong
        options = rest.upper().split() if rest else []
        return address, options, None

    def _mail_refusal(self, options: list[str]) -> str | None:
        """What is wrong with the parameters of MAIL."""
        wrong = "501 Syntax: MAIL FROM: <address>"
        if self.session.extended_smtp:
            wrong += " [SP <mail-parameters>]"
        found = self._getparams(options) if options else {}
        if found is None:
            return wrong
        if not self._decode_data and found.pop("BODY", "7BIT") not in ("7BIT", "8BITMIME"):
            return "501 Error: BODY can only be one of 7BIT, 8BITMIME"
        utf8 = found.pop("SMTPUTF8", False)
        if not isinstance(utf8, bool):
            return "501 Error: SMTPUTF8 takes no arguments"
        if utf8 and not self.enable_SMTPUTF8:
            return "501 Error: SMTPUTF8 disabled"
        self.envelope.smtp_utf8 = utf8
        size = found.pop("SIZE", "0")
        if not isinstance(size, str) or not size.isdigit():
            return wrong
        if self.data_size_limit and int(size) > self.data_size_limit:  # RFC 1870 6.1
            return "552 Error: message size exceeds fixed maximum message size"
        return "555 MAIL FROM parameters not recognized or not implemented" if found else None

    @syntax("RCPT TO: <address>", extended=" [SP <mail-parameters>]")
    async def smtp_RCPT(self, arg: str | None) -> None:
        """RCPT."""
        if await self.check_helo_needed() or await self.check_auth_needed("RCPT"):
            return
        if not self.envelope.mail_from:
            await self.push("503 Error: need MAIL command")
            return
        address, options, refusal = self._envelope_argument("RCPT TO:", arg)
        if refusal is None and options:
            if self._getparams(options) is None:
                refusal = "501 Syntax: RCPT TO: <address> [SP <mail-parameters>]"
            else:
                refusal = "555 RCPT TO parameters not recognized or not implemented"
        if refusal is not None:
            await self.push(refusal)
            return
        status = await self._call_handler_hook("RCPT", address, options)
        if status is MISSING:
            self.envelope.rcpt_tos.append(address)
            self.envelope.rcpt_options.extend(options)
            status = "250 OK"
        log.info("%r recip: %s", self.session.peer, address)
        await self.push(status)

    def _getaddr(self, arg: str) -> tuple[str | None, str | None]:
        return addresses.address(arg, self.local_part_limit)

    def _getparams(self, params: list[str]) -> dict[str, str | bool] | None:
        return addresses.parameters(params)

    @syntax("RSET")
    async def smtp_RSET(self, arg: str | None) -> None:
        """RSET."""
        if arg:
            await self.push("501 Syntax: RSET")
            return
        self._set_rset_state()
        if hasattr(self, "rset_hook"):
            warn("Use handler.handle_RSET() instead of .rset_hook()", DeprecationWarning)  # noqa: B028
            await settled(self.rset_hook())
        status = await self._call_handler_hook("RSET")
        await self.push("250 OK" if status is MISSING else status)

    @syntax("DATA")
    async def smtp_DATA(self, arg: str | None) -> None:
        """DATA and the content."""
        if await self.check_helo_needed() or await self.check_auth_needed("DATA"):
            return
        if not self.envelope.rcpt_tos:
            await self.push("503 Error: need RCPT command")
            return
        if arg:
            await self.push("501 Syntax: DATA")
            return
        await self.push("354 End data with <CR><LF>.<CR><LF>")
        self._core.take_content(self.data_size_limit or 0, max(1, self.line_length_limit - 2))
        event = await self._next()
        if isinstance(event, Content):
            await self._deliver(event.body)
            return
        refusal = getattr(event, "refusal", None)
        large = refusal is not None and refusal.reason is Reason.TOO_LARGE
        self._set_post_data_state()
        await self.push(
            "552 Error: Too much mail data" if large
            else "500 Line too long (see RFC5321 4.5.3.1.6)"
        )  # fmt: skip

    async def _deliver(self, body: bytes) -> None:
        """Give the content to the handler."""
        envelope = self.envelope
        envelope.content = envelope.original_content = body
        if self._decode_data:
            try:
                utf8 = self.enable_SMTPUTF8
                envelope.content = (
                    body.decode("utf-8", "surrogateescape") if utf8 else body.decode("ascii")
                )
            except UnicodeDecodeError:
                await self.push(STRICT_ASCII)
                return
        status = await self._call_handler_hook("DATA")
        if status is MISSING and hasattr(self.event_handler, "process_message"):
            status = await self._process_message(envelope)
        self._set_post_data_state()
        await self.push("250 OK" if status is MISSING else status)

    async def _process_message(self, envelope: Envelope) -> Any:
        """The hook that handle_DATA came after; None is its positive answer."""
        warn("Use handler.handle_DATA() instead of .process_message()", DeprecationWarning)  # noqa: B028
        status = await settled(
            self.event_handler.process_message(
                self.session.peer, envelope.mail_from, envelope.rcpt_tos, envelope.content
            )
        )
        return MISSING if status is None else status

    async def smtp_EXPN(self, arg: str | None) -> None:
        """EXPN."""
        await self.push("502 EXPN not implemented")


def ehlo_arguments(hook: Callable[..., Any]) -> int:
    """4 or 5: how many arguments a handle_EHLO takes."""
    count = len(inspect.signature(hook).parameters)
    if count not in (4, 5):
        raise RuntimeError("Unsupported EHLO Hook")
    if count == 4:
        warn(
            "Use the 5-argument handle_EHLO() hook instead of "
            "the 4-argument handle_EHLO() hook; "
            "support for the 4-argument handle_EHLO() hook will be "
            "removed in version 2.0",
            DeprecationWarning,
            stacklevel=4,
        )
    return count


def _warn_of(context: ssl.SSLContext | None, plain_auth: bool, proxy_timeout: float | None) -> None:
    """Say what is set and may not be meant."""
    if context is not None:
        if context.verify_mode not in (ssl.CERT_NONE, ssl.CERT_OPTIONAL):
            log.warning(
                "tls_context.verify_mode not in {CERT_NONE, CERT_OPTIONAL}; "
                "this might cause client connection problems"
            )
        elif context.check_hostname:
            log.warning(
                "tls_context.check_hostname == True; this might cause client connection problems"
            )
    if plain_auth:
        warn("Requiring AUTH while not requiring TLS can lead to security vulnerabilities!")  # noqa: B028
        log.warning("auth_required == True but auth_require_tls == False")
    if proxy_timeout is not None:
        if proxy_timeout <= 0:
            raise ValueError("proxy_protocol_timeout must be > 0")
        if proxy_timeout < 3.0:
            log.warning("proxy_protocol_timeout < 3.0")


def _log_line(session: Session, line: bytes | None) -> None:
    """Take down a command line, without the secrets of AUTH."""
    if line is not None:
        log.debug("_handle_client readline: %r", sanitize(line + b"\r\n"))
        log.info("%r >> %r", session.peer, sanitize(line))
