"""pytest-benchmark over the kernels: `mta bench kernels`, or pytest bench --benchmark-enable."""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.kernel_cases import CASES, Call

CALLS = [
    pytest.param(call, id=f"{case.name} / {who}", marks=pytest.mark.benchmark(group=case.name))
    for case in CASES
    for who, call in case.calls().items()
]


@pytest.mark.parametrize("call", CALLS)
def test_kernel(benchmark: BenchmarkFixture, call: Call) -> None:
    """Time of one call."""
    benchmark(call)
