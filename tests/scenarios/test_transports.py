"""Mail leaves by LMTP, into maildirs and files, to commands and by HTTP; and is recorded alike."""

from __future__ import annotations

import contextlib
import json
import mailbox
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller, UnixSocketController
from aiosmtpd.lmtp import LMTP

from mta.testing.ports import free_port
from tests.scenarios.server import Server
from tests.waiting import PATIENCE, wait

SOON = ("-o", 'retry.schedule=["1s"]', "-o", "retry.jitter=0")


def transport(**options: Any) -> list[str]:
    """Flags that make `out` of these options the way of all mail but that of source.example."""
    flags = ["-o", 'route.+={match={domain="*b.example"}, transport="out"}']
    flags += ["-o", 'route.+={transport="nowhere"}', "-o", "transport.nowhere.kind=discard"]
    for key, value in options.items():
        flags += ["-o", f"transport.out.{key}={value}"]
    return flags


class Mailboxes:
    """An LMTP server's handler: some mailboxes are full, some unknown."""

    def __init__(self) -> None:
        self.got: list[tuple[str, list[str], bytes]] = []

    async def handle_RCPT(
        self, server: Any, session: Any, envelope: Any, address: str, options: Any
    ) -> str:
        if address.startswith("unknown"):
            return "550 5.1.1 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 ok"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        taken = [r for r in envelope.rcpt_tos if not r.startswith("full")]
        self.got.append((envelope.mail_from, taken, envelope.original_content))
        return "\r\n".join(
            "452 4.2.2 mailbox full" if r.startswith("full") else f"250 2.0.0 {r} has it"
            for r in envelope.rcpt_tos
        )


class LmtpOverTcp(Controller):
    def factory(self) -> LMTP:
        return LMTP(self.handler, enable_SMTPUTF8=False)


class LmtpOverUnix(UnixSocketController):
    def factory(self) -> LMTP:
        return LMTP(self.handler, enable_SMTPUTF8=False)


@contextlib.contextmanager
def running(controller: Any) -> Iterator[Any]:
    controller.start()
    try:
        yield controller
    finally:
        controller.stop()


def expect_lmtp(server: Server, handler: Mailboxes, address: str) -> None:
    server.send("a@b.example", "unknown@b.example", "full@b.example", "z@b.example")
    delivered = server.wait_records(2, "Delivery")
    out = [r for r in delivered if r["site"] == "out"]
    assert {r["recipient"]: r["text"] for r in out} == {
        "a@b.example": "a@b.example has it",
        "z@b.example": "z@b.example has it",
    }
    assert {(r["peer_name"], r["peer_address"], r["code"]) for r in out} == {
        ("lmtp:out", address, 250)
    }
    [bounce] = server.wait_records(1, "Bounce")
    assert (bounce["recipient"], bounce["enhanced"]) == ("unknown@b.example", "5.1.1")
    [failure, *_] = server.wait_records(1, "TransientFailure")
    assert (failure["recipient"], failure["enhanced"]) == ("full@b.example", "4.2.2")
    sender, recipients, content = handler.got[0]
    assert (sender, recipients) == ("sender@source.example", ["a@b.example", "z@b.example"])
    assert content.endswith(b"\r\n\r\nhello\r\n")
    server.wait_records(2, "TransientFailure")  # the full one alone is tried again
    assert handler.got[1][1] == []


def test_lmtp_over_a_unix_socket(tmp_path: Path) -> None:
    handler, path = Mailboxes(), tmp_path / "lmtp"
    flags = transport(kind="lmtp", address=f"unix:{path}")
    with (
        running(LmtpOverUnix(handler, unix_socket=str(path), ready_timeout=PATIENCE)),
        Server(tmp_path / "home", *flags, *SOON) as server,
    ):
        expect_lmtp(server, handler, f"unix:{path}")


