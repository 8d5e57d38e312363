from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mta.testing.spool import SpoolBench

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[SpoolBench]:
    bench = SpoolBench(tmp_path)
    yield bench
    if not bench.memory_log.closed:
        assert bench.close() is None
