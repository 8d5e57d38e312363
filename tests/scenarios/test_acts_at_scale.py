"""Operators' acts over a queue that was there before (E-14): tests/load/scale.py in small."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from mta.maillog.records import TERMINAL
from mta.testing.remote import RemoteMX
from tests.load.fill import Fill, fill
from tests.scenarios.server import Server
from tests.waiting import wait

MESSAGES, CAMPAIGNS = 6000, "abcdef"
EACH = MESSAGES // len(CAMPAIGNS)


def arrived(remote: RemoteMX) -> Counter[str]:
    """Copies at a host, by campaign."""
    return Counter(r.recipients[0].partition("@")[2][0] for r in list(remote.received))


def swept(server: Server, act: int) -> bool:
    return all(a["sequence"] != act or a.get("swept") for a in server.ask("act.list"))


def act(server: Server, verb: str, campaign: str, **more: str) -> int:
    return int(server.ask("act", verb=verb, select={"campaign": campaign}, **more)["act"])


def test_acts_by_campaign_over_a_long_queue(tmp_path: Path) -> None:
    fill(Fill(tmp_path, messages=MESSAGES, state="mixed", campaigns=CAMPAIGNS, after=3600))
    with RemoteMX() as one, RemoteMX() as other:
        flags = (
                "--route", f"*=127.0.0.1:{one.port}", "--rate", "40/s, burst=5",
                "-o", "tenant.acme.dsn=off", "-o", "limits.site.default.connections=1",
            )  # fmt: skip
        server = Server(tmp_path, *flags, workers=2)
        with server:
            one.wait(1)
            # hold: nothing of it leaves once the act is answered
            held = act(server, "hold", "a")
            there = arrived(one)["a"]
            one.wait(len(one.received) + 20)
            assert arrived(one)["a"] - there <= 2  # what was in flight, and the next envelope
            # reroute: what leaves goes to the other host
            act(server, "reroute", "b", next_hop=f"127.0.0.1:{other.port}")
            other.wait(1)
            assert set(arrived(other)) == {"b"}
            # bounce, killed before the sweeps can have ended
            number = act(server, "bounce", "c")
            act(server, "delete", "d")
            server.kill()
            server.start()
            wait(lambda: swept(server, held), "the hold is not swept")
            wait(lambda: swept(server, number), "the bounce is not swept")
            top = {row["name"]: row for row in server.ask("queue.top", by="campaign")}
            assert top["a"]["held"] == top["a"]["queued"]
            assert "c" not in top
            # release: it leaves again
            before = arrived(one)["a"]
            act(server, "release", "a")
            act(server, "flush", "a")
            wait(lambda: arrived(one)["a"] > before, "nothing of a leaves")
            wait(lambda: all(swept(server, n) for n in range(1, 7)), "the sweeps do not end")
            server.ask("act", verb="delete", select={"campaign": "[abef]"})
            server.wait_empty()
        said = server.said()
    ends = Counter((r["id"], r["rno"]) for r in server.records(*TERMINAL) if r["campaign"])
    assert len(ends) == MESSAGES
    assert set(ends.values()) == {1}
    kinds = Counter((r["campaign"], r["type"]) for r in server.records(*TERMINAL))
    assert kinds["c", "AdminBounce"] + kinds["c", "Delivery"] == EACH
    assert kinds["d", "Removed"] + kinds["d", "Delivery"] == EACH
    assert kinds["c", "AdminBounce"] > EACH // 2 < kinds["d", "Removed"]
    assert "Error" not in said
