"""Nobody relays who may not (E-16): nmap's probe, and its patterns and others as a table."""

from __future__ import annotations

import re
import smtplib
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mta.smtpd.proxy import SIGNATURE
from mta.testing.ports import free_port
from mta.testing.remote import RemoteMX
from tests.peers.programs import require
from tests.scenarios.server import Server
from tests.waiting import PATIENCE

OUTSIDE = "127.0.0.2"  # of the listener; its clients come from 127.0.0.1, which may not relay
STRANGER = "192.0.2.7"
NAME, TO = "mx.here.example", "relaytest@there.example"
LOCAL = "there.example"

# (MAIL, RCPT): what nmap's smtp-open-relay tries, as in its version 7.93.
NMAP = [
    ("", TO),
    ("antispam@there.example", TO),
    (f"antispam@{NAME}", TO),
    (f"antispam@[{OUTSIDE}]", TO),
    (f"antispam@[{OUTSIDE}]", f"relaytest%{LOCAL}@[{OUTSIDE}]"),
    (f"antispam@[{OUTSIDE}]", f"relaytest%{LOCAL}@{NAME}"),
    (f"antispam@[{OUTSIDE}]", f'"{TO}"'),
    (f"antispam@[{OUTSIDE}]", f'"relaytest%{LOCAL}"'),
    (f"antispam@[{OUTSIDE}]", f"{TO}@[{OUTSIDE}]"),
    (f"antispam@[{OUTSIDE}]", f'"{TO}"@[{OUTSIDE}]'),
    (f"antispam@[{OUTSIDE}]", f"{TO}@{NAME}"),
    (f"antispam@[{OUTSIDE}]", f"@[{OUTSIDE}]:{TO}"),
    (f"antispam@[{OUTSIDE}]", f"@{NAME}:{TO}"),
    (f"antispam@[{OUTSIDE}]", f"{LOCAL}!relaytest"),
    (f"antispam@[{OUTSIDE}]", f"{LOCAL}!relaytest@[{OUTSIDE}]"),
    (f"antispam@[{OUTSIDE}]", f"{LOCAL}!relaytest@{NAME}"),
]
# Others that have fooled one server or another.
MORE = [
    ("a@b.example", f"@ours.example:{TO}"),
    ("a@b.example", f"@ours.example,@{NAME}:{TO}"),
    ("a@b.example", f"relaytest%{LOCAL}@there.example"),
    ("a@ours.example", TO),
    ("postmaster", TO),
    ("a@b.example", f"{TO}.ours.example."),
    ("a@b.example", "relaytest@ours.example.there.example"),
    ("a@b.example", "relaytest@there.example\0@ours.example"),
    ("a@b.example", "relaytest@there.example @ours.example"),
    ("a@b.example", '"relaytest@ours.example"@there.example'),
    ("a@b.example", "relaytest@[127.0.0.1]"),
    ("a@b.example", "relaytest@[IPv6:::1]"),
    ("a@b.example", "relaytest@localhost"),
    ("a@b.example", "relaytest"),
    ("a@b.example", "relaytest@"),
    ("a@b.example", "@there.example"),
    ("a@b.example", "relaytest@xours.example"),
]

CONFIG = """
hostname = "{name}"
[[listener]]
listen = "{outside}:{plain}"
relay_from = ["10.0.0.0/8"]
relay_domains = ["ours.example"]
[[listener]]
listen = "127.0.0.1:{proxied}"
proxy_from = ["127.0.0.0/8"]
relay_from = ["10.0.0.0/8", "127.0.0.0/8", "unix"]
relay_domains = ["ours.example"]
[[listener]]
listen = "127.0.0.1:{xclient}"
xclient_from = ["127.0.0.0/8"]
relay_from = ["10.0.0.0/8", "127.0.0.0/8"]
relay_domains = ["ours.example"]
[[listener]]
listen = "unix:{folder}/mail.sock"
relay_from = ["10.0.0.0/8"]
relay_domains = ["ours.example"]
[[listener]]
listen = "127.0.0.1:{open}"
relay_from = ["127.0.0.0/8"]
[[route]]
match = {{ domain = "*" }}
next_hop = "127.0.0.1:{remote}"
"""


class Listeners(Server):
    """A server with the listeners of `CONFIG`."""

    def __init__(self, folder: Path, remote: int) -> None:
        super().__init__(folder)
        self.ports = {name: free_port() for name in ("plain", "proxied", "xclient", "open")}
        self.ports["plain"] = free_port(OUTSIDE)
        (folder / "config.toml").write_text(
            CONFIG.format(name=NAME, outside=OUTSIDE, folder=folder, remote=remote, **self.ports)
        )

    def command(self) -> list[str]:
        """The listeners are those of the file."""
        given = super().command()
        at = given.index("--listen")
        return [*given[:at], "--config", str(self.home / "config.toml"), *given[at + 2 :]]


@pytest.fixture(scope="module")
def server(remote: RemoteMX, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listeners]:
    with Listeners(tmp_path_factory.mktemp("relay"), remote.port) as running:
        yield running


def plain(server: Listeners) -> socket.socket:
    """Straight to a listener whose `relay_from` does not have us."""
    return socket.create_connection((OUTSIDE, server.ports["plain"]), PATIENCE)