def test_lmtp_over_tcp(tmp_path: Path) -> None:
    handler = Mailboxes()
    port = free_port()
    with running(LmtpOverTcp(handler, hostname="127.0.0.1", port=port, ready_timeout=PATIENCE)):
        flags = transport(kind="lmtp", address=f"127.0.0.1:{port}")
        with Server(tmp_path / "home", *flags, *SOON) as server:
            expect_lmtp(server, handler, f"127.0.0.1:{port}")


def test_an_lmtp_server_that_is_away_comes_back(tmp_path: Path) -> None:
    handler, path = Mailboxes(), tmp_path / "lmtp"
    flags = transport(kind="lmtp", address=f"unix:{path}")
    with Server(tmp_path / "home", *flags, *SOON) as server:
        server.send("a@b.example")
        [failure] = server.wait_records(1, "TransientFailure")
        assert failure["text"] == f"cannot connect to {path}: No such file or directory"
        with running(LmtpOverUnix(handler, unix_socket=str(path), ready_timeout=PATIENCE)):
            server.wait_records(1, "Delivery")


def test_maildirs_by_recipient(tmp_path: Path) -> None:
    flags = transport(kind="maildir", path=f"{tmp_path}/mail/{{domain}}/{{local}}")
    with Server(tmp_path / "home", *flags) as server:
        server.send("Ann@b.example", "bob@c.b.example", '"../x"@b.example')
        delivered = server.wait_records(3, "Delivery")  # one of them is a DSN
        [bounce] = server.wait_records(1, "Bounce")
        box = mailbox.Maildir(str(tmp_path / "mail/b.example/ann"), create=False)
        [message] = box.values()
        assert (message["Return-Path"], message["Delivered-To"]) == (
            "<sender@source.example>", "Ann@b.example",
        )  # fmt: skip
        assert b"\r" not in message.as_bytes()
        assert len(mailbox.Maildir(str(tmp_path / "mail/c.b.example/bob"), create=False)) == 1
        assert sorted(p.name for p in (tmp_path / "mail").iterdir()) == ["b.example", "c.b.example"]
        assert "maildir:out" in {r["peer_name"] for r in delivered}
        assert (bounce["enhanced"], bounce["text"]) == (
            "5.1.3", "'\"../x\"' cannot be part of a file name",
        )  # fmt: skip


COMMAND = """\
case $1 in
    unknown*) cat >/dev/null; echo "5.1.6 has moved away"; exit 67 ;;
    later*) cat >/dev/null; exit 75 ;;
    slow*) exec sleep 3600 ;;
esac
{ echo "$SENDER"; cat; } >"$2/$1"
echo filed
"""


def test_a_command_for_each_recipient(tmp_path: Path) -> None:
    script = tmp_path / "file.sh"
    script.write_text(COMMAND)
    command = json.dumps(["/bin/sh", str(script), "{recipient}", str(tmp_path)])
    flags = transport(kind="pipe", command=command, timeout="6s")
    names = ("a", "unknown", "later", "slow", "-x")
    with Server(tmp_path / "home", *flags) as server:
        server.send(*(f"{name}@b.example" for name in names))
        server.wait_records(2, "TransientFailure")
        [delivery] = [r for r in server.wait_records(1, "Delivery") if r["site"] == "out"]
        assert (delivery["recipient"], delivery["text"]) == ("a@b.example", "filed")
        bounced = {r["recipient"]: (r["enhanced"], r["text"]) for r in server.records("Bounce")}
        assert bounced["unknown@b.example"] == ("5.1.6", "has moved away")
        assert bounced["-x@b.example"][0] == "5.1.3"
        failed = {r["recipient"]: r["text"] for r in server.records("TransientFailure")}
        assert failed == {
            "later@b.example": "exit code 75", "slow@b.example": "stopped after 6 s",
        }  # fmt: skip
        content = (tmp_path / "a@b.example").read_bytes()
        assert content.startswith(b"sender@source.example\nReturn-Path: <sender@source.example>\n")
        assert content.endswith(b"\n\nhello\n")


