"""What a look-up says: values, for every DNS outcome."""

from __future__ import annotations

from typing import Literal, NamedTuple

Status = Literal["ok", "nxdomain", "nodata", "temporary"]


class MxAnswer(NamedTuple):
    """The mail servers of a domain."""

    hosts: tuple[tuple[int, str], ...]  # (preference, host name), sorted; () if status is not ok
    implicit: bool  # no MX, so the domain itself is the host (RFC 5321 5.1)
    null: bool  # takes no mail (RFC 7505); hosts is () and status ok
    ttl_until: float  # monotonic time until which the answer holds
    status: Status
    text: str  # why, for people; "" if status is ok


class AddressAnswer(NamedTuple):
    """The addresses of a host."""

    addresses: tuple[str, ...]  # of the preferred family first; () if status is not ok
    ttl_until: float  # monotonic time until which the answer holds
    status: Status
    text: str  # why, for people; "" if status is ok
