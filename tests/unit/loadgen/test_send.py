"""`mta send` against a sink on loopback and a scripted control socket: output and exit codes."""

from __future__ import annotations

import asyncio
import io
import json
import socket
import threading
from collections.abc import Iterator
from email import message_from_bytes
from email.policy import default
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from mta.cli import send as command
from mta.cli.send import compose, told
from mta.cli.submission import split_addresses
from mta.errors import ConfigError, ControlError, MailraceError
from mta.loadgen.ledger import Ledger
from mta.loadgen.manners import parse
from mta.loadgen.sink import Sink
from mta.testing.remote import Manners, RemoteMX
from tests.waiting import PATIENCE

ID = "0190b5a4c1d27000800012345678abcd"


class Receiver:
    """A sink in a thread of its own; `content` is what it took last."""

    def __init__(self, manner: str) -> None:
        self.record, self.loop = io.BytesIO(), asyncio.new_event_loop()
        self.sink = Sink(Ledger(self.record), self.loop)
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.address = self._run(self.sink.listen("127.0.0.1:0", parse(manner)))

    def _run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(PATIENCE)

    def arrivals(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.record.getvalue().splitlines()]

    def close(self) -> None:
        self._run(self.sink.close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(PATIENCE)
        self.loop.close()


@pytest.fixture
def accepting() -> Iterator[Receiver]:
    receiver = Receiver("accept")
    yield receiver
    receiver.close()


@pytest.fixture
def refusing() -> Iterator[Receiver]:
    receiver = Receiver("unknown")
    yield receiver
    receiver.close()


def run(*arguments: str, text: str | None = None) -> Any:
    return CliRunner().invoke(_app(), list(arguments), input=text)


def _app() -> typer.Typer:
    app = typer.Typer()
    command.register(app)
    return app


def test_sends_text_and_prints_the_dialog(accepting: Receiver) -> None:
    done = run("--server", accepting.address, "--to", "a@x.example", "--body", "hello", "-v")
    assert done.exit_code == 0, done.output
    assert "> RCPT TO:<a@x.example>\n< 250 2.1.5" in done.output
    assert "1 recipient(s)" in done.output
    assert [a["recipient"] for a in accepting.arrivals()] == ["a@x.example"]


def test_takes_a_file_and_mends_its_line_ends(accepting: Receiver, tmp_path: Path) -> None:
    file = tmp_path / "m.eml"
    file.write_bytes(b"Subject: x\nX-Load-Id: 5\n\n.dot\nna\xc3\xafve\n")
    done = run("--server", accepting.address, "--to", "a@x.example", "--file", str(file))
    assert done.exit_code == 0, done.output
    (arrival,) = accepting.arrivals()
    assert arrival["number"] == 5
    assert arrival["size"] == len(b"Subject: x\r\nX-Load-Id: 5\r\n\r\n.dot\r\nna\xc3\xafve\r\n")


def test_refused_recipient_is_a_failure_though_another_is_taken(refusing: Receiver) -> None:
    done = run(
        "--server", refusing.address, "--to", "unknown1@x", "--to", "b@x", text="from stdin"
    )  # fmt: skip
    assert done.exit_code == 1
    assert "refused at RCPT TO:<unknown1@x>: 550 5.1.1" in done.stderr
    assert [a["recipient"] for a in refusing.arrivals()] == ["b@x"]


def test_all_refused(refusing: Receiver) -> None:
    done = run("--server", refusing.address, "--to", "unknown@x", "--body", "x", "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout.splitlines()[-1])["code"] == 550
    assert refusing.arrivals() == []


def test_nobody_listens() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        done = run("--server", f"127.0.0.1:{held.getsockname()[1]}", "--to", "a@x", "--body", "")
    assert isinstance(done.exception, MailraceError)
    assert "mta serve" in str(done.exception)


@pytest.mark.parametrize("text", ["nowhere", "unix:/run/x", "host:port"])
def test_bad_server(text: str) -> None:
    done = run("--server", text, "--to", "a@x", "--body", "x")
    assert isinstance(done.exception, ConfigError)


def test_finds_the_server_of_its_home(accepting: Receiver, tmp_path: Path) -> None:
    listeners = [
        {"listen": "unix:/run/mail", "proxy_from": []},
        {"listen": "127.0.0.1:9", "proxy_from": ["127.0.0.1/32"]},
        {"listen": accepting.address.replace("127.0.0.1", "0.0.0.0"), "proxy_from": []},
    ]
    control = Control(tmp_path / "control.sock", {"ok": True, "result": {"listener": listeners}})
    try:
        done = run("--home", str(tmp_path), "--to", "a@x.example", "--body", "hello")
    finally:
        control.close()
    assert done.exit_code == 0, done.output
    assert [a["recipient"] for a in accepting.arrivals()] == ["a@x.example"]


def test_addresses_beyond_ascii(accepting: Receiver) -> None:
    to, sender = "grüße@bücher.example", "me@müller.example"
    words = ("--from", sender, "--to", to, "--body", "x")
    done = run("--server", accepting.address, *words)
    assert "no addresses beyond ASCII" in str(done.exception)
    taking = Manners(extensions=("8BITMIME", "SMTPUTF8"))
    with RemoteMX(taking) as remote:
        done = run("--server", f"127.0.0.1:{remote.port}", *words)
        assert done.exit_code == 0, done.output
        (got,) = remote.received
    assert [one.encode("latin-1").decode() for one in (got.sender, *got.recipients)] == [sender, to]
    assert f"To: {to}".encode() in got.content


@pytest.mark.parametrize("address", ["a@x\r\nDATA", "<a@x>", "\udcff@x", "a\0@x"])
@pytest.mark.parametrize("option", ["--to", "--from"])
def test_what_is_no_address_in_any_way(option: str, address: str) -> None:
    done = run("--to", "b@x", option, address, "--body", "x")
    assert done.exit_code == 2
    assert f"Invalid value for {option}" in done.stderr


def test_text_that_is_not_utf8(accepting: Receiver) -> None:
    done = CliRunner().invoke(
        _app(), ["--server", accepting.address, "--to", "a@x"], input=b"\xff\xfe"
    )
    assert done.exit_code == 0, done.output
    subject = run("--server", accepting.address, "--to", "a@x", "--subject", "\udcff", text="")
    assert subject.exit_code == 0, subject.output


def test_a_file_that_is_no_message(tmp_path: Path) -> None:
    file = tmp_path / "m.eml"
    file.write_bytes(b"just text\n")
    done = run("--to", "a@x", "--file", str(file))
    assert isinstance(done.exception, MailraceError)
    assert "header" in str(done.exception)


def test_composed_message_is_whole() -> None:
    content = compose("sänder@x.example", ["a@x.example"], "Grüße\nX-Evil: 1", "ein\nzwei ü\n")
    parsed = message_from_bytes(content, policy=default)
    assert parsed["Subject"] == "Grüße X-Evil: 1"
    assert parsed["X-Evil"] is None
    assert parsed["Message-ID"] and parsed["Date"]
    assert parsed.get_content().replace("\r\n", "\n") == "ein\nzwei ü\n"
    assert b"\n" not in content.replace(b"\r\n", b"")


class Control:
    """A control socket that answers one request with prepared lines."""

    def __init__(self, path: Path, *lines: dict[str, Any], hang: bool = False) -> None:
        self.request: dict[str, Any] = {}
        self._lines, self._hang = lines, hang
        self._ended = threading.Event()
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        connection, _ = self._server.accept()
        with connection, connection.makefile("rb") as requests:
            self.request = json.loads(requests.readline())
            for line in self._lines:
                connection.sendall(json.dumps(line).encode() + b"\n")
            if self._hang:
                self._ended.wait(PATIENCE)

    def close(self) -> None:
        self._ended.set()
        self._thread.join(PATIENCE)
        self._server.close()


def part(type: str, **fields: Any) -> dict[str, Any]:
    return {"part": {"type": type, "recipient": "a@x", "code": 250, "text": "ok"} | fields}


END = {"ok": True, "result": None}


def of(home: Path) -> tuple[str, ...]:
    """A home, and a server that nobody asks for its address."""
    return "--home", str(home), "--server", "127.0.0.1:9"


@pytest.mark.parametrize(
    ("lines", "hang", "code", "says"),
    [
        ([part("TransientFailure", code=450), part("Delivery"), END], False, 0, "250 ok"),
        ([part("Delivery"), part("Bounce", code=550, text="no"), END], False, 1, "550 no"),
        ([part("Expiration", code=451), END], False, 1, "Expiration"),
        ([part("TransientFailure", code=450, text="wait")], True, 3, "has not ended after 0.2 s"),
    ],
)
def test_wait_follows_to_the_end(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    lines: list[dict[str, Any]],
    hang: bool,
    code: int,
    says: str,
) -> None:
    monkeypatch.setattr(command, "_submit", lambda *_: (ID, 0))
    control = Control(tmp_path / "control.sock", *lines, hang=hang)
    try:
        done = run(
            "--to", "a@x", "--body", "x", "--wait", "--timeout", "200ms", *of(tmp_path)
        )  # fmt: skip
    finally:
        control.close()
    assert done.exit_code == code, done.output
    assert says in done.output
    assert control.request == {"op": "message.follow", "args": {"id": ID}}


def test_wait_without_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "_submit", lambda *_: (ID, 0))
    done = run("--to", "a@x", "--body", "x", "--wait", *of(tmp_path))
    assert isinstance(done.exception, ControlError)


def test_refusal_of_the_control_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "_submit", lambda *_: (ID, 0))
    control = Control(tmp_path / "control.sock", {"error": "no such message"})
    try:
        done = run("--to", "a@x", "--body", "x", "--wait", *of(tmp_path))
    finally:
        control.close()
    assert str(done.exception) == "no such message"


@pytest.mark.parametrize(
    ("record", "line"),
    [
        (
            {"type": "Reception", "time": 5, "recipients": ["a@x", "b@x"], "size": 1234},
            "Reception        a@x, b@x, 1,234 octets",
        ),
        (
            part("TransientFailure", code=450, text="later", peer_name="mx.x", time=1_000_000,
                 next_attempt=3_500_000)["part"],
            "TransientFailure a@x at mx.x: 450 later; next attempt in 2.5 s",
        ),
        (part("Expiration", code=0, text="", site="x")["part"], "Expiration       a@x at x"),
    ],
)  # fmt: skip
def test_a_record_in_a_line(record: dict[str, Any], line: str) -> None:
    assert told(record) == line


def test_addresses_with_commas_are_several() -> None:
    assert split_addresses("a@x,b@x") == ["a@x", "b@x"]
    assert split_addresses(' a@x , "b,c"@x') == ["a@x", '"b,c"@x']
    assert split_addresses("a@x,") == ["a@x", ""]
