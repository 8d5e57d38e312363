from __future__ import annotations

import smtplib
import socket
import subprocess
import sys
from pathlib import Path

import aiosmtpd.controller
import aiosmtpd.smtp
import pytest
import uvloop
from aiosmtpd.handlers import Sink

from mta import smtpd
from mta.smtpd import SMTP, Controller, UnixSocketController


def test_they_are_controllers_of_aiosmtpd_with_a_server_that_is_not() -> None:
    controller = Controller(Sink())
    assert isinstance(controller, aiosmtpd.controller.Controller)
    assert isinstance(controller.loop, uvloop.Loop)
    assert not issubclass(SMTP, aiosmtpd.smtp.SMTP)
    controller.loop.close()


def test_a_controller_takes_mail_and_stops_with_a_client_connected(tmp_path: Path) -> None:
    path = tmp_path / "s"
    controller = UnixSocketController(Sink(), path, server_hostname="mx.example")
    controller.start()
    assert isinstance(controller.smtpd, SMTP)
    client = smtplib.SMTP()
    client.sock = socket.socket(socket.AF_UNIX)
    client.sock.connect(str(path))
    assert client.getreply()[0] == 220
    assert client.ehlo("c.example")[1].startswith(b"mx.example\n")
    assert client.sendmail("a@b.example", ["c@d.example"], "Subject: s\n\ntext\n") == {}
    controller.stop()
    with pytest.raises(smtplib.SMTPServerDisconnected):
        client.noop()
    client.close()


def test_options_that_are_not_known_are_told_at_the_start(tmp_path: Path) -> None:
    controller = UnixSocketController(Sink(), tmp_path / "s", no_such_option=1)
    with pytest.raises(TypeError, match="no_such_option"):
        controller.start()
    controller.stop()


def test_a_server_without_handler_does_not_import_aiosmtpd() -> None:
    check = "import sys, mta.supervisor.worker; sys.exit('aiosmtpd' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check]).returncode == 0


def test_exports() -> None:
    assert all(getattr(smtpd, name) for name in smtpd.__all__)
    with pytest.raises(AttributeError):
        smtpd.Other  # noqa: B018
