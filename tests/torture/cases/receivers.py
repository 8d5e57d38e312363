"""Receivers that stall at each octet, and 10,000 dead ones: the good ones lose nothing by it."""

from __future__ import annotations

import smtplib
import time
from typing import TYPE_CHECKING

from mta.testing.dns import DnsServer
from tests.peers import find
from tests.torture.letters import GOOD, Mix
from tests.torture.results import Row
from tests.torture.rig import Rig, StuckError
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from tests.torture.results import Plan

ABOUT = "receivers that stall at each octet, and 10,000 that are dead, beside good ones"
ROUNDS = 1
RATE = 2_000.0  # messages a second that are tried: more than one injector can send
SPAN = 20.0  # seconds that are compared
DEAD = 10_000  # destinations
LEAST = 0.9  # of the rate without the others
STALLING = Mix({"accept.example": 90, "stall.example": 10}, {2_000: 1}, {1: 1})
FAST = Mix({good.domain: 1 for good in GOOD}, {2_000: 1}, {1: 1})
PLACE = "# routes come here\n"
SETTINGS = """\
[dns]
nameservers = ["{nameserver}"]
[retry.dead]
schedule = ["20s"]
max_age = "1h"
[[route]]
match = {{ domain = "*.dead.example" }}
port = {port}
retry = "dead"
[[route]]
match = {{ domain = "*.good.example" }}
port = {port}
"""


def run(plan: Plan) -> list[Row]:
    """A row for those that stall, and one for the dead."""
    rows = [_stalling(plan)] if plan.options.get("kind", "stall") == "stall" else []
    return rows + ([_dead(plan)] if plan.options.get("kind", "dead") == "dead" else [])


def _stalling(plan: Plan) -> Row:
    span, began = float(plan.options.get("span", SPAN)), time.monotonic()
    row = Row("a receiver that stalls at each octet", plan.rounds)
    with Rig(plan.folder / "stall", plan.seed, mix=STALLING) as rig:
        rig.server.start()
        rig.injector.start(100.0)
        try:
            time.sleep(span)
        except StuckError as error:
            rig.say("stuck", str(error))
        account = rig.settle()
        plan.tell(str(account))
        row.add(account)
    row.seconds = time.monotonic() - began
    return row


def _dead(plan: Plan) -> Row:
    span = float(plan.options.get("span", SPAN))
    count = int(plan.options.get("dead", DEAD))
    began, row = (
        time.monotonic(),
        Row(f"{count:,} dead destinations beside {len(GOOD)}", plan.rounds),
    )
    zone = {f"d{n}.dead.example": {"MX": f"10 mx{n}.dead.example"} for n in range(count)}
    zone |= {f"mx{n}.dead.example": {"A": f"127.{2 + n // 60_000}.{n // 250 % 250}.{1 + n % 250}"}
             for n in range(count)}  # fmt: skip
    zone |= {f"g{n}.good.example": {"MX": f"10 mx{n}.good.example"} for n in range(len(GOOD))}
    zone |= {f"mx{n}.good.example": {"A": "127.0.0.1"} for n in range(len(GOOD))}
    nsd = find("nsd")
    assert nsd, "nsd is not installed"
    with DnsServer(zone, program=nsd) as dns, Rig(
        plan.folder / "dead", plan.seed, mix=FAST, settings=PLACE
    ) as rig:  # fmt: skip
        text = rig.server.config.read_text().replace(
            PLACE, SETTINGS.format(nameserver=dns.address, port=rig.sink.ports["accept.example"])
        )
        rig.server.config.write_text(text)
        rig.server.start()
        try:
            alone = _rate(rig, span)
            _bury(rig, count)
            beside = _rate(rig, span)
            plan.tell(f"{alone:.0f}/s alone, {beside:.0f}/s beside {count:,} dead destinations")
            if beside < LEAST * alone:
                rig.say("slow", f"{beside:.0f}/s beside the dead, {alone:.0f}/s without them")
            left = len(rig.server.queued())
            if left != count:
                rig.say("lost", f"{left} of {count} for dead destinations are queued")
            rig.server.ask("act", verb="delete", select={"domain": "*.dead.example"})
        except StuckError as error:
            rig.say("stuck", str(error))
        account = rig.settle()
        plan.tell(str(account))
        row.add(account)
    row.seconds = time.monotonic() - began
    return row


def _rate(rig: Rig, span: float) -> float:
    """Messages a second that are delivered to good destinations under full load."""
    before = sum(one["event"] == "copy" for one in rig.sink.arrivals())
    began = time.monotonic()
    rig.injector.start(RATE, sessions=20)
    time.sleep(span)
    rig.injector.finish()
    copies = sum(one["event"] == "copy" for one in rig.sink.arrivals()) - before
    return copies / (time.monotonic() - began)


def _bury(rig: Rig, count: int) -> None:
    """A message to each dead destination; they carry no number, so no account has them."""
    with smtplib.SMTP("127.0.0.1", rig.server.port, timeout=PATIENCE) as client:
        for start in range(0, count, 100):
            to = [f"r@d{n}.dead.example" for n in range(start, min(start + 100, count))]
            client.sendmail("dead@source.example", to, "Subject: dead\r\n\r\nx\r\n")
