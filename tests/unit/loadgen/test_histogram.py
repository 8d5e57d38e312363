"""Quantiles stay within 3 % of the truth, merged or not."""

from __future__ import annotations

import random

import pytest

from mta.loadgen.histogram import Histogram


@pytest.mark.parametrize("share", [0.01, 0.5, 0.9, 0.99, 1.0])
def test_quantile_is_near_the_truth(share: float) -> None:
    source = random.Random(7)
    values = sorted(int(source.lognormvariate(8, 2)) for _ in range(5000))
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    true = values[max(0, round(share * len(values)) - 1)]
    assert abs(histogram.quantile(share) - true) <= max(1, 0.03 * true)


def test_small_values_are_exact() -> None:
    for value in range(64):
        histogram = Histogram()
        histogram.add(value)
        assert histogram.quantile(0.5) == value


def test_merge_equals_adding() -> None:
    one, other, both = Histogram(), Histogram(), Histogram()
    for value in range(0, 100_000, 7):
        (one if value % 2 else other).add(value)
        both.add(value)
    one.merge(other)
    assert (one.counts, one.total, one.largest) == (both.counts, both.total, both.largest)


def test_empty_and_negative() -> None:
    histogram = Histogram()
    assert histogram.quantile(0.99) == 0
    histogram.add(-5)
    assert histogram.quantile(0.99) == 0
    assert histogram.total == 1


def test_survives_its_list_form() -> None:
    histogram = Histogram()
    for value in (5, 70, 70_000):
        histogram.add(value)
    again = Histogram(list(histogram.counts.items()), histogram.largest)
    assert again.quantile(0.5) == histogram.quantile(0.5)
    assert again.total == 3
