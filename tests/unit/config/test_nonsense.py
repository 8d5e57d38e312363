"""Whatever is written into a setting, an answer comes back: a configuration or named problems."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from mta.config import fields
from mta.config.load import examine
from mta.config.schema import Config

PATHS = [path for path, _ in fields.settings()]
WORDS = [
    "none",
    "1",
    "-1",
    "1m",
    "10MB",
    "1/s",
    "on",
    "h:1",
    "[",
    "{}",
    "[{}]",
    '"x"',
    "*",
    "\0",
    "é",
]
TEXT = st.one_of(st.sampled_from(WORDS), st.text(max_size=8))
TREE = st.recursive(
    st.one_of(TEXT, st.integers(), st.floats(), st.booleans(), st.datetimes()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXT, inner, max_size=3)),
    max_leaves=4,
)
KEYS = st.one_of(
    st.sampled_from(PATHS).flatmap(
        lambda path: st.integers(1, len(path)).map(
            lambda n: fields.join(tuple("0" if part == "N" else part for part in path[:n]))
        )
    ),
    TEXT,
)


def judged(found: Any) -> None:
    """Either a configuration, or problems that can be read."""
    assert (found.config is None) == bool(found.problems)
    assert all(str(error) and error.problem for error in found.problems)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(KEYS, TEXT), max_size=3))
def test_on_the_command_line(overrides: list[tuple[str, str]]) -> None:
    judged(examine(None, overrides, "/h"))


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(PATHS), TREE)
def test_in_the_tree_of_a_file(path: fields.Path, value: Any) -> None:
    from mta.config.convert import Converter

    for depth in range(len(path)):
        tree: Any = value
        for part in reversed(path[: depth + 1]):
            tree = [tree] if part == "N" else {part: tree}
        converter = Converter()
        config = converter.config(tree)
        assert (config is None) == bool(converter.problems)
        assert config is None or isinstance(config, Config)
