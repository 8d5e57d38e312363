"""Lines of keys in a TOML text."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from mta.config.positions import Positions

TEXT = '''\
# a comment with = and [brackets]
home = "/x" # more
a.b."c.d" = 1

[[listener]]
listen = "h:1"
nets = [ "a", # why
  "b",
  [1, 2]]
[listener.deep]
x = 1
[[listener]]
listen = """
[not.a.table]
key = "\\""
"""
[[listener.sub]]
y = 2
[limits.site."example.com"]
rate = '100/s'
inline = { p = 1, q.r = [ { s = 2.5 },
   { t = 1979-05-27 07:32:00 } ] }
'lit.eral' = true
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("home",), 2),
        (("a", "b", "c.d"), 3),
        (("listener",), 5),
        (("listener", "0"), 5),
        (("listener", "0", "listen"), 6),
        (("listener", "0", "nets", "0"), 7),
        (("listener", "0", "nets", "1"), 8),
        (("listener", "0", "nets", "2", "1"), 9),
        (("listener", "0", "deep", "x"), 11),
        (("listener", "1", "listen"), 13),
        (("listener", "1", "sub", "0", "y"), 18),
        (("limits", "site", "example.com", "rate"), 20),
        (("limits", "site", "example.com", "inline", "q", "r", "0", "s"), 21),
        (("limits", "site", "example.com", "inline", "q", "r", "1", "t"), 22),
        (("limits", "site", "example.com", "lit.eral"), 23),
        (("limits", "site", "example.com", "missing", "deeper"), 19),
        (("nowhere",), 0),
    ],
)
def test_lines(path: tuple[str, ...], line: int) -> None:
    assert Positions(TEXT).line(path) == line


def leaves(node: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Every path of a tree."""
    found = [path] if path else []
    if isinstance(node, dict):
        for key, value in node.items():
            found += leaves(value, (*path, key))
    elif isinstance(node, list):
        for number, value in enumerate(node):
            found += leaves(value, (*path, str(number)))
    return found


def test_every_value_has_a_line() -> None:
    paths = leaves(tomllib.loads(TEXT))
    lines = Positions(TEXT).lines
    missing = [path for path in paths if path not in lines]
    tables = {("limits",), ("limits", "site"), ("listener", "1", "sub")}
    assert set(missing) <= tables
    assert len(paths) > 30


@pytest.mark.parametrize("text", ["", "\n\n", "# only", "a=1", "a=1#", "[a]", "a=[]\nb={}"])
def test_small_texts(text: str) -> None:
    assert len(Positions(text).lines) == len(tomllib.loads(text))
