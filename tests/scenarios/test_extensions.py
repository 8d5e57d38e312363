"""ESMTP extensions through a real server."""

from __future__ import annotations

import smtplib
import time
from email import message_from_bytes
from pathlib import Path

import pytest

from mta.testing.remote import EXTENSIONS, Manners, RemoteMX
from tests.scenarios.server import Server
from tests.waiting import PATIENCE

LARGE = ("-o", "smtpd.max_recipients=7", "-o", "smtpd.max_messages=5")


def say(client: smtplib.SMTP, *lines: str) -> None:
    """Each command is answered positively."""
    for line in lines:
        code, text = client.docmd(line)
        assert 200 <= code < 400, (line, code, text)


def test_what_is_offered_and_what_is_switched_off(tmp_path: Path) -> None:
    flags = (*LARGE, "-o", 'smtpd.disable=["chunking", "SIZE"]')
    with (
        Server(tmp_path, *flags) as server,
        smtplib.SMTP("127.0.0.1", server.port, timeout=PATIENCE) as client,
    ):
        client.ehlo("client.example")
        offered = dict(client.esmtp_features)
        hold = offered.pop("futurerelease").split()
        assert hold[0] == "1209600" and len(hold) == 2
        assert offered == {
            "pipelining": "", "8bitmime": "", "enhancedstatuscodes": "", "smtputf8": "",
            "dsn": "", "mt-priority": "", "limits": "MAILMAX=5 RCPTMAX=7",
        }  # fmt: skip
        assert client.docmd("BDAT 0 LAST")[0] == 502


def test_a_message_in_chunks_for_a_utf8_address_is_stored_and_bounces(tmp_path: Path) -> None:
    with RemoteMX() as remote:
        route = ("--route", f"*=127.0.0.1:{remote.port}")
        with Server(tmp_path, *route) as server:
            with smtplib.SMTP("127.0.0.1", server.port, timeout=PATIENCE) as client:
                client.ehlo("client.example")
                client.command_encoding = "utf-8"
                say(client, "MAIL FROM:<a@b.example> SMTPUTF8", "RCPT TO:<j\u00f6rg@c.example>")
                client.send(b"BDAT 14\r\nSubject: x\r\n\r\nBDAT 5 LAST\r\nhi\r\n.")
                assert [client.getreply()[0], client.getreply()[0]] == [250, 250]
            [bounce] = server.wait_records(1, "Bounce")
            assert (bounce["recipient"], bounce["enhanced"]) == ("j\u00f6rg@c.example", "5.6.7")
            assert server.records("Reception")[0]["peer_name"] == "client.example"


def test_a_held_message_leaves_when_its_time_has_come(tmp_path: Path) -> None:
    with RemoteMX() as remote:
        route = ("--route", f"*=127.0.0.1:{remote.port}")
        with Server(tmp_path, *route) as server:
            with smtplib.SMTP("127.0.0.1", server.port, timeout=PATIENCE) as client:
                client.ehlo("client.example")
                sent = time.time()
                say(client, "MAIL FROM:<a@b.example> HOLDFOR=2", "RCPT TO:<held@c.example>")
                client.data("Subject: held\r\n\r\n")
                say(client, "MAIL FROM:<a@b.example> HOLDFOR=600", "RCPT TO:<later@c.example>")
                client.data("Subject: later\r\n\r\n")
                client.sendmail("a@b.example", "now@c.example", "Subject: now\r\n\r\n")
            remote.wait(2)
            ended = {r["recipient"]: r["time"] / 1e6 for r in server.wait_records(2, "Delivery")}
            assert set(ended) == {"now@c.example", "held@c.example"}
            assert ended["held@c.example"] - sent >= 1.99  # no clock is exact
            [left] = server.ask("queue.list", limit=5)
            assert (left["recipient"], left["attempts"]) == ("later@c.example", 0)
            assert left["due"] / 1e6 - sent > 590 and left["expires"] > left["due"]


def ask(server: Server, envelope: str, **recipients: str) -> None:
    """A message from a@b.example with these parameters of MAIL and, by local part, of RCPT."""
    with smtplib.SMTP("127.0.0.1", server.port, timeout=PATIENCE) as client:
        client.ehlo("client.example")
        say(client, f"MAIL FROM:<a@b.example>{envelope}")
        say(client, *(f"RCPT TO:<{name}@c.example>{asked}" for name, asked in recipients.items()))
        code, text = client.data("Subject: asked\r\n\r\nthe whole\r\n")
        assert code == 250, text


def test_notifications_are_sent_as_asked(tmp_path: Path) -> None:
    def rcpt(address: str) -> str | None:
        return "550 5.1.1 nobody" if address.startswith("no") else None

    with RemoteMX(Manners(rcpt=rcpt)) as remote:
        route = ("--route", f"*=127.0.0.1:{remote.port}")
        with Server(tmp_path, *route) as server:
            ask(
                server,
                " RET=FULL ENVID=env+2B1",
                yes=" NOTIFY=SUCCESS ORCPT=rfc822;first@old.example",
                plain="",
                no=" NOTIFY=FAILURE",
                nobody=" NOTIFY=NEVER",
                none=" NOTIFY=SUCCESS",
            )
            assert len(server.wait_records(3, "Bounce")) == 3
            found = remote.wait(3)
            reports = [one.content.decode() for one in found if not one.sender]
            assert len(reports) == 2
            [relayed] = [text for text in reports if "\r\nAction: relayed\r\n" in text]
            [failed] = [text for text in reports if "\r\nAction: failed\r\n" in text]
            assert "\r\nOriginal-Recipient: rfc822; first@old.example\r\n" in relayed
            assert "\r\nFinal-Recipient: rfc822; no@c.example\r\n" in failed
            assert "the whole" in failed and "the whole" not in relayed
            assert all("\r\nOriginal-Envelope-Id: env+1\r\n" in text for text in reports)
            server.wait_empty()
            assert len(remote.received) == 3


