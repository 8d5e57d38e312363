"""The clock of a real server's machine is set to and fro, or stands still: mail does not mind."""

from __future__ import annotations

import contextlib
import smtplib
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mta.maillog.records import TERMINAL
from mta.testing.remote import Manners, RemoteMX
from tests.scenarios.server import BODY, Server
from tests.timewarp import Timewarp
from tests.waiting import wait

DAY = 86_400
WAIT = 600  # seconds between two attempts
RETRY = ("--retry", f"{WAIT}s", "-o", "retry.jitter=0", "-o", "retry.max_age=2d")
US = 1_000_000


class Machine:
    """A server whose clocks are moved; its receiver puts everything off until it is `good`."""

    def __init__(self, home: Path, warp: Timewarp, remote: RemoteMX, *flags: str) -> None:
        self.warp, self.remote, self.good = warp, remote, False
        route = ("--route", f"*=127.0.0.1:{remote.port}")
        self.server = Server(home, *route, *RETRY, *flags, workers=2)
        self.server.environment = warp.environment
        remote.manners.rcpt = lambda recipient: None if self.good else "451 4.7.1 later"
        self.sent: list[str] = []

    def send(self, count: int) -> None:
        """Mail that is put off."""
        given = [f"r{len(self.sent) + number}@b.example" for number in range(count)]
        with smtplib.SMTP("127.0.0.1", self.server.port, timeout=60) as client:
            for recipient in given:
                client.sendmail("s@a.example", [recipient], BODY)
        self.sent += given
        wait(lambda: set(self.sent) <= self.put_off())

    def put_off(self) -> set[str]:
        """Recipients that were attempted."""
        return {r["recipient"] for r in self.server.records("TransientFailure")}

    def pass_time(self, seconds: float) -> None:
        """Let it pass in steps that nobody misses."""
        while seconds > 0:
            self.warp.run(min(8, seconds))
            time.sleep(1.1)  # each process looks at its clocks once a second
            seconds -= 9.1

    def waits(self) -> list[float]:
        """Seconds until each recipient that is put off is due."""
        now = time.time() + self.warp.ahead
        rows = self.server.ask("queue.list", limit=10_000)
        return sorted(row["due"] / US - now for row in rows if row["state"] == "deferred")

    def wait_waits(self, count: int, longest: float) -> None:
        """Wait until so many are put off, none for longer than that."""

        def true() -> bool:
            found = self.waits()
            return len(found) == count and all(-5 < one <= longest for one in found)

        wait(true, lambda: (self.waits(), self.server.said()))

    def finish(self) -> None:
        """Flush; everything is delivered once."""
        self.good = True
        self.server.ask("act", verb="flush", select={"all": True})
        self.server.wait_records(len(self.sent), "Delivery")
        self.server.wait_empty()
        found = [r for r in self.server.records() if r["type"] in TERMINAL]
        assert Counter(r["type"] for r in found) == {"Delivery": len(self.sent)}
        assert {r["recipient"] for r in found} == set(self.sent)
        got = Counter(received.recipients[0] for received in self.remote.received)
        assert got == Counter(self.sent)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with contextlib.ExitStack() as stack:
        warp = stack.enter_context(Timewarp(tmp_path / "clock"))
        remote = stack.enter_context(RemoteMX(Manners()))
        machine = Machine(tmp_path / "home", warp, remote)
        stack.enter_context(machine.server)
        yield machine


def test_a_day_forward_for_ten_seconds(machine: Machine) -> None:
    machine.send(20)
    machine.warp.step(DAY)
    time.sleep(2)
    machine.send(20)
    time.sleep(8)
    machine.warp.step(-DAY)
    time.sleep(2)
    machine.send(5)
    machine.wait_waits(45, WAIT)
    machine.finish()


def test_a_day_forward_that_is_believed_and_back(machine: Machine) -> None:
    machine.send(10)
    machine.warp.step(DAY)
    machine.pass_time(75)
    machine.server.wait_said("the wall clock was set forward by 1d: mail follows it")
    machine.send(10)
    machine.wait_waits(20, WAIT)  # those of before were due, and tried again
    machine.warp.step(-DAY)
    machine.pass_time(75)
    machine.server.wait_said("set back by 1d: mail follows it")
    machine.wait_waits(20, WAIT)
    machine.send(5)
    machine.wait_waits(25, WAIT)
    assert not [r for r in machine.server.records() if r["type"] == "Expiration"]
    machine.finish()


@pytest.mark.parametrize("clean", [True, False])
def test_a_day_forward_and_a_start_after_it(machine: Machine, clean: bool) -> None:
    machine.warp.step(DAY)
    server = machine.server
    server.stop()
    server.start()  # that has only this clock to go by
    machine.send(20)
    if clean:
        server.stop()
    else:
        server.kill()
    machine.warp.step(-DAY)
    server.start()
    machine.wait_waits(20, WAIT)
    machine.send(5)
    machine.wait_waits(25, WAIT)
    machine.finish()


def test_a_week_of_suspend(machine: Machine) -> None:
    """All that waited is past its age: it is tried once more, and what fails then expires later."""
    machine.send(10)
    attempts = len(machine.server.records("TransientFailure"))
    machine.warp.suspend(7 * DAY)
    found: list[Any] = []

    def tried() -> bool:
        found[:] = machine.server.records("TransientFailure")
        return len(found) >= attempts + 10

    wait(tried, lambda: (len(found), machine.server.said()))
    assert not machine.server.records("Expiration")
    machine.wait_waits(10, WAIT)
    machine.finish()
