"""`mta logs`: what is chosen and how it is shown."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from mta.cli import logs
from mta.maillog.records import TYPES, RecordWriter
from mta.maillog.writer import LogWriter
from mta.model import Kind, Message, Outcome, Peer, Recipient, Stages
from mta.testing.clock import FakeClock
from tests.unit.cli.conftest import Run, Server

RECORD = {
    "type": "Bounce", "time": 1_767_225_600_123_456, "id": "ab" * 16, "sender": "News@example.org",
    "recipient": "ann@Example.com", "tenant": "acme", "campaign": "spring", "code": 550,
    "enhanced": "5.1.1", "text": "no\x1b[2J such user", "peer_name": "mx", "peer_address": "h:25",
}  # fmt: skip
NONE = {"id": "", "recipient": "", "sender": "", "domain": "", "tenant": "", "campaign": ""}


@pytest.mark.parametrize(
    ("filters", "meant"),
    [
        ({}, True),
        ({"id": "AB" * 16}, True),
        ({"id": "-".join(["abababab", "abab", "abab", "abab", "abababababab"])}, True),
        ({"id": "cd" * 16}, False),
        ({"recipient": "ANN@example.com"}, True),
        ({"recipient": "ann@*"}, True),
        ({"recipient": "bob@*"}, False),
        ({"sender": "news@*"}, True),
        ({"domain": "example.com"}, True),
        ({"domain": "*.com"}, True),
        ({"domain": "example.org"}, False),
        ({"tenant": "acme", "campaign": "spring"}, True),
        ({"tenant": "acme", "campaign": "fall"}, False),
        ({"types": "bounce"}, True),
        ({"types": "Delivery, Bounce"}, True),
        ({"types": "Delivery"}, False),
    ],
)
def test_chosen(filters: dict[str, str], meant: bool) -> None:
    assert logs.chosen(**{"types": "", **NONE, **filters})(RECORD) is meant


def test_records_without_a_field_are_not_meant() -> None:
    assert not logs.chosen(**{"types": "", **NONE, "campaign": "x"})({"type": "Rejection"})


def test_unknown_types_are_refused() -> None:
    with pytest.raises(typer.BadParameter, match='"Bonce" is none of Reception, Delivery'):
        logs.type_names("Bonce")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", None),
        ("2026-01-01T00:00Z", 1_767_225_600_000_000),
        ("2026-01-01", 1_767_225_600_000_000),
        ("2026-01-01T01:00:00+01:00", 1_767_225_600_000_000),
        ("2h", 1_767_218_400_000_000),
        ("1h30m", 1_767_220_200_000_000),
    ],
)
def test_instants(monkeypatch: pytest.MonkeyPatch, text: str, found: int | None) -> None:
    monkeypatch.setattr("time.time_ns", lambda: 1_767_225_600_000_000_000)
    assert logs.instant(text, "--since") == found


def test_instants_that_are_none() -> None:
    with pytest.raises(typer.BadParameter, match='"soon" is not a time: write 2026-'):
        logs.instant("soon", "--since")


def test_shown_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    logs.show(RECORD, as_json=False)
    assert capsys.readouterr().out == (
        f"2026-01-01 00:00:00.123Z Bounce           {'ab' * 16} <News@example.org>"
        " to <ann@Example.com> by mx h:25: 550 5.1.1 no\\x1b[2J such user\n"
    )


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home folder whose log has two shards: a message delivered, one refused."""
    clock = FakeClock()
    for shard, address in ((0, "ann@example.com"), (1, "bob@example.org")):
        log = LogWriter(tmp_path / "log" / f"shard-{shard:04}", clock=clock)
        write = RecordWriter("node", shard, clock)
        message = Message(bytes([shard]) * 16, "news@example.net", tenant=f"tenant{shard}")
        recipient = Recipient(message, 0, address)
        outcome = Outcome(Kind(2 * shard), 250 + 300 * shard, "", "so be it", ".")
        clock.advance(1)
        log.append([write.reception(message, [recipient])])
        clock.advance(1)
        ended = write.bounce if shard else write.delivery
        log.append([ended(recipient, outcome, Peer("mx", "192.0.2.1:25", "default"), Stages())])
        log.close()
    return tmp_path


