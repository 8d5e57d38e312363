from __future__ import annotations

from pathlib import Path

import pytest

from mta.errors import ConfigError
from mta.resolver.names import ip_text, normalise
from mta.resolver.options import ResolverOptions, Server, parse_server, servers


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("192.0.2.53", Server("192.0.2.53", 53)),
        ("127.0.0.1:5353", Server("127.0.0.1", 5353)),
        ("::1", Server("::1", 53)),
        ("[::1]", Server("::1", 53)),
        ("[2001:db8::1]:5353", Server("2001:db8::1", 5353)),
    ],
)
def test_a_server(text: str, server: Server) -> None:
    assert parse_server(text) == server
    assert parse_server(str(server)) == server


@pytest.mark.parametrize("text", ["", "ns.example.com", "127.0.0.1:", "127.0.0.1:70000", "[::1]x"])
def test_what_is_no_server_is_refused_by_name(text: str) -> None:
    with pytest.raises(ConfigError, match="is not a DNS server") as error:
        parse_server(text)
    assert error.value.key == "dns.nameservers"


def test_named_servers_go_before_the_systems(tmp_path: Path) -> None:
    conf = tmp_path / "resolv.conf"
    conf.write_text("search example.com\nnameserver 192.0.2.1\nnameserver 2001:db8::1\n")
    assert servers(ResolverOptions(), str(conf)) == (Server("192.0.2.1"), Server("2001:db8::1"))
    named = ResolverOptions(nameservers=("127.0.0.1:5353",))
    assert servers(named, str(conf)) == (Server("127.0.0.1", 5353),)


def test_without_resolv_conf_loopback_is_asked(tmp_path: Path) -> None:
    assert servers(ResolverOptions(), str(tmp_path / "none")) == (Server("127.0.0.1"),)


def test_a_name_is_normalised_once() -> None:
    for name in ("Example.COM.", "BÜCHER.example", "_dmarc.example.com"):
        assert normalise(normalise(name)) == normalise(name)
    assert normalise("BÜCHER.example") == "xn--bcher-kva.example"


def test_addresses_are_told_from_names() -> None:
    hosts = ["192.0.2.1", "2001:DB8::1", "mx1.example.com", "1.example.com", ""]
    assert [ip_text(host) for host in hosts] == ["192.0.2.1", "2001:db8::1", "", "", ""]