def by_socket(server: Listeners) -> socket.socket:
    """To a Unix socket whose `relay_from` lacks the word."""
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(PATIENCE)
    sock.connect(str(server.home / "mail.sock"))
    return sock


def _proxied(server: Listeners, header: bytes) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", server.ports["proxied"]), PATIENCE)
    sock.sendall(header)
    return sock


def proxy_1(server: Listeners) -> socket.socket:
    """Behind a proxy that may relay on its own network, for a stranger."""
    return _proxied(server, f"PROXY TCP4 {STRANGER} 198.51.100.1 4711 25\r\n".encode())


def proxy_1_unknown(server: Listeners) -> socket.socket:
    """A proxy that does not say for whom."""
    return _proxied(server, b"PROXY UNKNOWN\r\n")


def proxy_2(server: Listeners) -> socket.socket:
    """The binary header."""
    pair = socket.inet_aton(STRANGER) + socket.inet_aton("198.51.100.1")
    return _proxied(
        server, SIGNATURE + struct.pack("!BBH", 0x21, 0x11, 12) + pair + struct.pack("!HH", 1, 25)
    )


def proxy_2_local(server: Listeners) -> socket.socket:
    """LOCAL: the proxy for itself, a health check."""
    return _proxied(server, SIGNATURE + struct.pack("!BBH", 0x20, 0, 0))


def xclient(server: Listeners) -> socket.socket:
    """A proxy of XCLIENT that has named nobody yet."""
    return socket.create_connection(("127.0.0.1", server.ports["xclient"]), PATIENCE)


def xclient_stranger(server: Listeners) -> socket.socket:
    """A proxy of XCLIENT for a stranger."""
    sock = xclient(server)
    _reply(sock)
    for command in (b"EHLO proxy.example", f"XCLIENT ADDR={STRANGER} NAME=x.example".encode()):
        sock.sendall(command + b"\r\n")
        assert _reply(sock).startswith(b"2")
    sock.sendall(b"NOOP\r\n")  # for the greeting that was read already
    return sock


WAYS = [
    plain, by_socket, proxy_1, proxy_1_unknown, proxy_2, proxy_2_local, xclient, xclient_stranger,
]  # fmt: skip


def _reply(sock: socket.socket) -> bytes:
    """A whole reply; nothing is sent ahead, so nothing comes behind it."""
    got = b""
    while not re.search(rb"^\d{3} [^\n]*\n\Z", got, re.M):
        more = sock.recv(4096)
        assert more, got
        got += more
    return got


def attempt(sock: socket.socket, sender: str, recipient: str) -> bytes:
    """The reply to RCPT, or to a MAIL that is refused already."""
    with sock:
        _reply(sock)
        for command in ("EHLO client.example", f"MAIL FROM:<{sender}>", f"RCPT TO:<{recipient}>"):
            sock.sendall(command.encode() + b"\r\n")
            said = _reply(sock)
            if not said.startswith(b"2"):
                break
        return said


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_every_pattern_is_refused(server: Listeners, remote: RemoteMX, way) -> None:
    for sender, recipient in NMAP + MORE:
        said = attempt(way(server), sender, recipient)
        assert re.match(rb"5\d\d 5\.\d\.\d ", said), (sender, recipient, said)
    assert remote.received == []
    assert server.ask("queue.list", limit=1) == []


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_our_own_domains_are_taken_by_the_same_way(server: Listeners, way) -> None:
    """The refusals above are not those of a listener that refuses everything."""
    assert attempt(way(server), "a@b.example", "r@ours.example").startswith(b"250 ")


def test_who_may_relay_does(server: Listeners, remote: RemoteMX) -> None:
    remote.received.clear()
    with smtplib.SMTP(
        "127.0.0.1", server.ports["open"], "client.example", timeout=PATIENCE
    ) as client:
        client.sendmail("a@b.example", [TO], "Subject: x\r\n\r\nx\r\n")
    [got] = remote.wait(1)
    assert got.recipients == [TO]
    remote.received.clear()


def nmap(host: str, port: int) -> str:
    """What its probe says of a port; + runs it although the port is not 25."""
    done = subprocess.run(
        [
            require("nmap"), "-n", "-Pn", "-sT", "-p", str(port), "-vv", "--script",
            "+smtp-open-relay", "--script-args", f"smtp-open-relay.domain={LOCAL}", host,
        ],
        capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
    return done.stdout + done.stderr


@pytest.mark.peer
def test_nmap_finds_no_open_relay(server: Listeners) -> None:
    said = nmap(OUTSIDE, server.ports["plain"])
    assert "Server doesn't seem to be an open relay, all tests failed" in said, said


@pytest.mark.peer
def test_nmap_finds_no_open_relay_where_a_proxy_names_nobody(server: Listeners) -> None:
    said = nmap("127.0.0.1", server.ports["xclient"])
    assert "Server doesn't seem to be an open relay, all tests failed" in said, said


@pytest.mark.peer
def test_nmap_would_find_one(server: Listeners) -> None:
    """The same probe at a listener that may relay for us, so that its silence means something."""
    said = nmap("127.0.0.1", server.ports["open"])
    assert re.search(r"Server is an open relay \(\d+/16 tests\)", said), said
