"""Values made in C are those that their classes make."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta._speedups.values import named
from mta.model import Kind, Outcome, Stages
from tests.reference import values as twin

numbers = st.integers(-(2**70), 2**70)
texts = st.text(max_size=20)


@given(st.tuples(st.sampled_from(Kind), numbers, texts, texts, texts))
def test_an_outcome_is_what_its_class_makes(fields: tuple[Any, ...]) -> None:
    made = named(Outcome, fields)
    assert type(made) is Outcome
    assert made == twin.named(Outcome, fields) == Outcome(*fields)
    assert (made.kind, made.command) == (fields[0], fields[4])
    assert made._replace(code=1).code == 1


@given(st.tuples(numbers, numbers, numbers, numbers))
def test_nothing_is_kept(fields: tuple[int, ...]) -> None:
    before = sys.getrefcount(fields), sys.getrefcount(Stages)
    for _ in range(10):
        named(Stages, fields)
    assert (sys.getrefcount(fields), sys.getrefcount(Stages)) == before


@pytest.mark.parametrize("wrong", [list, int, object])
def test_no_tuple(wrong: type[Any]) -> None:
    for one in (named, twin.named):
        with pytest.raises(TypeError):
            one(wrong, ())
