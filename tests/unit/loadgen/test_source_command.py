"""`mta source` against several sink processes, as processes."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from mta.cli.source import answers, fields, recipients
from mta.errors import ConfigError, MailraceError
from mta.loadgen.message import Composer, Load
from mta.loadgen.source import Work
from tests.waiting import PATIENCE

MTA = [sys.executable, "-m", "mta.cli.main"]


def test_recipients_with_weights() -> None:
    assert recipients([], 0) == {"user{n}@load.example": 1.0}
    assert recipients(["a@x=3", "b@y"], 1) == {"user{n}@d0.example": 1.0, "a@x": 3.0, "b@y": 1.0}


@pytest.mark.parametrize(
    ("server", "said"), [("nowhere", "is not an address"), ("unix:/run/x", "is no TCP address")]
)
def test_a_server_that_is_none(server: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        answers(server)


def test_nobody_listens() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        with pytest.raises(MailraceError, match="start a server with `mta serve`"):
            answers(f"127.0.0.1:{held.getsockname()[1]}")


def test_source_and_two_sink_processes(tmp_path: Path) -> None:
    record = tmp_path / "record"
    arguments = ["--listen", "127.0.5.1-127.0.5.2:0", "--processes", "2", "--json"]
    with subprocess.Popen(
        [*MTA, "sink", *arguments, "--record", str(record)], stdout=subprocess.PIPE, text=True
    ) as sink:
        try:
            assert sink.stdout is not None
            bound: set[str] = set()
            while len(bound) < 2:  # figures may come between
                bound |= {json.loads(sink.stdout.readline()).get("listen", "")} - {""}
            assert {address.split(":")[0] for address in bound} == {"127.0.5.1", "127.0.5.2"}
            for first, address in enumerate(sorted(bound)):
                done = subprocess.run(
                    [*MTA, "source", address, "--messages", "50", "--first", str(first * 50),
                     "--processes", "2", "--domains", "7", "--size", "600", "--json"],
                    capture_output=True, text=True,
                )  # fmt: skip
                assert done.returncode == 0, done.stderr
                assert json.loads(done.stdout)["accepted"] == 50
        finally:
            sink.send_signal(signal.SIGTERM)
        last = json.loads(sink.stdout.read().splitlines()[-1])
        assert sink.wait(PATIENCE) == 0
    assert (last["messages"], last["duplicates"], last["final"]) == (100, 0, True)
    lines = [
        json.loads(line)
        for index in range(2)
        for line in Path(f"{record}.{index}").read_text().splitlines()
    ]
    assert sorted(line["number"] for line in lines) == list(range(100))
    assert len({line["recipient"].partition("@")[2] for line in lines}) == 7


def test_header_fields() -> None:
    found = fields("acme", "spring", ["X-Job: 7"])
    assert found == ["X-Tenant: acme", "X-Campaign: spring", "X-Job: 7"]
    for text in ("nothing", "a b: c", "X: y\r\nZ: w", ": x"):
        with pytest.raises(typer.BadParameter):
            fields("", "", [text])
    load = Load(server="h:1", recipients={"a@b": 1.0}, fields=found, size=600)
    head, _, _ = Composer(load).content(5, "a@b").partition(b"\r\n\r\n")
    assert head.splitlines()[-3:] == [one.encode() for one in found]


def test_a_server_that_is_gone_ends_the_load() -> None:
    now = [0.0]
    load = Load(server="h:1", recipients={"a@b": 1.0}, patience=10.0)
    work, ends = Work(load, now=lambda: now[0]), []  # type: ignore[var-annotated]
    work.finished = lambda: ends.append(now[0])
    refused = ConnectionRefusedError(111, "Connection refused")
    work.connected(1)
    now[0] = 20.0
    work.unreachable(refused)  # another connection stands
    work.connected(-1)
    now[0] = 29.0
    work.unreachable(refused)
    assert not ends
    now[0] = 30.0
    work.unreachable(refused)
    assert ends == [30.0]
    assert work.result(1.0).gone == "Connection refused"
