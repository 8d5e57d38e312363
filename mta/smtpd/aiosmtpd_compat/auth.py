"""AUTH as aiosmtpd's handlers know it (RFC 4954): PLAIN, LOGIN, and mechanisms of theirs."""

from __future__ import annotations

import binascii
import logging
import re
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Any, NamedTuple
from warnings import warn

from aiosmtpd.smtp import MISSING, AuthResult, Envelope, LoginPassword, Session, syntax

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from mta.smtp.server import Event, ServerCore

log = logging.getLogger("mail.log")

SUCCESS = "235 2.7.0 Authentication successful"
INVALID = "535 5.7.8 Authentication credentials invalid"
NOT_BASE64 = "501 5.5.2 Can't decode base64"


class Mechanism(NamedTuple):
    """One AUTH mechanism."""

    method: Callable[[Any, list[str]], Any]
    is_builtin: bool


def always_fail(mechanism: str, login: bytes, password: bytes) -> bool:
    """The judge where none was named."""
    return False


def mechanisms(server: Any, handler: Any) -> dict[str, Mechanism]:
    """The auth_ methods of both by the name of their mechanism; the handler's go first."""
    found: dict[str, Mechanism] = {}
    for owner in (server, handler):
        for name in dir(owner):
            if name.startswith("auth_"):
                method = getattr(owner, name)
                given = name.removeprefix("auth_").replace("__", "-")
                actual = getattr(method, "__auth_mechanism_name__", given)
                found[actual] = Mechanism(method, owner is server)
    return found


async def settled(value: Any) -> Any:
    """What a hook gives, were it sync or async."""
    return await value if hasattr(value, "__await__") else value


