"""Lines of keys in a TOML text."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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


KEYS = st.one_of(st.from_regex(r"[A-Za-z0-9_-]{1,4}", fullmatch=True), st.text(max_size=4))
TEXTS = st.text(alphabet=st.sampled_from("ab \"'#=[]{},\\\n\té"), max_size=6)
SCALARS = st.one_of(
    TEXTS, st.integers(-9, 99), st.booleans(), st.floats(-9, 9), st.datetimes(), st.dates()
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)),
    max_leaves=6,
)


def quoted(text: str, style: int) -> str:
    """A string in one of the four ways of TOML."""
    if style == 1 and text.isprintable() and "'" not in text:
        return f"'{text}'"
    if style == 2 and "'" not in text and "\r" not in text and text.isascii():
        return f"'''\n{text}'''"
    escaped = "".join(c if c.isalnum() or c == " " else f"\\U{ord(c):08x}" for c in text)
    return f'"""{escaped}"""' if style == 3 else f'"{escaped}"'


def written(value: Any, draw: Any) -> str:
    """A value in TOML, in a style that is drawn."""
    style = draw(st.integers(0, 3))
    if isinstance(value, str):
        return quoted(value, style)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        gap = "\n  # ]} comment\n " if style == 1 else " "
        tail = f",{gap}" if style == 2 and value else ""
        return f"[{gap}" + f"{gap},{gap}".join(written(v, draw) for v in value) + f"{tail}]"
    if isinstance(value, dict):
        return "{ " + " , ".join(pair(k, v, draw) for k, v in value.items()) + " }"
    return str(value)


def pair(key: str, value: Any, draw: Any) -> str:
    """A key and its value."""
    bare = re.fullmatch(r"[A-Za-z0-9_-]+", key) and draw(st.booleans())
    return f"{key if bare else quoted(key, 0)} = {written(value, draw)}"


@settings(max_examples=40, deadline=None)
@given(st.lists(st.dictionaries(KEYS, VALUES, max_size=3), max_size=3), st.data())
def test_whatever_tomllib_takes_has_lines(tables: list[dict[str, Any]], data: Any) -> None:
    lines: list[str] = []
    starts: dict[tuple[str, ...], int] = {}
    for number, table in enumerate(tables):
        lines.append(f"[[t . 'x']]{data.draw(st.sampled_from(['', ' # ]', chr(13)]))}")
        for key, value in table.items():
            starts["t", "x", str(number), key] = len(lines) + 1
            lines += pair(key, value, data.draw).split("\n")
    text = "\n".join(lines) + "\n"
    paths = leaves(tomllib.loads(text))
    positions = Positions(text)
    assert {path for path in paths if path not in positions.lines} <= {("t",)}
    assert {path: positions.lines[path] for path in starts} == starts
