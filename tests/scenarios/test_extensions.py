"""ESMTP extensions through a real server."""

from __future__ import annotations

import smtplib
import time
from pathlib import Path

from mta.testing.remote import RemoteMX
from tests.scenarios.server import Server

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
        smtplib.SMTP("127.0.0.1", server.port, timeout=20) as client,
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
            with smtplib.SMTP("127.0.0.1", server.port, timeout=20) as client:
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
            with smtplib.SMTP("127.0.0.1", server.port, timeout=20) as client:
                client.ehlo("client.example")
                sent = time.time()
                say(client, "MAIL FROM:<a@b.example> HOLDFOR=2", "RCPT TO:<held@c.example>")
                client.data("Subject: held\r\n\r\n")
                say(client, "MAIL FROM:<a@b.example> HOLDFOR=600", "RCPT TO:<later@c.example>")
                client.data("Subject: later\r\n\r\n")
                client.sendmail("a@b.example", "now@c.example", "Subject: now\r\n\r\n")
            [first, second] = remote.wait(2)
            assert (first.recipients, second.recipients) == (["now@c.example"], ["held@c.example"])
            assert time.time() - sent >= 1.9
            server.wait_records(2, "Delivery")
            [left] = server.ask("queue.list", limit=5)
            assert (left["recipient"], left["attempts"]) == ("later@c.example", 0)
            assert left["due"] / 1e6 - sent > 590 and left["expires"] > left["due"]
