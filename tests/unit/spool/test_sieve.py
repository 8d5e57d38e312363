from __future__ import annotations

import pytest

from mta.model import Message, Recipient, Where
from mta.queues.acts import Judge, Select
from mta.spool import keys
from mta.testing.spool import SpoolBench

ONE, SOME = ("a@x.example",), ("a@x.example", "b@y.example", "c@x.example")


def store(bench: SpoolBench, campaign: str, *addresses: str) -> Message:
    recipients = bench.message(*addresses)
    message = recipients[0].message
    message.campaign, message.tenant = campaign, "acme"
    assert bench.accept(recipients) == [None]
    return message


def search(bench: SpoolBench, select: Select, rows: int = 1000, limit: int = 64) -> list[str]:
    """What a search gives, slice by slice."""
    found: list[Recipient] = []
    after: bytes | None = b""
    while after is not None:
        part, after = bench.shard.search(after, Judge(select), rows, limit)
        assert len(part) <= limit
        found += part
    return [f"{r.message.campaign}:{r.address}" for r in found]


@pytest.mark.parametrize("rows", [1, 2, 3, 1000])
@pytest.mark.parametrize("limit", [1, 2, 64])
@pytest.mark.parametrize(
    ("select", "expected"),
    [
        (Select(campaign="p"), ["p:a@x.example"]),
        (Select(campaign="q"), ["q:a@x.example", "q:b@y.example", "q:c@x.example"]),
        (Select(domain="Y.example"), ["q:b@y.example"]),
        (Select(campaign="q", recipient="C@*"), ["q:c@x.example"]),
        (Select(sender="from@example.com", campaign="?", domain="x.*"),
         ["p:a@x.example", "q:a@x.example", "q:c@x.example"]),
        (Select(tenant="other"), []),
    ],
)  # fmt: skip
def test_a_search_gives_what_is_meant(
    bench: SpoolBench, select: Select, expected: list[str], rows: int, limit: int
) -> None:
    store(bench, "p", *ONE)
    store(bench, "q", *SOME)
    found = search(bench, select, rows, limit)
    # A slice that begins behind an envelope lets its recipients through: who searches looks again.
    assert [name for name in found if name in expected] == expected
    if rows == 1000 and limit == 64:
        assert found == expected


def test_a_search_for_a_message_reads_no_other(bench: SpoolBench) -> None:
    stored = [store(bench, "p", *addresses) for addresses in (ONE, SOME, ONE)]
    for message in stored:
        select = Select(id=message.id.hex())
        found, after = bench.shard.search(b"", Judge(select), 1, 64)
        while after is not None:
            assert after[:16] == message.id
            part, after = bench.shard.search(after, Judge(select), 1, 64)
            found += part
        assert [r.message.id for r in found] == [message.id] * message.total


def test_a_search_sees_what_waits_for_its_frame(bench: SpoolBench) -> None:
    message = store(bench, "q", *SOME)
    first, second, _ = bench.shard.recipients(message.id)
    bench.shard.close(first, b"end")
    bench.shard.move(second, Where.HELD)
    found, _ = bench.shard.search(b"", Judge(Select(campaign="q")), 1000, 64)
    assert [(r.number, r.where) for r in found] == [(1, Where.HELD), (2, Where.FRESH)]


@pytest.mark.parametrize(("addresses", "mark"), [(ONE, b"\x02"), (SOME, b"\x01")])
def test_a_search_sets_aside_what_cannot_be_read(
    bench: SpoolBench, addresses: tuple[str, ...], mark: bytes
) -> None:
    message = store(bench, "q", *addresses)
    told: list[tuple[bytes, int]] = []
    bench.shard.on_corrupt = lambda id, number, detail: told.append((id, number))
    store_, key = bench.shard._store, keys.recipient(message.id, 0)
    store_.messages.put(key, mark + b"\xffnonsense")
    assert all(not name.endswith(":a@x.example") for name in search(bench, Select(campaign="q")))
    assert told == [(message.id, 0)]
