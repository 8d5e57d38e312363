"""Mail both ways with five other agents, one side ended half-way (E-16): all of it, each once."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from mta.testing.remote import Manners, Received, RemoteMX
from tests.peers.clients import smtp_source
from tests.peers.contents import CONTENTS, below_trace
from tests.peers.exim import EximRelay
from tests.peers.haraka import Haraka
from tests.peers.opensmtpd import OpenSmtpd
from tests.peers.postfix import PostfixRelay
from tests.peers.relay import Relay
from tests.peers.sendmail import Sendmail
from tests.scenarios.server import Server
from tests.waiting import PATIENCE, wait

pytestmark = pytest.mark.peer
RELAYS: list[type[Relay]] = [PostfixRelay, EximRelay, OpenSmtpd, Sendmail, Haraka]
MESSAGES, SESSIONS = 1000, 10
RECIPIENT = "r@there.example"
EXPECTED = {f"{number}{RECIPIENT}" for number in range(1, MESSAGES + 1)}
# With the fields that an agent would add, and no line so long that Haraka would fold it;
# smtp-source ends it with an empty line.
CONTENT = (
    b"Date: Thu, 01 Jan 2026 00:00:00 +0000\r\nMessage-ID: <exchange@source.example>\r\n"
    + CONTENTS["dots"].replace(b"." * 998, b"." * 900)
    + b"filler\r\n" * 250
)
SENT = CONTENT + b"\r\n"


@contextmanager
def injected(port: int, folder: Path) -> Iterator[None]:
    """All the mail sent to `port` in the background; at the end every one had its 250."""
    file = folder / "content"
    file.write_bytes(CONTENT.replace(b"\r\n", b"\n"))
    with ThreadPoolExecutor(1) as pool:
        sent = pool.submit(smtp_source, port, MESSAGES, RECIPIENT, file, SESSIONS, reuse=True)
        yield
        sent.result()


class Sink(RemoteMX):
    """Takes half of the mail, and the rest once it may."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        super().__init__(Manners(dot=self._gate))

    def _gate(self, received: Received) -> None:
        if len(self.received) == MESSAGES // 2:
            self.go_on.wait(PATIENCE)

    def half_way(self) -> None:
        """Wait until half has arrived."""
        self.wait(MESSAGES // 2)


def arrived_before(sink: RemoteMX) -> int:
    """How many had come from who is dead now, what was on its way included."""
    wait(lambda: not sink.open, lambda: sink.open)
    return len(sink.received)


def gather(sink: RemoteMX, peer: Relay, server: Server) -> dict[str, list[int]]:
    """Wait until all has arrived and nothing is left to be sent; recipient: places in the sink."""

    def all_here() -> bool:
        if len(_places(sink)) == MESSAGES and not peer.queued():
            return True
        peer.hurry()
        time.sleep(0.5)
        return False

    wait(all_here, lambda: (len(_places(sink)), peer.queued(), peer.said()[-4000:]))
    server.wait_empty()
    return _places(sink)


def _places(sink: RemoteMX) -> dict[str, list[int]]:
    places = defaultdict(list)
    for place, got in enumerate(list(sink.received)):
        [recipient] = got.recipients
        places[recipient].append(place)
    return dict(places)


def begun(id: str) -> float:
    """When we began to take a message: the time in its id (RFC 9562 5.7)."""
    return int(id[:12], 16) / 1000


def check_content(sink: RemoteMX) -> None:
    for got in sink.received:
        assert got.sender == "s@source.example"
        assert got.content.endswith(SENT), got.content[:2000]
        below_trace(got.content, SENT)


@pytest.mark.parametrize("kind", RELAYS, ids=lambda kind: kind.name)
def test_what_they_send_outlives_our_death(kind: type[Relay], tmp_path: Path) -> None:
    """We get SIGKILL when half has arrived; a second copy has its reason in that moment."""
    with Sink() as sink:
        route = "--route", f"*=127.0.0.1:{sink.port}"
        with Server(tmp_path, *route, workers=2) as server, kind(server.port) as peer:
            with injected(peer.port, tmp_path):
                sink.half_way()
                server.kill()
                sink.go_on.set()
                killed, before = time.time(), arrived_before(sink)
                server.start()
            places = gather(sink, peer, server)
            server.stop()
            assert set(places) == EXPECTED
            check_content(sink)
            taken = {record["id"] for record in server.records("Reception")}
            ends = server.records("Delivery", "Bounce", "Expiration")
            assert {record["type"] for record in ends} == {"Delivery"}
            assert Counter(record["id"] for record in ends) == Counter(taken)
            receptions = defaultdict(list)
            for record in ends:
                receptions[record["recipient"]].append(begun(record["id"]))
            for recipient, copies in places.items():
                # Twice from them: our 250 was lost. Again from us: no outcome was synced.
                times = sorted(receptions[recipient])
                assert len(times) == 1 or (len(times) == 2 and times[0] < killed)
                more = len(copies) - len(times)
                assert more == 0 or (more == 1 and copies[0] < before)


@pytest.mark.parametrize("kind", RELAYS, ids=lambda kind: kind.name)
def test_what_we_send_outlives_their_restart(kind: type[Relay], tmp_path: Path) -> None:
    """They are ended and started when half has arrived; we try again what had no reply."""
    with Sink() as sink, kind(sink.port) as peer:
        route = "--route", f"*=127.0.0.1:{peer.port}"
        with Server(tmp_path, *route, "--retry", "1s", workers=2) as server:
            with injected(server.port, tmp_path):
                sink.half_way()
                threading.Timer(0.1, sink.go_on.set).start()  # some want its reply before they end
                peer.stop()
                before = arrived_before(sink)
                peer.start()
            places = gather(sink, peer, server)
            server.stop()
            assert set(places) == EXPECTED
            check_content(sink)
            assert server.records("Bounce", "Expiration") == []
            delivered = Counter(record["recipient"] for record in server.records("Delivery"))
            assert delivered == Counter(EXPECTED)
            tried_again = {record["recipient"] for record in server.records("TransientFailure")}
            for recipient, copies in places.items():
                # Again from us: their 250 was lost. Again from them: sent, but still in the queue.
                ours, theirs = recipient in tried_again, copies[0] < before
                assert len(copies) <= 1 + ours + theirs, (recipient, copies, before)
