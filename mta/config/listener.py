"""The settings of a listener: its address, who may relay, and what its clients may do."""

from __future__ import annotations

from typing import Annotated, Literal

from mta.config.declare import Octets, Section, doc
from mta.config.values import Endpoint

DEFAULT_LISTEN = "127.0.0.1:2525"
LOOPBACK = ("127.0.0.0/8", "::1/128", "unix")


class Listener(Section, frozen=True):
    """An address that accepts mail. Without any, 127.0.0.1:2525."""

    listen: Annotated[
        str, doc("Address to listen on: host:port, [v6]:port or unix:/path", static=True)
    ]
    relay_from: Annotated[
        tuple[str, ...],
        doc(
            "Client networks that may relay (send to any recipient); none if empty. "
            "`unix` stands for clients of a Unix socket",
            unit="networks",
        ),
    ] = LOOPBACK
    relay_domains: Annotated[
        tuple[str, ...],
        doc(
            "Recipient domains accepted from any client; `*.example.org` is allowed", unit="domains"
        ),
    ] = ()
    proxy_from: Annotated[
        tuple[str, ...],
        doc(
            "Proxies that speak the PROXY protocol (version 1 or 2). With this set only "
            "they may connect, and rules judge the client address they name",
            unit="networks",
        ),
    ] = ()
    xclient_from: Annotated[
        tuple[str, ...],
        doc(
            "Proxies that may name their client by XCLIENT. Rules judge the address they "
            "name; the proxy itself may not relay",
            unit="networks",
        ),
    ] = ()
    control_headers: Annotated[
        bool,
        doc("Obey the control headers of this listener's clients; they are removed in any case"),
    ] = False
    bare_newlines: Annotated[
        Literal["reject", "fix"],
        doc(
            "A CR or LF on its own: `reject` refuses the message and ends the session, "
            "`fix` turns it into CRLF"
        ),
    ] = "reject"
    bare_addresses: Annotated[
        bool,
        doc(
            "take addresses without angle brackets, `MAIL FROM:a@example.com`, as old injectors"
            " send them"
        ),
    ] = False
    mode: Annotated[
        str,
        doc(
            "permissions of a Unix socket's file, in octal; it belongs to `user` and `group`",
            unit="permissions",
            static=True,
        ),
    ] = "0660"
    handler: Annotated[
        str | None,
        doc(
            "Python policy class, written for aiosmtpd: `module:Class` or "
            "`/path/file.py:Class`; a file is read again at a reload (docs/aiosmtpd.md)"
        ),
    ] = None
    add_headers: Annotated[bool, doc("Add Date and Message-ID where they are missing")] = False
    max_size: Annotated[
        Octets | None, doc("Largest message on this listener; default: `smtpd.max_size`", ge=1)
    ] = None
    max_recipients: Annotated[
        int | None,
        doc("Most recipients per message on this listener; default: `smtpd.max_recipients`", ge=1),
    ] = None

    @property
    def endpoint(self) -> Endpoint:
        """The parsed address."""
        return Endpoint.parse(self.listen)
