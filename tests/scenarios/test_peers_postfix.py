"""A real Postfix on both sides (M-26): its load tool sends, its virtual(8) receives."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers.clients import SENDER, by_smtplib, smtp_source
from tests.peers.contents import CONTENTS, assert_same, attachment, crlf
from tests.peers.postfix import DOMAIN, Postfix
from tests.scenarios.server import Server

pytestmark = pytest.mark.peer
MESSAGES = 5000


@pytest.fixture(scope="module")
def postfix() -> Iterator[Postfix]:
    with Postfix() as peer:
        yield peer


@pytest.fixture(scope="module")
def server(postfix: Postfix, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    route = "--route", f"{DOMAIN}=127.0.0.1:{postfix.port}"
    with Server(tmp_path_factory.mktemp("mailrace"), *route, workers=2) as running:
        yield running


@pytest.fixture(autouse=True)
def empty(postfix: Postfix) -> None:
    postfix.clear()


def recipient_of(raw: bytes) -> str:
    """What Postfix put in front."""
    [line] = [x for x in raw.split(b"\n\n")[0].split(b"\n") if x.startswith(b"Delivered-To: ")]
    return line.partition(b" ")[2].decode()


def test_five_thousand_messages_arrive_once_and_as_they_were(
    server: Server, postfix: Postfix, tmp_path: Path
) -> None:
    content = CONTENTS["dots"] + CONTENTS["eight-bit"] + b"filler\r\n" * 600
    file = tmp_path / "content"
    file.write_bytes(content.replace(b"\r\n", b"\n"))
    smtp_source(server.port, MESSAGES, f"r@{DOMAIN}", file)
    arrived = postfix.wait(MESSAGES)
    expected = {f"{number}r@{DOMAIN}" for number in range(1, MESSAGES + 1)}
    assert {recipient_of(raw) for raw in arrived} == expected
    for raw in arrived:
        assert_same(crlf(raw), content + b"\r\n")
    server.wait_empty()
    ended = Counter(record["recipient"] for record in server.wait_records(MESSAGES, "Delivery"))
    assert ended == Counter(expected)
    assert server.records("TransientFailure", "Bounce", "Expiration") == []
    assert postfix.count() == MESSAGES


@pytest.mark.parametrize("name", CONTENTS)
def test_content_is_not_touched(
    server: Server, postfix: Postfix, tmp_path: Path, name: str
) -> None:
    by_smtplib(server.port, [f"r@{DOMAIN}"], CONTENTS[name], tmp_path)
    [raw] = postfix.wait(1)
    assert_same(crlf(raw), CONTENTS[name])


def test_an_attachment_of_25_mb_is_not_touched(
    server: Server, postfix: Postfix, tmp_path: Path
) -> None:
    content = attachment()
    by_smtplib(server.port, [f"r@{DOMAIN}"], content, tmp_path)
    [raw] = postfix.wait(1)
    assert_same(crlf(raw), content)


def test_what_postfix_refuses_bounces_with_its_words(postfix: Postfix, tmp_path: Path) -> None:
    with Server(tmp_path, "--route", f"*=127.0.0.1:{postfix.port}") as server:
        id = server.send(f"good@{DOMAIN}", "bad@elsewhere.example", sender=SENDER)
        [raw] = postfix.wait(1)
        assert recipient_of(raw) == f"good@{DOMAIN}"
        [first, dsn] = server.wait_records(2, "Bounce")
        assert (first["id"], first["recipient"]) == (id, "bad@elsewhere.example")
        assert (first["code"], first["enhanced"], first["command"]) == (550, "5.1.1", "RCPT")
        assert "Recipient address rejected: not from here" in first["text"]
        assert (dsn["sender"], dsn["recipient"]) == ("", SENDER)  # refused too: a dead letter
        [letter] = server.ask("dead.list")
        assert letter["recipient"] == SENDER


def test_nothing_of_a_peer_outlives_it() -> None:
    with Postfix() as peer:
        process = peer._process
        assert process is not None
        groups = {process.pid, peer.leader(process.pid)}
        assert peer.leader(process.pid) in members(groups)
    assert members(groups) == set()
    assert not peer.folder.exists()


def members(groups: set[int]) -> set[int]:
    """The live processes of these process groups."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            if fields[0] != "Z" and int(fields[2]) in groups:
                found.add(int(path.parent.name))
    return found
