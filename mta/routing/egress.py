"""From where a message leaves."""

from __future__ import annotations

from typing import NamedTuple


class Source(NamedTuple):
    """An egress source."""

    name: str
    address: str = ""  # local address to bind to; "" lets the system choose
    ehlo: str = ""  # name in EHLO; "" is the server's own


DEFAULT = Source("default")
