"""Sockets that systemd (sd_listen_fds(3)) has bound for us.

A socket belongs to the listener, or `http.listen`, whose address it has; or by its name
(FileDescriptorName=): `listener.N` or `http`. All workers accept from the same socket.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, NamedTuple

from mta.errors import ConfigError
from mta.smtpd.bind import Address, parse

if TYPE_CHECKING:
    from collections.abc import MutableMapping, Sequence

FIRST = 3  # SD_LISTEN_FDS_START
VARIABLES = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")


def address_of(sock: socket.socket) -> Address:
    """Where a socket listens."""
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        return Address(socket.AF_UNIX, os.fsdecode(name), 0)
    return Address(socket.AddressFamily(sock.family), name[0], name[1])


class Inherited(NamedTuple):
    """A socket that was passed to us."""

    name: str
    sock: socket.socket

    @property
    def address(self) -> Address:
        """Where it listens."""
        return address_of(self.sock)


def inherited(environ: MutableMapping[str, str], *, first: int = FIRST) -> list[Inherited]:
    """The sockets meant for this process; takes the variables away, for our children's sake."""
    pid, count, names = (environ.pop(name, "") for name in VARIABLES)
    if pid != str(os.getpid()) or not count.isdecimal():
        return []
    listed = names.split(":") if names else []
    listed += ["unknown"] * (int(count) - len(listed))
    return [_taken(first + at, listed[at]) for at in range(int(count))]


def _taken(descriptor: int, name: str) -> Inherited:
    """A descriptor as a listening stream socket, close-on-exec; ConfigError if it is none."""
    try:
        sock = socket.socket(fileno=descriptor)
        listens = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        text = f"the inherited descriptor {descriptor} ({name}) is no socket: {error.strerror}"
        raise ConfigError(text, key="listener") from None
    known = sock.family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)
    if not known or sock.type != socket.SOCK_STREAM or not listens:
        sock.detach()
        raise ConfigError(
            f"the inherited socket {descriptor} ({name}) does not listen for streams",
            key="listener", hint="use ListenStream= and Accept=no in the .socket unit",
        )  # fmt: skip
    sock.setblocking(False)
    os.set_inheritable(descriptor, False)
    return Inherited(name, sock)


def assign(
    sockets: Sequence[Inherited], listeners: Sequence[str], http: str
) -> tuple[dict[int, socket.socket], socket.socket | None]:
    """Which listener, by number, has which socket, and which is for HTTP; each has a user."""
    places = {parse(spec): number for number, spec in enumerate(listeners)}
    found: dict[int, socket.socket] = {}
    web: socket.socket | None = None
    for one in sockets:
        kind, _, digits = one.name.partition(".")
        if one.name == "http" or (http and parse(http) == one.address):
            web = one.sock
        elif kind == "listener" and digits.isdecimal() and int(digits) < len(listeners):
            found[int(digits)] = one.sock
        elif (number := places.get(one.address)) is not None:
            found[number] = one.sock
        else:
            hint = f'add a [[listener]] with listen = "{one.address}"'
            text = f"the inherited socket {one.address} ({one.name}) is for none of them"
            raise ConfigError(text, key="listener", hint=hint)
    return found, web