class Hook(BaseHTTPRequestHandler):
    """Answers by the recipient; keeps what it got."""

    protocol_version = "HTTP/1.1"
    got: list[tuple[dict[str, str], bytes]] = []
    answers = {"gone": 410, "busy": 429, "broken": 503, "moved": 308}

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.got.append((dict(self.headers), body))
        status = self.answers.get(self.headers["X-Envelope-To"].partition("@")[0], 202)
        answer = b"thank you" if status == 202 else b"no\r\nthanks"
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        if status == 429:
            self.send_header("Retry-After", "120")
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextlib.contextmanager
def hooks() -> Iterator[str]:
    Hook.got = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/in?key=hidden"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_http_and_what_its_answers_mean(tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("s3cret\n")
    with hooks() as url:
        flags = transport(kind="http", url=url, token_file=secret, headers='{X-Team="mail"}')
        with Server(tmp_path / "home", *flags) as server:
            for name in ("a", "gone", "busy", "broken", "moved"):
                server.send(f"{name}@b.example", body=b"Subject: x\r\n\r\n.dot\r\n")
            failed = server.wait_records(3, "TransientFailure")
            [bounce] = server.wait_records(1, "Bounce")
            delivered = server.wait_records(2, "Delivery")  # one of them is a DSN
            [delivery] = [r for r in delivered if r["site"] == "out"]
            assert delivery["text"] == "HTTP 202 Accepted: thank you"
            assert bounce["text"] == "HTTP 410 Gone: no thanks"
            assert {r["text"] for r in failed} == {
                "HTTP 429 Too Many Requests: no thanks (Retry-After: 120)",
                "HTTP 503 Service Unavailable: no thanks",
                "HTTP 308 Permanent Redirect: no thanks",
            }
            headers, body = next(got for got in Hook.got if got[0]["X-Envelope-To"][0] == "a")
            assert headers["Authorization"] == "Bearer s3cret"
            assert headers["X-Team"] == "mail"
            assert headers["Content-Type"] == "message/rfc822"
            assert headers["X-Envelope-From"] == "sender@source.example"
            assert headers["X-Message-Id"] == delivery["id"]
            assert body.startswith(b"Received: ")
            assert body.endswith(b"\r\n\r\n.dot\r\n")
            everything = json.dumps(server.records()) + server.said()
            assert "s3cret" not in everything
            assert "hidden" not in everything


def test_http_with_a_document(tmp_path: Path) -> None:
    body = (
        b"Subject: =?utf-8?q?caf=C3=A9?=\r\nMIME-Version: 1.0\r\n"
        b"Content-Type: text/html; charset=iso-8859-1\r\n\r\n<p>\xe9</p>\r\n"
    )
    with hooks() as url:
        flags = transport(kind="http", url=url, format="json")
        with Server(tmp_path / "home", *flags) as server:
            server.send("a@b.example", "c@b.example", body=body)
            server.wait_records(2, "Delivery")
            [(headers, document)] = Hook.got
            assert headers["Content-Type"] == "application/json"
            found = json.loads(document)
            assert (found["from"], found["to"]) == (
                "sender@source.example", ["a@b.example", "c@b.example"],
            )  # fmt: skip
            assert ["Subject", "café"] in found["headers"]
            assert (found["text"], found["html"]) == (None, "<p>é</p>\r\n")


def test_an_mbox_and_files(tmp_path: Path) -> None:
    path = tmp_path / "archive" / "{tenant}.mbox"
    with Server(tmp_path / "home", *transport(kind="file", path=path)) as server:
        for number in range(10):
            server.send(f"r{number}@b.example", "also@b.example", body=b"X: y\r\n\r\nFrom me\r\n")
        server.wait_records(20, "Delivery")
    box = mailbox.mbox(str(tmp_path / "archive" / "default.mbox"), create=False)
    try:
        assert len(box) == 10
        first = box[0]
        assert first.get_all("Delivered-To") == ["r0@b.example", "also@b.example"]
        assert first.get_payload() == ">From me\n"
    finally:
        box.close()
    folder = tmp_path / "files"
    flags = transport(kind="file", path=folder, append="no")
    with Server(tmp_path / "home", *flags) as server:
        id = server.send("r@b.example", body=b"X: y\r\n\r\nFrom me\r\n")
        server.wait_records(21, "Delivery")
    assert [path.name for path in folder.iterdir()] == [f"{id}-0.eml"]
    assert (folder / f"{id}-0.eml").read_bytes().endswith(b"X: y\r\n\r\nFrom me\r\n")


