"""Ways out other than SMTP: from `[transport.NAME]` to the handlers that connections share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from mta.config import transports
from mta.delivery.transports.discard import Discard
from mta.delivery.transports.file import File
from mta.delivery.transports.maildir import Maildir
from mta.delivery.transports.pipe import Pipe
from mta.errors import ConfigError
from mta.model import Peer
from mta.routing.rules import Hop, parse_hop
from mta.routing.site import SitePlan, transport_site

if TYPE_CHECKING:
    from mta.config.kinds import Transport
    from mta.config.schema import Config
    from mta.delivery.transports.handover import Handler

LMTP_PORT = 24  # RFC 2033 5: not that of SMTP


class Way(NamedTuple):
    """One `[transport.NAME]`."""

    site: SitePlan  # where its connections go
    peer: Peer  # for the records; the address of an LMTP server is known when it is connected to
    handler: Handler | None  # None is LMTP: a session of its own kind
    identity: tuple[object, ...]  # equal while nothing changed


def from_config(config: Config, old: Mapping[str, Way]) -> dict[str, Way]:
    """The ways by name; those of `old` that did not change go on. ConfigError."""
    return {
        name: _way(name, transport, old.get(name)) for name, transport in config.transport.items()
    }


def changed(old: Mapping[str, Way], new: Mapping[str, Way]) -> frozenset[str]:
    """Names of ways that only one of the two has, or has otherwise."""
    return frozenset(n for n in old.keys() | new.keys() if old.get(n) is not new.get(n))


def _way(name: str, transport: Transport, old: Way | None) -> Way:
    try:
        identity = transports.identity(transport)
        if old is not None and old.identity == identity:
            return old
        kind = transport.kind
        success = "relayed" if kind == "http" else "delivered"
        peer = Peer(f"{kind}:{name}", _place(transport), "", success)
        if kind == "lmtp":
            site = transport_site(name, [_lmtp_hop(text) for text in transport.address])
            return Way(site, peer, None, identity)
        site = transport_site(name, [Hop(peer.name, 0, False)])
        return Way(site, peer, _handler(name, transport), identity)
    except (OSError, UnicodeDecodeError) as error:
        text = f"{transport.token_file} cannot be read: {error}"
        raise ConfigError(text, key=f"transport.{name}.token_file") from None
    except KeyError:
        text = f'there is no user "{transport.user}" here'
        raise ConfigError(text, key=f"transport.{name}.user") from None


def _lmtp_hop(text: str) -> Hop:
    if text.startswith("unix:"):
        return Hop(text.removeprefix("unix:"), 0, False)
    return parse_hop(text, LMTP_PORT)._replace(mx=False)


def _place(transport: Transport) -> str:
    """Where the mail goes, for the records; a URL without what may be secret in it."""
    if transport.kind == "http":
        return transport.url.partition("?")[0].partition("#")[0]
    return transport.path or "".join(transport.command[:1])


def _handler(name: str, transport: Transport) -> Handler:
    timeout = transport.timeout
    if transport.kind == "maildir":
        return Maildir(name, transport.path)
    if transport.kind == "file":
        return File(name, transport.path, append=transport.append, timeout=timeout)
    if transport.kind == "pipe":
        return Pipe(name, transport.command, user=transport.user, timeout=timeout)
    if transport.kind == "discard":
        return Discard()
    from mta.delivery.transports.http import Http  # noqa: PLC0415 - a large import, seldom needed

    return Http(
        transport.url,
        json=transport.format == "json",
        token=transports.bearer(transport),
        headers=transport.headers,
        timeout=timeout,
    )
