"""swaks, curl, smtplib and aiosmtplib as clients (M-26): what they send arrives as it was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mta.testing.remote import RemoteMX
from tests.peers.clients import CLIENTS, SENDER
from tests.peers.contents import CONTENTS, assert_same, attachment
from tests.scenarios.server import Server

PROGRAMS = {"curl", "swaks"}
RECIPIENTS = ["one@b.example", "two@b.example", "three@c.example"]
EVERY = [pytest.param(c, marks=[pytest.mark.peer] * (c in PROGRAMS)) for c in CLIENTS]


@pytest.fixture(scope="module")
def server(remote: RemoteMX, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    route = "--route", f"*=127.0.0.1:{remote.port}"
    with Server(tmp_path_factory.mktemp("mailrace"), *route, workers=2) as running:
        yield running


@pytest.mark.parametrize("client", EVERY)
def test_every_content_arrives_as_it_was(
    server: Server, remote: RemoteMX, tmp_path: Path, client: str
) -> None:
    for name, content in CONTENTS.items():
        if (client, name) == ("swaks", "no-body"):
            continue  # it puts an empty line behind a header of its own accord
        remote.received.clear()
        CLIENTS[client](server.port, RECIPIENTS, content, tmp_path)
        [got] = remote.wait(1)
        assert (got.sender, sorted(got.recipients)) == (SENDER, sorted(RECIPIENTS))
        assert_same(got.content, content)


@pytest.mark.parametrize("client", [p for p in EVERY if p.values != ("swaks",)])
def test_an_attachment_of_25_mb_arrives_as_it_was(
    server: Server, remote: RemoteMX, tmp_path: Path, client: str
) -> None:
    remote.received.clear()
    content = attachment()
    CLIENTS[client](server.port, RECIPIENTS[:1], content, tmp_path)
    [got] = remote.wait(1)
    assert_same(got.content, content)
