"""Where we listen ourselves, and where mail goes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from mta.model import Message, Outcome, Recipient, Refusal
from mta.routing.planner import Plan
from mta.supervisor.paths import LocalEndpoints, Paths


@pytest.mark.parametrize(
    ("listen", "endpoint", "ours"),
    [
        (("192.0.2.1", 25), ("192.0.2.1", 25), True),
        (("192.0.2.1", 25), ("192.0.2.1", 26), False),
        (("0.0.0.0", 25), ("127.0.0.1", 25), True),
        (("0.0.0.0", 25), ("127.9.9.9", 25), True),
        (("0.0.0.0", 25), ("127.0.0.1", 26), False),
        (("0.0.0.0", 25), ("192.0.2.1", 25), False),
        (("0.0.0.0", 25), ("::1", 25), False),
        (("::", 25), ("2001:db8::1", 25), False),
        (("127.0.0.1", 25), ("127.0.0.2", 25), False),
    ],
)
def test_endpoints(listen: tuple[str, int], endpoint: tuple[str, int], ours: bool) -> None:
    assert (endpoint in LocalEndpoints([listen])) is ours


@pytest.mark.parametrize(
    ("plan", "site"),
    [
        (Plan(SimpleNamespace(name="new.example"), None), "new.example"),  # type: ignore[arg-type]
        (None, "old.example"),
        (Refusal(Outcome(1, 0, "4.4.3", "no DNS server answers", "connect")), "old.example"),
    ],
)
def test_a_site_is_the_last_one_while_dns_does_not_tell(plan: Any, site: str) -> None:
    paths = object.__new__(Paths)
    paths._peek = SimpleNamespace(  # type: ignore[assignment]
        planner=SimpleNamespace(peek=lambda message, domain, route: plan)
    )
    recipient = Recipient(Message(b"", "s@a.example"), 0, "r@b.example", site="old.example")
    assert paths.site_of(recipient) == site
