"""Limits hold over two workers, counted at the remote."""

from __future__ import annotations

import contextlib
import itertools
import smtplib
import threading
import time
from collections import defaultdict
from pathlib import Path

from mta.testing.remote import Manners, Received, RemoteMX
from tests.scenarios.server import BODY, Server
from tests.waiting import PATIENCE, wait


def route(remote: RemoteMX) -> tuple[str, str]:
    return "--route", f"*=127.0.0.1:{remote.port}"


def inject(server: Server, *recipients: str, header: str = "", sessions: int = 8) -> None:
    """A message for each recipient, over sessions at once, so that both workers have as many."""
    with contextlib.ExitStack() as stack:
        clients = [
            stack.enter_context(smtplib.SMTP("127.0.0.1", server.port, timeout=PATIENCE))
            for _ in range(sessions)
        ]
        for recipient, client in zip(recipients, itertools.cycle(clients), strict=False):
            client.sendmail("s@a.example", [recipient], header + BODY)


def many(count: int, name: str = "r") -> list[str]:
    return [f"{name}{number}@b.example" for number in range(count)]


def test_a_rate_is_hard_over_two_workers(tmp_path: Path) -> None:
    times: list[float] = []

    def mail(sender: str) -> None:
        times.append(time.monotonic())

    flags = ("--rate", "20/s, burst=5")
    with (
        RemoteMX(Manners(mail=mail)) as remote,
        Server(tmp_path, *route(remote), *flags, workers=2) as server,
    ):
        began = time.monotonic()
        inject(server, *many(60))
        remote.wait(60)
        server.wait_records(60, "Delivery")
    for count, reached in enumerate(sorted(times), 1):  # no later than it was allowed to leave
        assert count <= 20 * (reached - began) + 5 + 1


def test_connections_are_limited_over_two_workers_and_both_get_their_turn(tmp_path: Path) -> None:
    by_worker: defaultdict[int, int] = defaultdict(int)

    def dot(received: Received) -> str | None:
        time.sleep(0.005)
        return None

    flags = ("-o", "limits.site.default.connections=1")
    with (
        RemoteMX(Manners(dot=dot)) as remote,
        Server(tmp_path, *route(remote), *flags, workers=2) as server,
    ):
        inject(server, *many(200))
        remote.wait(200)
        assert remote.most_open == 1
        deliveries = server.wait_records(200, "Delivery")
    for record in deliveries[:150]:
        by_worker[record.get("shard", 0)] += 1
    assert len(by_worker) == 2 and min(by_worker.values()) > 10  # nobody waited for the other's end


def test_the_node_s_connections_are_limited_over_sites_which_take_turns(tmp_path: Path) -> None:
    injected = threading.Event()

    def dot(received: Received) -> str | None:
        injected.wait(PATIENCE)
        threading.Event().wait(0.01)  # 200 of them take many times the turn of a connection
        return None

    with RemoteMX(Manners(dot=dot)) as one, RemoteMX() as two:
        flags = (
            "--route", f"b.example=127.0.0.1:{one.port}", "--route", f"*=127.0.0.1:{two.port}",
            "--max-connections", "1",
        )  # fmt: skip
        with Server(tmp_path, *flags, workers=1) as server:
            inject(server, *many(200))
            inject(server, *[f"r{n}@c.example" for n in range(20)])
            injected.set()
            one.wait(200)
            two.wait(20)
            ended = [r["recipient"] for r in server.wait_records(220, "Delivery")]
            assert max(n for n, r in enumerate(ended) if "c.example" in r) < 210
            assert one.most_open == two.most_open == 1
            assert server.status()["totals"]["connections"] <= 1


def test_a_tenant_s_rate_parks_that_tenant_alone(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with RemoteMX() as remote:
        server = Server(home, *route(remote), "-o", 'tenant={slow={rate="1/h"}}')
        listener = f'[{{listen="127.0.0.1:{server.port}", control_headers=true}}]'
        server.flags += ("-o", f"listener={listener}")
        with server:
            for number in range(5):
                _send(server, "slow", f"slow{number}@b.example")
            for number in range(5):
                _send(server, "fast", f"fast{number}@b.example")
            got = [r.recipients[0] for r in remote.wait(6)]
            assert sorted(got) == [*(f"fast{n}@b.example" for n in range(5)), "slow0@b.example"]


def _send(server: Server, tenant: str, recipient: str) -> None:
    with smtplib.SMTP("127.0.0.1", server.port, timeout=PATIENCE) as client:
        client.sendmail("s@a.example", [recipient], f"X-Tenant: {tenant}\r\n{BODY}")


def test_a_remote_that_takes_one_connection_only_is_served_over_it(tmp_path: Path) -> None:
    """The refusal of a second connection says nothing of the first."""
    remote = RemoteMX()

    def ehlo(name: str) -> str | None:
        return "421 4.7.0 one connection is enough" if remote.open > 1 else None

    remote.manners = Manners(ehlo=ehlo, dot=lambda received: time.sleep(0.01))
    with remote, Server(tmp_path, *route(remote)) as server:
        inject(server, *many(100))
        remote.wait(100)
        assert server.records("TransientFailure") == []


def test_a_hung_connection_does_not_hold_up_what_comes_next(tmp_path: Path) -> None:
    release = threading.Event()
    with (
        RemoteMX(Manners(dot=lambda received: release.wait(PATIENCE) and None)) as remote,
        Server(tmp_path, *route(remote)) as server,
    ):
        server.send("first@b.example")
        wait(lambda: server.status()["totals"].get("in_flight"), "it does not send")
        server.send("second@b.example")
        wait(lambda: _opened(server) > 1, "it waits for the hung connection alone")
        release.set()
        server.wait_records(2, "Delivery")


def _opened(server: Server) -> int:
    totals = server.status()["totals"]
    return int(totals["connections"] + totals["dialling"])
