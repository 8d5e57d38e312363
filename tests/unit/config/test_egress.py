"""Sources and pools in the configuration, and what is said of mistakes in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from mta.config import fields
from mta.config.load import examine, from_json, to_json

SOURCES = '[source.ip1]\naddress = "127.0.0.2"\n[source.ip2]\naddress = "127.0.0.3, ::1"\n'


def problems(folder: Path, text: str, *overrides: tuple[str, str]) -> list[str]:
    path = folder / "mailrace.toml"
    path.write_text(text)
    return [str(error).replace(str(path), "F") for error in examine(path, overrides, "/h").problems]


def test_pools_are_read_and_written_again(tmp_path: Path) -> None:
    path = tmp_path / "mailrace.toml"
    path.write_text(SOURCES + "[pool.bulk]\nsources = { ip1 = 3, ip2 = 1 }\n")
    config = examine(path, [("delivery.default_pool", "bulk")], "/h").config
    assert config is not None
    assert config.pool["bulk"].sources == {"ip1": 3, "ip2": 1}
    assert config.source["ip2"].address == ("127.0.0.3", "::1")
    assert from_json(to_json(config)) == config
    texts = {fields.join(p): fields.text(f, v) for p, f, v in fields.walk(config)}
    assert texts["pool.bulk.sources"] == "{ ip1 = 3, ip2 = 1 }"


def test_the_command_line_takes_a_whole_pool_or_a_weight(tmp_path: Path) -> None:
    path = tmp_path / "mailrace.toml"
    path.write_text(SOURCES)
    whole = examine(path, [("pool.p.sources", "{ip1 = 2}")], "/h").config
    assert whole is not None
    assert whole.pool["p"].sources == {"ip1": 2}
    one = examine(path, [("pool.p.sources.ip2", "7")], "/h").config
    assert one is not None
    assert one.pool["p"].sources == {"ip2": 7}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[source.a]\naddress = "192.0.2.7"',
         "F:2: source.a.address.0: 192.0.2.7 cannot be sent from: this machine does not have it"),
        ('[source.a]\naddress = "lo"', 'F:2: source.a.address.0: "lo" is not an IP address'),
        ('[source.a]\naddress = ["127.0.0.2", "127.0.0.3"]',
         "F:2: source.a.address.1: is the second IPv4 address"),
        ('[source.a]\nehlo = "a b"', 'F:2: source.a.ehlo: "a b" is not a host name'),
        ("[source.ip1]\n[pool.p]\nsources = { ip_1 = 1 }",
         'F:3: pool.p.sources.ip_1: there is no source "ip_1" (did you mean ip1?)'),
        ("[source.a]\n[pool.p]\nsources = { a = 0 }", "F:3: pool.p.sources.a: is too small: 1"),
        ("[source.a]\n[pool.p]\nsources = { a = \"x\" }",
         "F:3: pool.p.sources.a: needs a whole number"),
        ("[pool.p]\nsources = 1", "F:2: pool.p.sources: needs a table { NAME = value }, not 1"),
        ("[pool.p]\nsources = {}", "F:2: pool.p.sources: is empty"),
        ("[pool.p]", "pool.p.sources: is missing"),
        ('[[route]]\npool = "blk"\n[source.a]\n[pool.bulk]\nsources = { a = 1 }',
         'F:2: route.0.pool: there is no pool "blk" (did you mean bulk?)'),
        ('delivery.default_pool = "x"',
         'F:1: delivery.default_pool: there is no pool "x" (add a table [pool.x])'),
    ],
)  # fmt: skip
def test_mistakes_are_named(tmp_path: Path, text: str, expected: str) -> None:
    found = problems(tmp_path, text)
    assert any(expected in problem for problem in found), found
