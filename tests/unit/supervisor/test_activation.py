"""Sockets that systemd passes: which are taken, and for whom."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from mta.errors import ConfigError
from mta.supervisor.activation import Inherited, assign, inherited


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


def environ(count: int, names: str = "", pid: int = 0) -> dict[str, str]:
    given = {"LISTEN_PID": str(pid or os.getpid()), "LISTEN_FDS": str(count), "PATH": "/bin"}
    return given | ({"LISTEN_FDNAMES": names} if names else {})


def test_sockets_are_taken_with_their_names(listening: socket.socket) -> None:
    first = os.dup(listening.fileno())
    given = environ(1, "listener.0")
    os.set_inheritable(first, True)
    [one] = inherited(given, first=first)
    with one.sock:
        assert one.name == "listener.0"
        assert str(one.address) == f"127.0.0.1:{listening.getsockname()[1]}"
        assert not os.get_inheritable(first)
        assert one.sock.gettimeout() == 0
    assert given == {"PATH": "/bin"}


def test_sockets_of_another_process_are_left(listening: socket.socket) -> None:
    given = environ(1, pid=1)
    assert inherited(given, first=listening.fileno()) == []
    assert given == {"PATH": "/bin"}
    assert inherited({}) == []


def test_descriptors_that_are_no_listening_sockets() -> None:
    read, write = os.pipe()
    with pytest.raises(ConfigError, match=rf"descriptor {read} \(unknown\) is no socket"):
        inherited(environ(1), first=read)
    os.close(write)
    os.close(read)


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_sockets_that_do_not_listen(kind: int) -> None:
    sock = socket.socket(socket.AF_INET, kind)
    with sock, pytest.raises(ConfigError, match="does not listen for streams"):
        inherited(environ(1), first=sock.fileno())


def test_a_socket_belongs_to_the_listener_with_its_address(listening: socket.socket) -> None:
    spec = f"127.0.0.1:{listening.getsockname()[1]}"
    one = Inherited("smtp", listening)
    assert assign([one], ["127.0.0.1:1", spec], "") == ({1: listening}, None)
    assert assign([one], ["127.0.0.1:1"], spec) == ({}, listening)


def test_a_socket_belongs_to_what_its_name_says(listening: socket.socket) -> None:
    specs = ["127.0.0.1:1", "127.0.0.1:2"]
    assert assign([Inherited("listener.1", listening)], specs, "") == ({1: listening}, None)
    assert assign([Inherited("http", listening)], specs, "") == ({}, listening)


def test_a_unix_socket(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "s"))
        sock.listen()
        found = assign([Inherited("x", sock)], [f"unix:{tmp_path}/s"], "")
        assert found == ({0: sock}, None)


def test_a_socket_for_nobody_is_told(listening: socket.socket) -> None:
    port = listening.getsockname()[1]
    with pytest.raises(
        ConfigError, match=rf'add a \[\[listener\]\] with listen = "127.0.0.1:{port}'
    ):
        assign([Inherited("listener.7", listening)], ["127.0.0.1:1"], "")
