"""`mta logs`: what is chosen and how it is shown."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from mta.cli import logs
from tests.unit.cli.conftest import Run

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
    with pytest.raises(typer.BadParameter, match='"soon" is no time: write it like 2026-'):
        logs.instant("soon", "--since")


def test_shown_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    logs.show(RECORD, as_json=False)
    assert capsys.readouterr().out == (
        f"2026-01-01 00:00:00.123Z Bounce           {'ab' * 16} <News@example.org>"
        " to <ann@Example.com> by mx h:25: 550 5.1.1 no\\x1b[2J such user\n"
    )


def test_no_log(run: Run, tmp_path: Path) -> None:
    ran = run("logs", "find", "--home", tmp_path)
    assert (ran.code, ran.err) == (
        1,
        f"mta: {tmp_path}/log: there is no log (name the server's folder by --home or MTA_HOME,"
        " or the log's by --log-dir)\n",
    )
    assert run("logs", "find", "--type", "Bonce", "--home", tmp_path).code == 2