@pytest.mark.parametrize(
    ("flags", "found"),
    [
        ([], ["Reception 0", "Delivery 0", "Reception 1", "Bounce 1"]),
        (["--id", "01" * 16], ["Reception 1", "Bounce 1"]),
        (["--domain", "example.com"], ["Reception 0", "Delivery 0"]),
        (["--recipient", "BOB@*"], ["Reception 1", "Bounce 1"]),
        (["--type", "reception,bounce"], ["Reception 0", "Reception 1", "Bounce 1"]),
        (["--tenant", "tenant1", "--type", "Bounce"], ["Bounce 1"]),
        (["--limit", "3"], ["Reception 0", "Delivery 0", "Reception 1"]),
        (["--since", "2026-01-01T00:00:03Z"], ["Reception 1", "Bounce 1"]),
        (["--until", "2026-01-01T00:00:02Z"], ["Reception 0"]),
        (["--campaign", "none"], []),
    ],
)
def test_find(run: Run, home: Path, flags: list[str], found: list[str]) -> None:
    ran = run("logs", "find", "--home", home, "--json", *flags)
    assert [f"{record['type']} {record.get('shard', 0)}" for record in ran.lines] == found
    assert ran.code == (0 if found else 1)
    assert len(run("logs", "find", "--home", home, *flags).out.splitlines()) == len(found or [0])


@pytest.mark.parametrize(("lines", "found"), [(0, 0), (1, 1), (3, 3), (10, 4)])
def test_tail_without_following(run: Run, home: Path, lines: int, found: int) -> None:
    ran = run("logs", "tail", "-n", lines, "--no-follow", "--home", home, "--json")
    assert len(ran.lines) == found
    assert not found or ran.lines[-1]["type"] == "Bounce"


def test_tail_follows_what_is_written(
    run: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) > 1:
            raise KeyboardInterrupt
        log = LogWriter(home / "log" / "shard-0000", clock=FakeClock())
        outcome = Outcome(Kind.BOUNCED, 550, "5.7.1", "relaying denied", "RCPT")
        write = RecordWriter("node", 0, FakeClock())
        log.append([write.rejection(outcome, reason="relay", recipient="x@example.com")])
        log.append([write.rejection(outcome, reason="relay", recipient="x@example.org")])
        log.close()

    monkeypatch.setattr("time.sleep", wait)
    ran = run("logs", "tail", "-n", "1", "--domain", "example.com", "--home", home)
    assert [line.split()[2] for line in ran.out.splitlines()] == ["Delivery", "Rejection"]
    assert ran.out.rstrip().endswith("to <x@example.com>: 550 5.7.1 relaying denied (relay)")
    assert ran.code in (1, 130)


def test_types_are_those_of_the_log() -> None:
    assert set(logs.TYPES) == TYPES


def test_no_log(run: Run, tmp_path: Path) -> None:
    ran = run("logs", "find", "--home", tmp_path)
    assert (ran.code, ran.err) == (
        1,
        f"mta: {tmp_path}/log: no log found (give the server's folder by --home or MTA_HOME,"
        " or the log's by --log-dir)\n",
    )
    assert run("logs", "find", "--type", "Bonce", "--home", tmp_path).code == 2


def test_the_log_of_the_running_server(run: Run, home: Path, server: Server) -> None:
    server.answer("config.show", result={"log_dir": str(home / "log")})
    elsewhere = home / "other"
    (home / "control.sock").rename(home / "moved.sock")
    elsewhere.mkdir()
    (elsewhere / "control.sock").symlink_to(home / "moved.sock")
    ran = run("logs", "find", "--home", elsewhere, "--json")
    (home / "moved.sock").rename(home / "control.sock")
    assert len(ran.lines) == 4
