"""A handler written for aiosmtpd as the policy of a listener."""

from __future__ import annotations

import smtplib
import subprocess
from pathlib import Path

import pytest

from mta.testing.remote import RemoteMX
from tests.scenarios.server import Server
from tests.waiting import PATIENCE

POLICY = """
import asyncio

class Policy:
    async def handle_RCPT(self, server, session, envelope, address, rcpt_options):
        await asyncio.sleep(0)
        if address.startswith("nobody@"):
            return "550 5.1.1 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    def handle_DATA(self, server, session, envelope):
        if b"unwanted" in envelope.content:
            return "554 5.7.1 unwanted"
        envelope.content = b"X-Checked: %s\\r\\n" % session.host_name.encode() + envelope.content
        return "250 Message accepted for delivery"
"""


def test_what_the_handler_takes_is_spooled_and_delivered(tmp_path: Path) -> None:
    policy = tmp_path / "policy.py"
    policy.write_text(POLICY)
    with RemoteMX() as remote:
        flags = (
            "--route", f"*=127.0.0.1:{remote.port}",
            "-o", f"listener.0.handler={policy}:Policy",
        )  # fmt: skip
        with Server(tmp_path / "home", *flags) as server:
            with smtplib.SMTP("127.0.0.1", server.port, timeout=PATIENCE) as client:
                client.ehlo("client.example")
                client.mail("a@b.example")
                assert client.rcpt("nobody@c.example") == (550, b"5.1.1 no such user")
                assert client.rcpt("some@c.example")[0] == 250
                code, text = client.data("Subject: s\r\n\r\nhello\r\n")
                assert code == 250 and b"queued as" in text
                with pytest.raises(smtplib.SMTPDataError, match="unwanted"):
                    client.sendmail("a@b.example", "some@c.example", "unwanted\r\n")
            [received] = remote.wait(1)
            assert b"X-Checked: client.example\r\nSubject: s\r\n" in received.content
            server.wait_records(1, "Delivery")
            told = [(r["command"], r["reason"]) for r in server.wait_records(2, "Rejection")]
            assert told == [("RCPT", "handler"), (".", "handler")]
            assert len(server.records("Reception")) == 1


@pytest.mark.parametrize(
    ("handler", "said"), [("nowhere:Policy", "nowhere"), ("policy", "is not a handler")]
)
def test_a_handler_that_is_not_there_is_told_at_the_start(
    tmp_path: Path, handler: str, said: str
) -> None:
    server = Server(tmp_path, "-o", f"listener.0.handler={handler}")
    done = subprocess.run(server.command(), capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode
    assert "listener" in done.stdout + done.stderr and said in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