def test_notifications_are_left_to_a_server_that_sends_them(tmp_path: Path) -> None:
    with RemoteMX(Manners(extensions=(*EXTENSIONS, "DSN"))) as remote:
        route = ("--route", f"*=127.0.0.1:{remote.port}")
        with Server(tmp_path, *route) as server:
            ask(server, " RET=HDRS ENVID=e1", yes=" NOTIFY=SUCCESS,DELAY ORCPT=rfc822;x@y")
            [got] = remote.wait(1)
            assert " RET=HDRS ENVID=e1" in got.mail_line
            said = [line for line in remote.commands if line.startswith("RCPT")]
            assert said == ["RCPT TO:<yes@c.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;x@y"]
            server.wait_records(1, "Delivery")
            server.wait_empty()
            assert len(server.records("Reception")) == 1


def test_a_delay_is_told(tmp_path: Path) -> None:
    tries = iter(["451 4.7.1 later", "451 4.7.1 later"])

    def rcpt(address: str) -> str | None:
        return next(tries, None) if address.startswith("slow") else None

    flags = ("-o", 'retry.schedule=["1s"]', "-o", "dsn.delay_after=0.5s")
    with RemoteMX(Manners(rcpt=rcpt)) as remote:
        route = ("--route", f"*=127.0.0.1:{remote.port}")
        with Server(tmp_path, *route, *flags) as server:
            ask(server, "", slow=" NOTIFY=DELAY")
            [notice, late] = sorted(remote.wait(2), key=lambda one: one.sender)
            assert (notice.sender, notice.recipients) == ("", ["a@b.example"])
            assert b"\r\nAction: delayed\r\nStatus: 4.7.1\r\n" in notice.content
            assert late.recipients == ["slow@c.example"]
            server.wait_records(2, "Delivery")
            server.wait_empty()
            assert len(server.records("Reception")) == 2


def test_binary_content_reaches_a_server_without_binarymime_as_text(tmp_path: Path) -> None:
    with RemoteMX() as remote:
        route = ("--route", f"*=127.0.0.1:{remote.port}")
        with Server(tmp_path, *route) as server:
            with smtplib.SMTP("127.0.0.1", server.port, timeout=PATIENCE) as client:
                client.ehlo("client.example")
                assert client.has_extn("BINARYMIME")
                say(client, "MAIL FROM:<a@b.example> BODY=BINARYMIME", "RCPT TO:<r@c.example>")
                body = b"Content-Type: image/png\r\n\r\n\x89PNG\r\n\x1a\n\0\xff"
                client.send(b"BDAT %d LAST\r\n%b" % (len(body), body))
                assert client.getreply()[0] == 250
            [got] = remote.wait(1)
            assert b"BINARYMIME" not in got.mail_line.encode()
            assert message_from_bytes(got.content).get_payload(decode=True) == body[27:]


@pytest.mark.parametrize("chunking", ["needed", "always", "eager"])
def test_two_of_ours_speak_every_extension(tmp_path: Path, chunking: str) -> None:
    text = "Subject: dots \u00e9\r\n\r\n.\r\n..two\r\nno end of line".encode()
    binary = b"Content-Type: image/png\r\n\r\n" + bytes(range(256)) * 40
    with RemoteMX(Manners(extensions=(*EXTENSIONS, "SMTPUTF8"))) as remote:
        onward = ("--route", f"*=127.0.0.1:{remote.port}")
        with Server(tmp_path / "b", *onward) as second:
            route = ("--route", f"*=127.0.0.1:{second.port}", "-o", f"delivery.chunking={chunking}")
            with Server(tmp_path / "a", *route) as first:
                with smtplib.SMTP("127.0.0.1", first.port, timeout=PATIENCE) as client:
                    client.ehlo("client.example")
                    client.command_encoding = "utf-8"
                    for body, asked in ((text, "8BITMIME"), (binary, "BINARYMIME")):
                        say(client, f"MAIL FROM:<\u00e9@b.example> SMTPUTF8 BODY={asked}")
                        say(client, "RCPT TO:<j\u00f6rg@c.example>", "RCPT TO:<no@d.example>")
                        client.send(b"BDAT %d LAST\r\n%b" % (len(body), body))
                        assert client.getreply()[0] == 250
                got = remote.wait(2)
                first.wait_records(4, "Delivery")
                received = second.wait_records(2, "Reception")
                assert [r["recipients"] for r in received] == [
                    ["j\u00f6rg@c.example", "no@d.example"]
                ] * 2
                contents = sorted((one.content for one in got), key=len)
                assert contents[0].endswith(text + b"\r\n")
                assert contents[0].count(b" with UTF8SMTP id ") == 2
                assert message_from_bytes(contents[1]).get_payload(decode=True) == binary[27:]
                assert all(" SMTPUTF8" in one.mail_line for one in got)
