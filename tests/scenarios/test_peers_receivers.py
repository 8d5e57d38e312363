"""aiosmtpd and Exim as receivers (M-26): contents untouched, each recipient its own end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers import exim, python
from tests.peers.clients import by_smtplib
from tests.peers.contents import CONTENTS, assert_same, attachment, crlf
from tests.peers.exim import Exim
from tests.peers.python import Aiosmtpd
from tests.scenarios.server import Server

# Exim ends a header that no body follows with an empty line.
FOR_EXIM = [name for name in CONTENTS if name != "no-body"]


@pytest.fixture(scope="module")
def aiosmtpd() -> Iterator[Aiosmtpd]:
    with Aiosmtpd() as peer:
        yield peer


@pytest.fixture(scope="module")
def exim4() -> Iterator[Exim]:
    with Exim() as peer:
        yield peer


@pytest.fixture(scope="module")
def server_to_aiosmtpd(
    aiosmtpd: Aiosmtpd, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    route = "--route", f"*=127.0.0.1:{aiosmtpd.port}"
    with Server(tmp_path_factory.mktemp("mailrace"), *route) as server:
        yield server


@pytest.fixture(scope="module")
def server_to_exim(exim4: Exim, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    route = "--route", f"*=127.0.0.1:{exim4.port}"
    with Server(tmp_path_factory.mktemp("mailrace"), *route) as server:
        yield server


def send_to_aiosmtpd(server: Server, peer: Aiosmtpd, content: bytes, folder: Path) -> None:
    peer.received.clear()
    by_smtplib(server.port, [f"r@{python.DOMAIN}"], content, folder)
    [got] = peer.wait(1)
    assert (got.sender, got.recipients) == ("s@source.example", [f"r@{python.DOMAIN}"])
    assert_same(got.content, content)


@pytest.mark.parametrize("name", CONTENTS)
def test_aiosmtpd_gets_the_content_untouched(
    server_to_aiosmtpd: Server, aiosmtpd: Aiosmtpd, tmp_path: Path, name: str
) -> None:
    send_to_aiosmtpd(server_to_aiosmtpd, aiosmtpd, CONTENTS[name], tmp_path)


def test_aiosmtpd_gets_an_attachment_of_25_mb(
    server_to_aiosmtpd: Server, aiosmtpd: Aiosmtpd, tmp_path: Path
) -> None:
    send_to_aiosmtpd(server_to_aiosmtpd, aiosmtpd, attachment(), tmp_path)


def test_aiosmtpd_refuses_one_of_three_recipients(
    server_to_aiosmtpd: Server, aiosmtpd: Aiosmtpd
) -> None:
    aiosmtpd.received.clear()
    id = server_to_aiosmtpd.send(*(f"{name}@{python.DOMAIN}" for name in ("a", "unknown", "b")))
    first, dsn = aiosmtpd.wait(2)
    assert first.recipients == [f"a@{python.DOMAIN}", f"b@{python.DOMAIN}"]
    assert (dsn.sender, dsn.recipients) == ("<>", ["sender@source.example"])
    assert b"unknown@aiosmtpd.example" in dsn.content
    ended = [r for r in server_to_aiosmtpd.wait_records(1, "Bounce") if r["id"] == id]
    assert [(r["recipient"], r["code"]) for r in ended] == [(f"unknown@{python.DOMAIN}", 550)]


@pytest.mark.peer
@pytest.mark.parametrize("name", FOR_EXIM)
def test_exim_gets_the_content_untouched(
    server_to_exim: Server, exim4: Exim, tmp_path: Path, name: str
) -> None:
    exim4.clear()
    by_smtplib(server_to_exim.port, [f"r@{exim.DOMAIN}"], CONTENTS[name], tmp_path)
    [raw] = exim4.wait(1)
    assert_same(crlf(raw), CONTENTS[name])


@pytest.mark.peer
def test_exim_gets_many_on_reused_connections_and_each_once(
    server_to_exim: Server, exim4: Exim, tmp_path: Path
) -> None:
    exim4.clear()
    for number in range(100):
        by_smtplib(server_to_exim.port, [f"r{number}@{exim.DOMAIN}"], CONTENTS["dots"], tmp_path)
    arrived = exim4.wait(100)
    to = {line for raw in arrived for line in raw.split(b"\n") if line.startswith(b"Envelope-to")}
    assert to == {b"Envelope-to: r%d@exim.example" % number for number in range(100)}
    server_to_exim.wait_empty()
    assert exim4.count() == 100


@pytest.mark.peer
def test_exim_refuses_one_of_three_recipients(server_to_exim: Server, exim4: Exim) -> None:
    exim4.clear()
    id = server_to_exim.send(
        *(f"{name}@{exim.DOMAIN}" for name in ("a", "unknown", "b")), sender=f"s@{exim.DOMAIN}"
    )
    raws = exim4.wait(3)  # a maildir file per recipient, and the DSN
    [dsn] = [raw for raw in raws if raw.startswith(b"Return-path: <>")]
    assert b"Envelope-to: s@exim.example" in dsn
    assert b"Final-Recipient: rfc822;unknown@exim.example" in dsn.replace(b"; ", b";")
    bounces = [r for r in server_to_exim.wait_records(1, "Bounce") if r["id"] == id]
    assert [(r["code"], r["text"]) for r in bounces] == [(550, "no such user")]
