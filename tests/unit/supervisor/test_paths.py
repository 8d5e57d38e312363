"""Where we listen ourselves."""

from __future__ import annotations

import pytest

from mta.supervisor.paths import LocalEndpoints


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
