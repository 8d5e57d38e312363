"""Listening sockets and the errors about them."""

from __future__ import annotations

import errno
import os
import socket

import pytest

from mta.errors import ConfigError
from mta.smtpd.bind import Address, bind, bind_group, explain, parse, port_owner


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    ("spec", "family", "host", "port"),
    [
        ("127.0.0.1:2525", socket.AF_INET, "127.0.0.1", 2525),
        ("localhost:2525", socket.AF_INET, "127.0.0.1", 2525),
        ("[::1]:25", socket.AF_INET6, "::1", 25),
        ("unix:/run/mail", socket.AF_UNIX, "/run/mail", 0),
    ],
)
def test_parse(spec, family, host, port):
    assert parse(spec) == Address(family, host, port)
    assert str(parse(spec)) == spec.replace("localhost", "127.0.0.1")


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ("127.0.0.1", "a port"),
        ("127.0.0.1:", "a port"),
        ("127.0.0.1:smtp", "a port"),
        ("127.0.0.1:70000", "a port"),
        ("::1:25", "is not an IP address"),
        ("[127.0.0.1]:25", "is not an IP address"),
        ("mail.example.com:25", "is not an IP address"),
        (":25", "is not an IP address"),
        ("unix:run/mail", "must begin with /"),
        ("unix:/" + "x" * 107, "at most 107 bytes"),
    ],
)
def test_parse_errors_name_the_listener(spec, problem):
    with pytest.raises(ConfigError, match=problem) as caught:
        parse(spec)
    assert spec in str(caught.value)


def test_listens():
    with bind("127.0.0.1:0") as sock:
        assert not sock.getblocking()
        socket.create_connection(sock.getsockname()).close()


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 loopback")
def test_ipv6_leaves_ipv4_alone():
    with bind("[::1]:0") as sock:
        assert sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1


def test_port_in_use_names_address_and_owner():
    with bind("127.0.0.1:0") as sock:
        spec = f"127.0.0.1:{sock.getsockname()[1]}"
        with pytest.raises(ConfigError) as caught:
            bind(spec)
    text = str(caught.value)
    assert spec in text and f"pid {os.getpid()}" in text and "stop that server" in text


def test_group_shares_a_port_but_not_with_others():
    sockets = bind_group("127.0.0.1:0", 3)
    try:
        names = {sock.getsockname() for sock in sockets}
        assert len(names) == 1
        host, port = names.pop()
        with pytest.raises(ConfigError, match="already in use"):
            bind_group(f"{host}:{port}", 2)
    finally:
        for sock in sockets:
            sock.close()


def test_privileged_port_says_what_to_do():
    refused = PermissionError(errno.EACCES, "Permission denied")
    error = explain(Address(socket.AF_INET, "127.0.0.1", 25), refused)
    assert "127.0.0.1:25" in str(error) and "CAP_NET_BIND_SERVICE" in str(error)
    other = explain(Address(socket.AF_INET, "127.0.0.1", 2525), refused)
    assert "Permission denied" in str(other)


def test_address_of_no_interface():
    with pytest.raises(ConfigError, match="no interface"):
        bind("192.0.2.77:0")


def test_unix_socket_with_mode(tmp_path):
    path = tmp_path / "s"
    with bind(f"unix:{path}", mode=0o660):
        assert path.stat().st_mode & 0o777 == 0o660
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))


def test_stale_unix_socket_is_replaced(tmp_path):
    path = tmp_path / "s"
    bind(f"unix:{path}").close()
    assert path.exists()
    bind(f"unix:{path}").close()


def test_live_unix_socket_is_not(tmp_path):
    path = tmp_path / "s"
    with bind(f"unix:{path}"), pytest.raises(ConfigError, match="already in use") as caught:
        bind(f"unix:{path}")
    assert str(path) in str(caught.value)


def test_other_files_are_left_alone(tmp_path):
    path = tmp_path / "s"
    path.write_text("precious")
    with pytest.raises(ConfigError, match="not a socket"):
        bind(f"unix:{path}")
    assert path.read_text() == "precious"


def test_no_owner_of_a_free_port():
    with bind("127.0.0.1:0") as sock:
        port = sock.getsockname()[1]
    assert port_owner(Address(socket.AF_INET, "127.0.0.1", port)) == ""


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match="its folder does not exist"):
        bind(f"unix:{tmp_path}/none/mail")
