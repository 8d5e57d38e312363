"""`mta sink`: what it prints, and a whole run as a process."""

from __future__ import annotations

import json
import signal
import smtplib
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from mta.cli import sink as command
from mta.cli.sink import Printer
from mta.errors import ConfigError
from mta.loadgen.ledger import Counts
from tests.waiting import PATIENCE

PROGRAM = "import typer; from mta.cli import sink; app = typer.Typer(); sink.register(app); app()"


def test_json_lines_tell_the_rate_and_only_changes(capsys: pytest.CaptureFixture[str]) -> None:
    times = iter([0.0, 2.0, 3.0, 4.0])
    printer = Printer(json=True, now=lambda: next(times))
    printer.counts(Counts(messages=100), final=False)
    printer.counts(Counts(messages=100), final=False)
    printer.counts(Counts(messages=100), final=True)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["rate"], line["final"]) for line in lines] == [(50.0, False), (0.0, True)]


def test_text_has_what_was_counted(capsys: pytest.CaptureFixture[str]) -> None:
    printer = Printer(json=False)
    printer.listening("127.0.0.1:25", "greylist:3")
    printer.counts(Counts(messages=1200, rejected=3), final=False)  # no terminal: nothing
    printer.counts(Counts(messages=1200, rejected=3), final=True)
    assert capsys.readouterr().out.split("\n") == [
        "listening on 127.0.0.1:25, manner greylist:3",
        "messages 1,200  rejected 3",
        "",
    ]


def test_a_terminal_gets_one_live_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "40")
    printer = Printer(json=False, now=lambda: 1.0)
    for final in (False, True):
        printer.counts(Counts(connections=20, messages=123456, octets=10**12), final=final)
    live, last = capsys.readouterr().out.split("\r\x1b[K")[1:]
    assert len(live) == 39 and live.endswith("…") and "\n" not in live
    assert last.endswith("octets 1,000,000,000,000\n")


@pytest.mark.parametrize(
    "arguments", [["--profile", "grelist"], ["--listen", "2526"], ["--domain", "x"]]
)
def test_mistakes(arguments: list[str]) -> None:
    app = typer.Typer()
    command.register(app)
    assert isinstance(CliRunner().invoke(app, arguments).exception, ConfigError)


def test_port_in_use() -> None:
    app = typer.Typer()
    command.register(app)
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        address = f"127.0.0.1:{held.getsockname()[1]}"
        error = CliRunner().invoke(app, ["--listen", address]).exception
    assert isinstance(error, ConfigError)
    assert str(error) == f"listen: cannot listen on {address}: Address already in use"


def test_a_whole_run(tmp_path: Path) -> None:
    record = tmp_path / "record"
    arguments = [
        "--listen", "127.0.0.1:0", "--listen", "127.0.0.1:0=defer",
        "--domain", "no.example=unknown", "--record", str(record), "--json",
    ]  # fmt: skip
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            first, second = (json.loads(process.stdout.readline()) for _ in range(2))
            assert (first["manner"], second["manner"]) == ("accept", "defer")
            _send(first["listen"], ["a@x.example", "unknown1@no.example"], code=None)
            _send(second["listen"], ["a@x.example"], code=451)
        finally:
            process.send_signal(signal.SIGTERM)
        last = json.loads(process.stdout.read().splitlines()[-1])
        assert process.wait(PATIENCE) == 0
    assert (last["messages"], last["rejected"], last["deferred"]) == (1, 1, 1)
    (arrival,) = (json.loads(line) for line in record.read_text().splitlines())
    assert (arrival["number"], arrival["recipient"]) == (77, "a@x.example")


def _send(address: str, to: list[str], *, code: int | None) -> None:
    host, _, port = address.rpartition(":")
    with smtplib.SMTP(host, int(port), local_hostname="test", timeout=PATIENCE) as client:
        try:
            refused: dict[str, Any] = client.sendmail("s@x", to, "X-Load-Id: 77\n\nx\n")
        except smtplib.SMTPRecipientsRefused as error:
            assert [reply[0] for reply in error.recipients.values()] == [code]
        else:
            assert code is None
            assert list(refused) == to[1:]
