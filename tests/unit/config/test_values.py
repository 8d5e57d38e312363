"""Durations, sizes, rates and addresses."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta.config import values
from mta.config.values import Endpoint, Rate


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("50ms", 0.05), ("30s", 30), ("5m", 300), ("2d", 172800), ("1h30m", 5400),
        ("1.5h", 5400), ("1w", 604800), (" 5 m ", 300), ("0s", 0), (7, 7), ("7", 7), (0.5, 0.5),
        ("250us", 0.00025),
    ],
)  # fmt: skip
def test_duration(text: str | float, seconds: float) -> None:
    assert values.duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5x", "m", "-5s", "5m!", "five", "5m 3", "nan", "1h,2m"])
def test_duration_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration: write it like"):
        values.duration(text)


@given(st.integers(0, 10**7), st.sampled_from(["ms", "s", "m", "h", "d"]))
def test_duration_text_is_read_back(count: int, unit: str) -> None:
    seconds = values.duration(f"{count}{unit}")
    assert math.isclose(values.duration(values.duration_text(seconds)), seconds, rel_tol=1e-5)


@pytest.mark.parametrize(
    ("seconds", "text"), [(300.0, "5m"), (90.0, "90s"), (0.05, "50ms"), (172800.0, "2d"), (0, "0s")]
)
def test_duration_text(seconds: float, text: str) -> None:
    assert values.duration_text(seconds) == text


@pytest.mark.parametrize(
    ("text", "octets"),
    [("10MB", 10**7), ("64KiB", 65536), ("2g", 2**31), ("512", 512), (77, 77), ("1.5kB", 1500)],
)
def test_size(text: str | int, octets: int) -> None:
    assert values.size(text) == octets


@pytest.mark.parametrize("text", ["", "MB", "-1", "10XB", "1 0"])
def test_size_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size: write it like"):
        values.size(text)


@given(st.integers(0, 2**50))
def test_size_text_is_read_back(octets: int) -> None:
    assert values.size(values.size_text(octets)) == octets


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("100/s", Rate(100, 1, 10)),
        ("200/s, burst=400", Rate(200, 1, 400)),
        ("5000/h", Rate(5000, 3600, 1)),
        ("10/5s,burst = 2", Rate(10, 5, 2)),
        ("1/d", Rate(1, 86400, 1)),
    ],
)
def test_rate(text: str, rate: Rate) -> None:
    assert Rate.parse(text) == rate
    assert Rate.parse(str(rate)) == rate


@pytest.mark.parametrize("text", ["", "100", "100/x", "0/s", "10/0s", "a/s", "1/s burst=2", "-1/s"])
def test_rate_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a rate|would block all mail"):
        Rate.parse(text)


def test_rate_interval_never_exceeds_the_rate() -> None:
    assert Rate.parse("3/s").interval_ns == 333_333_334
    assert Rate.parse("3/s").per_second == 3


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("127.0.0.1:2525", Endpoint("127.0.0.1", 2525)),
        ("[::1]:25", Endpoint("::1", 25)),
        ("localhost:0", Endpoint("localhost", 0)),
        ("unix:/run/mta.sock", Endpoint("", 0, "/run/mta.sock")),
    ],
)
def test_endpoint(text: str, endpoint: Endpoint) -> None:
    assert Endpoint.parse(text) == endpoint
    assert str(endpoint) == text


@pytest.mark.parametrize(
    "text", ["", "25", ":25", "host", "host:", "::1:25", "h:65536", "h:-1", "unix:rel", "[]:1"]
)
def test_endpoint_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not an address: write host:port"):
        Endpoint.parse(text)
