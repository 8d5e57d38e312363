"""What several scenarios share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mta.testing.remote import RemoteMX


@pytest.fixture(scope="module")
def remote() -> Iterator[RemoteMX]:
    """A receiver that takes all mail."""
    with RemoteMX() as running:
        yield running
