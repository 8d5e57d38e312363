"""The Received header and the date in it (compiled)."""

from __future__ import annotations

import datetime
import email.utils
import re

from mta.reception.policy import UNIX

LONGER = 69  # octets of a Received header behind `trace`: id, semicolon, date, folding

PLAIN_NAME = re.compile(r"[A-Za-z0-9._:\[\]-]{1,255}")
ODD = re.compile(r"[^A-Za-z0-9._:\[\]-]")


def client_name(name: str) -> str:
    """The EHLO name as a token that can stand in a header: anything odd becomes `?`."""
    if PLAIN_NAME.fullmatch(name):
        return name
    return ODD.sub("?", name)[:255] or "unknown"


def tcp_info(address: str, host: str = "") -> str:
    """The client's address as RFC 5321 4.1.3 writes literals, behind its name if that is known."""
    if address == UNIX:
        return "(unix socket)"
    known = f"{client_name(host)} " if host else ""
    return f"({known}[IPv6:{address}])" if ":" in address else f"({known}[{address}])"


def trace(
    name: str, address: str, hostname: str, *, extended: bool, host: str = "", login: bool = False
) -> bytes:
    """The Received header up to its id: the same for all messages of a session (RFC 5321 4.4)."""
    protocol = "ESMTPA" if login and extended else "ESMTP" if extended else "SMTP"  # RFC 3848
    text = (
        f"Received: from {client_name(name)} {tcp_info(address, host)}\r\n"
        f"\tby {hostname} with {protocol} id "
    )
    return text.encode("ascii", "replace")


class Dates:
    """Header dates (RFC 5322 3.3), one formatted a second."""

    __slots__ = ("_second", "_text")

    def __init__(self) -> None:
        self._second, self._text = -1, b""

    def at(self, wall_us: int) -> bytes:
        """`Thu, 01 Jan 2026 00:00:00 +0000`."""
        second = wall_us // 1_000_000
        if second != self._second:
            moment = datetime.datetime.fromtimestamp(second, datetime.UTC)
            self._text = email.utils.format_datetime(moment).encode()
            self._second = second
        return self._text
