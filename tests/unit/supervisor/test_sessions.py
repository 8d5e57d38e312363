"""Incoming sessions of the node, over two workers."""

from __future__ import annotations

import os

from mta import sharedmem
from mta._speedups.verdict import ACCEPTED
from mta.config.load import load
from mta.supervisor.wiring import NodeSessions, session_limits


def test_the_total_is_the_node_s_and_a_network_s_is_shared() -> None:
    given = [("workers", "2"), ("smtpd.max_sessions", "6"),
             ("smtpd.max_sessions_per_network", "7")]  # fmt: skip
    config = load(None, given)
    fd, table = sharedmem.create(64, 2)
    one = session_limits(config, NodeSessions(table, 0))
    two = session_limits(config, NodeSessions(sharedmem.attach(fd), 1))
    os.close(fd)
    assert [one.enter(b"a") for _ in range(5)].count(ACCEPTED) == 4
    assert [two.enter(b"b") for _ in range(3)].count(ACCEPTED) == 2
    one.release(b"a")
    assert two.enter(b"b") is ACCEPTED and one.enter(b"c").refuses
    table.reclaim(1)  # the second worker dies
    assert [one.enter(b"c") for _ in range(4)].count(ACCEPTED) == 3