def test_discarded_and_limited_as_a_site(tmp_path: Path) -> None:
    flags = transport(kind="discard")
    with Server(tmp_path / "home", *flags, "-o", "limits.site.out.rate=5/s, burst=1") as server:
        began = time.time()
        for number in range(6):
            server.send(f"r{number}@b.example")
        records = server.wait_records(6, "Delivery")
        last = max(r["time"] for r in records) / 1e6
        assert {(r["peer_name"], r["text"]) for r in records} == {("discard:out", "discarded")}
        assert last - began > 0.99  # no clock is exact
        server.wait_empty()


def test_a_reload_moves_what_waits_to_the_new_transport(tmp_path: Path) -> None:
    file = tmp_path / "mailrace.toml"
    table = '[[route]]\ntransport = "out"\n[transport.out]\n'
    file.write_text(f'{table}kind = "lmtp"\naddress = "unix:{tmp_path}/none"\n')
    flags = ("--config", str(file), "-o", 'retry.schedule=["1h"]')
    with Server(tmp_path / "home", *flags) as server:
        server.send("a@b.example")
        server.wait_records(1, "TransientFailure")
        file.write_text(f'{table}kind = "file"\npath = "{tmp_path}/mbox"\nurl = "http://x"\n')
        with contextlib.suppress(RuntimeError):
            server.ask("reload")
            raise AssertionError("a bad file was taken")
        file.write_text(f'{table}kind = "file"\npath = "{tmp_path}/mbox"\n')
        server.ask("reload")
        server.send("c@b.example")
        [delivery] = server.wait_records(1, "Delivery")
        assert delivery["peer_name"] == "file:out"
        file.write_text('[[route]]\ntransport = "away"\n[transport.away]\nkind = "discard"\n')
        server.ask("reload")
        server.send("d@b.example")
        assert server.wait_records(2, "Delivery")[1]["peer_name"] == "discard:away"


def test_what_waits_for_its_rate_leaves_by_the_new_route(tmp_path: Path) -> None:
    file = tmp_path / "mailrace.toml"
    limits = '[limits.site.out]\nrate = "1/h, burst=1"\n'
    file.write_text(f'{limits}[[route]]\ntransport = "out"\n[transport.out]\nkind = "discard"\n')
    with Server(tmp_path / "home", "--config", str(file)) as server:
        for number in range(5):
            server.send(f"r{number}@b.example")
        server.wait_records(1, "Delivery")
        file.write_text('[[route]]\ntransport = "new"\n[transport.new]\nkind = "discard"\n')
        server.ask("reload")
        records = server.wait_records(5, "Delivery")
        assert [r["site"] for r in records] == ["out"] + ["new"] * 4


def test_a_command_that_runs_at_the_stop_is_ended_and_tried_again(tmp_path: Path) -> None:
    command = json.dumps(["/bin/sh", "-c", f"echo $$ > {tmp_path}/pid; sleep 3600"])
    flags = transport(kind="pipe", command=command)
    with Server(tmp_path / "home", *flags, "-o", "grace=200ms", *SOON) as server:
        server.send("a@b.example")
        pid = tmp_path / "pid"
        wait(lambda: pid.exists() and pid.read_text().endswith("\n"), server.said)
        assert server.stop() == 0
        assert not Path(f"/proc/{pid.read_text().strip()}").exists()
        server.flags = (*transport(kind="discard"), *SOON)
        server.start()
        [record] = server.wait_records(1, "Delivery")
        assert record["attempts"] == 2