class Auth:
    """The AUTH command; its steps are coroutines that get the client's lines from the core."""

    AuthLoginUsernameChallenge = "User Name\x00"
    AuthLoginPasswordChallenge = "Password\x00"

    session: Session
    envelope: Envelope
    _core: ServerCore
    _secure: bool  # the connection is encrypted
    _auth_methods: dict[str, Mechanism]
    _auth_required: bool
    _auth_require_tls: bool
    _authenticator: Callable[..., Any] | None
    _auth_callback: Callable[[str, bytes, bytes], bool]

    if TYPE_CHECKING:

        async def push(self, status: str | bytes) -> None: ...
        async def check_helo_needed(self, helo: str = "HELO") -> bool: ...
        async def _call_handler_hook(self, command: str, *args: Any) -> Any: ...
        def _next(self) -> Awaitable[Event]: ...

    async def check_auth_needed(self, caller_method: str) -> bool:
        """Whether authentication is wanting; then the client has been told."""
        if self._auth_required and not self.session.authenticated:
            log.info("%s: Authentication required", caller_method)
            await self.push("530 5.7.0 Authentication required")
            return True
        return False

    @syntax("AUTH <mechanism>")
    async def smtp_AUTH(self, arg: str | None) -> None:
        """AUTH: a hook of its own, or the auth_ method of the mechanism."""
        if await self.check_helo_needed("EHLO"):
            return
        args = (arg or "").split()
        if args:
            args[0] = self._mechanism(args[0])
        refusal = self._auth_refusal(args)
        if refusal is not None:
            await self.push(refusal)
            return
        status = await self._call_handler_hook("AUTH", args)
        if status is MISSING:
            mechanism = self._auth_methods[args[0]]
            kind = "builtin" if mechanism.is_builtin else "handler"
            log.debug("Using %s auth_ hook for %r", kind, args[0])
            status = self._conclude(await settled(mechanism.method(self, args)))
        if status is not None:
            await self.push(status)

    def _mechanism(self, name: str) -> str:
        """The mechanism as it is known here; its name counts in any case (RFC 4954 8)."""
        if name in self._auth_methods:
            return name
        wanted = name.upper()
        return next((known for known in self._auth_methods if known.upper() == wanted), name)

    def _auth_refusal(self, args: list[str]) -> str | None:
        """Why this AUTH cannot begin."""
        if not self.session.extended_smtp:
            return "500 Error: command 'AUTH' not recognized"
        if self._auth_require_tls and not self._secure:  # RFC 4954 4
            return "538 5.7.11 Encryption required for requested authentication mechanism"
        if self.session.authenticated:
            return "503 Already authenticated"
        if not args:
            return "501 Not enough value"
        if len(args) > 2:
            return "501 Too many values"
        if args[0] not in self._auth_methods:
            return "504 5.5.4 Unrecognized authentication type"
        return None

    def _conclude(self, result: Any) -> str | None:
        """The reply to what a mechanism returned; None where it has replied itself."""
        session = self.session
        if not isinstance(result, AuthResult):  # what aiosmtpd 1.2 knew
            if result is None:
                return None
            if result is MISSING or result is False:
                return INVALID
            session._login_data = result
            return SUCCESS
        if result.success:
            session.authenticated = True
            session.auth_data = result.auth_data
            session._login_data = getattr(result.auth_data, "login", None)
            return result.message or SUCCESS
        return None if result.handled else result.message or INVALID

    async def challenge_auth(
        self,
        challenge: str | bytes,
        encode_to_b64: bool = True,
        log_client_response: bool = False,
    ) -> Any:
        """The client's answer to a challenge, decoded; MISSING if there is none (it was told)."""
        octets = challenge.encode() if isinstance(challenge, str) else challenge
        if encode_to_b64:
            octets = b64encode(octets)
        await self.push(b"334 " + octets)
        self._core.proceed("line")
        line = getattr(await self._next(), "line", None)
        if line is None:
            await self.push("500 Command line too long")
            return MISSING
        if log_client_response:
            warn("AUTH interaction logging is enabled!", stacklevel=2)
            warn("Sensitive information might be leaked!", stacklevel=2)
            log.debug("%r >> %r", self.session.peer, line)
        blob = line.strip()
        if blob == b"*":  # RFC 4954 4
            log.warning("%r aborted AUTH with '*'", self.session.peer)
            await self.push("501 5.7.0 Auth aborted")
            return MISSING
        return await self._decoded(blob)

    async def _auth_interact(self, server_message: str) -> Any:
        """`challenge_auth` as aiosmtpd 1.2 called it."""
        warn(
            "_auth_interact will be deprecated in version 2.0. "
            "Please use challenge_auth() instead.",
            DeprecationWarning,
            stacklevel=2,
        )
        return await self.challenge_auth(re.sub("^334 ", "", server_message), encode_to_b64=False)

    async def _decoded(self, blob: bytes) -> Any:
        """Base64 undone; MISSING if it is none (the client was told)."""
        try:
            return b64decode(blob, validate=True)
        except binascii.Error:
            log.debug("%r can't decode base64", self.session.peer)
            await self.push(NOT_BASE64)
            return MISSING

    def _authenticate(self, mechanism: str, auth_data: Any) -> Any:
        """The judgement of the authenticator, or of the older auth_callback."""
        if self._authenticator is not None:
            return self._authenticator(self, self.session, self.envelope, mechanism, auth_data)
        if self._auth_callback(mechanism, *auth_data):
            return AuthResult(success=True, handled=True, auth_data=auth_data)
        return AuthResult(success=False, handled=False)

    async def auth_PLAIN(self, _: Any, args: list[str]) -> Any:
        """AUTH PLAIN (RFC 4616 2): authorization identity, login, password."""
        if len(args) == 1:
            blob = await self.challenge_auth("")
        else:
            blob = await self._decoded(_octets(args[1]))
        if blob is MISSING:
            return AuthResult(success=False)
        parts = blob.split(b"\x00")
        if len(parts) != 3:
            await self.push("501 5.5.2 Can't split auth value")
            return AuthResult(success=False)
        return await settled(self._authenticate("PLAIN", LoginPassword(parts[1], parts[2])))

    async def auth_LOGIN(self, _: Any, args: list[str]) -> Any:
        """AUTH LOGIN: user name and password, each asked for."""
        if len(args) == 1:
            login = await self.challenge_auth(self.AuthLoginUsernameChallenge)
        else:
            login = await self._decoded(_octets(args[1]))
        if login is MISSING:
            return AuthResult(success=False)
        password = await self.challenge_auth(self.AuthLoginPasswordChallenge)
        if password is MISSING:
            return AuthResult(success=False)
        return await settled(self._authenticate("LOGIN", LoginPassword(login, password)))


def _octets(argument: str) -> bytes:
    """An argument as the client sent it."""
    return argument.encode("utf-8", "surrogateescape")
