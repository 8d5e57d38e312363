"""ClientCore against its plain-Python twin, over arbitrary replies, chunks and shells."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from mta.smtp.client import KIND_NAMES, ClientCore, ClientOptions, Event, Transaction
from tests.reference.client import KINDS, ClientTwin

GOOD = ["a@b.example", "c@d.example", '"x y"@b.example', '"a\\"b"@c']
BAD = [
    "a b@c",
    "a>b@c",
    "é@b.example",
    '"é x"@b',
    "\ud800@b",
    'q"@b',
    "a\x7f@b",
    "a\r\nb@c",
    "<x@y>",
]
BODIES = [
    b"",
    b"S: \xc3\xa9\r\n\r\nx",
    b"S: x\r\n\r\n\xc3\xa9\r\n",
    b"x\r\n",
    b"x",
    b".\r\n..\r\n.",
    b"y" * 60,
    b"\r\n.\r\n",
    b".x\r\n.\r\n",
]
PLAUSIBLE = [
    b"450 4.2.0 later\r\n", b"452 full\r\n", b"550-5.1.1 no\r\n550 5.1.1 such\r\n", b"250\n",
    b"500 what\r\n",
    b"501 bad sender\r\n",
    b"502 what\r\n", b"503 5.5.1 what\r\n", b"554 5.5.1 no valid recipients\r\n", b"354 go\r\n",
    b"250 2.0.0 ok\r\n", b"250-\r\n550 2.0.0 x\t\x00\r\n", b"250 " + b"y" * 4091 + b"\r\n",
    b"250-a\r\n" * 127 + b"250 \xff\xc3\xa9\r\n", b"550 5.7.1\r\n", b"550 5.7.1x no\r\n",
    b"450-4.1.1 " + b"z" * 4000 + b"\r\n450 4.1.1 " + b"z" * 200 + b"\r\n",
]  # fmt: skip
NONSENSE = [
    b"421 4.3.2 bye\r\n", b"421-a\r\n421 b\r\n", b"x" * 5000, b"250-a\r\n" * 128 + b"250 a\r\n",
    b"250 " + b"y" * 4092 + b"\r\n", b"150 a\r\n", b"2500\r\n", b"25\r\n", b"\r\n",
    b"\x00250 a\r\n",
]  # fmt: skip
EHLO = [
    b"250-x\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 50\r\n", b"250-x\r\n250 size\r\n",
    b"250-x\r\n250-pipelining\r\n250 SIZE 0\r\n", b"250 x\r\n", b"502 no\r\n",
    b"250-x\r\n250-PIPELINING\r\n250 SIZE 1000\r\n",
    b"250-x\r\n250-PIPELINING\r\n250-CHUNKING\r\n250-BINARYMIME\r\n250 SMTPUTF8\r\n",
    b"250-x\r\n250-CHUNKING\r\n250-SMTPUTF8\r\n250 8BITMIME\r\n",
    b"250-x\r\n250-PIPELINING\r\n250-LIMITS RCPTMAX=2\r\n250 CHUNKING\r\n",
]  # fmt: skip


class Pair:
    """Core and twin, driven alike and compared after each step."""

    def __init__(self, options: ClientOptions, rng: random.Random) -> None:
        self.core, self.twin, self.rng = ClientCore(options), ClientTwin(options), rng
        self.kept: list[Transaction] = []  # the twin knows them by id()

    def step(self) -> None:
        """What the state asks for: a transaction, content or a reply; now and then an accident."""
        core, twin, chance = self.core, self.twin, self.rng.random()
        if chance < 0.005:
            core.time_out()
            twin.time_out()
        elif chance < 0.01:
            core.connection_lost("gone")
            twin.connection_lost()
        elif chance < 0.015:
            core.overlap_off()
            twin.overlap_off()
        elif twin.wanted:
            ahead = self.transaction() if twin.overlap and chance < 0.8 else None
            core.send_content(ahead)
            twin.send_content(ahead)
        elif twin.idle and chance < 0.95:
            tx = self.transaction()
            core.submit(tx)
            twin.submit(tx)
        elif twin.idle:
            core.quit()
            twin.quit()
        else:
            asked = [KINDS[command] for command, _, _ in twin.expected]
            kinds = asked[: self.rng.choice([1, 1, 2, 3, 9])] + ["dot"] * (chance > 0.99)
            self.feed(b"".join(map(self.reply, kinds)))

    def transaction(self) -> Transaction:
        rng = self.rng
        pool = GOOD * 3 + BAD if rng.random() < 0.2 else GOOD
        recipients = rng.choices(pool, k=rng.choice([1, 1, 2, 4]))
        params = None
        if rng.random() < 0.2:
            params = (b" RET=FULL", [b" NOTIFY=%d" % n for n in range(len(recipients))])
        tx = Transaction(
            rng.choice(["", *pool]), recipients, rng.choice(BODIES),
            rng.choice([0, 2, 2, 2, 3, 18, 34, 51]), None, *(params or ()),
        )  # fmt: skip
        if params:
            self.twin.params[id(tx)] = params
        self.kept.append(tx)
        return tx

    def reply(self, kind: str) -> bytes:
        chance = self.rng.random()
        if chance < 0.004:
            return self.rng.choice(NONSENSE)
        if chance < 0.15 and kind not in ("greeting", "hello"):
            return self.rng.choice(PLAUSIBLE)
        if kind == "hello":
            return self.rng.choice(EHLO)
        return b"354 go\r\n" if kind == "data" else b"250 2.0.0 ok\r\n"

    def feed(self, data: bytes) -> None:
        """In pieces; both get the same ones."""
        while data and not self.twin.wanted:
            size = self.rng.randint(1, len(data)) if self.rng.random() < 0.2 else len(data)
            self.core.feed(bytearray(data[:size] + b"beyond"), size)
            self.twin.feed(data[:size])
            data = data[size:]
            self.compare()

    def compare(self) -> None:
        core, twin = self.core, self.twin
        assert b"".join(core.output()) == twin.output()
        while True:
            event = core.next_event()
            assert (None if event is None else Event(event).name) == twin.next_event()
            if event == Event.DONE:
                tx, (same, results) = core.take_done(), twin.done.pop(0)
                assert tx is same
                assert [bare(one) for one in tx.results] == [bare(one) for one in results]
            elif event is None:
                break
        assert KIND_NAMES[core.deadline_kind] == twin.kind
        assert core.in_flight == len(twin.live)
        assert (core.idle, core.closed, core.overlap_ok) == (twin.idle, twin.closed, twin.overlap)
        assert (core.transactions, core.overlap_failed) == (twin.transactions, twin.overlap_failed)
        assert bare(core.failure) == bare(twin.failure)


def bare(result: Any) -> Any:
    """A result without our own words."""
    return result if result is None or result[0] else (0, result[1], "", result[3])


OPTIONS = st.builds(
    ClientOptions,
    st.just("me"),
    pipelining=st.booleans(),
    overlap=st.booleans(),
    lmtp=st.booleans(),
    chunking=st.sampled_from(["never", "needed", "always", "eager"]),
    disable=st.sampled_from([(), ("SMTPUTF8",), ("PIPELINING", "SIZE")]),
)


@settings(max_examples=600, deadline=None)
@given(OPTIONS, st.integers(0, 2**32))
def test_core_and_twin_agree(options: ClientOptions, seed: int) -> None:
    pair = Pair(options, random.Random(seed))
    pair.compare()
    for _ in range(60):
        pair.step()
        pair.compare()
        if pair.core.closed:
            break


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 2**32))
def test_any_octets_end_without_an_exception(data: bytes, seed: int) -> None:
    pair = Pair(ClientOptions("me"), random.Random(seed))
    pair.feed(b"220 hi\r\n")
    pair.feed(data)
    pair.core.connection_lost()
    pair.twin.connection_lost()
    pair.compare()
    assert pair.core.closed
