"""The two records that each message has, as msgspec would encode them; others are left to it.

`tail` is `,"node":"...","shard":N`, without what has its default. UnicodeEncodeError for text that
is no Unicode.
"""

from typing import Any

def reception(
    time: int, m: Any, recipients: list[Any], shown: int, klass: str, tail: bytes
) -> bytes:
    """The line of a Reception: Message, its Recipients, of which `shown` are named at most."""

def delivery(
    time: int,
    r: Any,
    outcome: tuple[Any, ...],
    peer: tuple[str, ...],
    stages: tuple[int, int, int, int],
    queue: str,
    site: str,
    tls: str | None,
    klass: str,
    tail: bytes,
) -> bytes:
    """The line of a Delivery: Recipient, Outcome, Peer, Stages."""
