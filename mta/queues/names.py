"""The name of a scheduled queue, `campaign:tenant@domain!route`; pure.

Parts that are empty are left out with their mark, but a campaign without a tenant keeps the `@`:
`campaign:@domain` (KumoMTA's form). A mark inside a part is written `%XX`, so that every name
reads back as what it was made of.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

if TYPE_CHECKING:
    from mta.model import Recipient

_MARKS = re.compile(r"[%:@!\x00-\x20\x7f]")
_MARKS_OF_DOMAIN = re.compile(r"[%@!\x00-\x20\x7f]")  # `:` occurs in [IPv6:2001:db8::1]


class QueueName(NamedTuple):
    """What a scheduled queue is made of; an empty part is "not set"."""

    campaign: str
    tenant: str
    domain: str
    route: str  # rerouted by an operator: next hop, else ""

    def __str__(self) -> str:
        return format_name(self.campaign, self.tenant, self.domain, self.route)


def format_name(campaign: str, tenant: str, domain: str, route: str = "") -> str:
    """The queue's name."""
    name = _escape(_MARKS_OF_DOMAIN, domain)
    if tenant or campaign:
        name = f"{_escape(_MARKS, tenant)}@{name}"
    if campaign:
        name = f"{_escape(_MARKS, campaign)}:{name}"
    return f"{name}!{_escape(_MARKS_OF_DOMAIN, route)}" if route else name


def parse_name(name: str) -> QueueName:
    """The parts of a queue's name."""
    rest, _, route = name.partition("!")
    prefix, _, domain = rest.rpartition("@")
    campaign, colon, tenant = prefix.partition(":")
    if not colon:
        campaign, tenant = "", prefix
    return QueueName(unquote(campaign), unquote(tenant), unquote(domain), unquote(route))


def _escape(marks: re.Pattern[str], part: str) -> str:
    return marks.sub(lambda mark: f"%{ord(mark[0]):02X}", part)


cached_name = lru_cache(4096)(format_name)


def queue_name(recipient: Recipient) -> str:
    """The name of the queue that a recipient belongs to."""
    message = recipient.message
    return cached_name(message.campaign, message.tenant, recipient.domain, recipient.route)
