"""A port is given once, free, and outside the range of outgoing connections."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from mta.errors import MailraceError
from mta.testing import ports


def only(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    monkeypatch.setattr(ports, "FIRST", port)
    monkeypatch.setattr(ports, "LAST", port)


def test_each_is_free_and_another_one() -> None:
    given = [ports.free_port(), ports.free_port("::1")]
    assert len(set(given)) == 2
    for port in given:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", port))


def test_none_is_given_twice_not_even_to_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    port = ports.free_port()
    only(monkeypatch, port)
    with pytest.raises(MailraceError, match=f"no free port from {port} to {port} on 127.0.0.1"):
        ports.free_port()
    program = [sys.executable, "-c", "from mta.testing import ports; "
               f"ports.FIRST = ports.LAST = {port}; ports.free_port()"]  # fmt: skip
    done = subprocess.run(program, capture_output=True, text=True)
    assert "no free port" in done.stderr


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_one_in_use_is_passed_over(kind: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(type=kind) as taken:
        taken.bind(("127.0.0.1", 0))
        only(monkeypatch, taken.getsockname()[1])
        with pytest.raises(MailraceError, match="no free port"):
            ports.free_port()
