from __future__ import annotations

import uuid

import pytest

from mta.model import IdGenerator, id_bytes, id_shard, id_text
from mta.testing.clock import FakeClock


def test_ids_rise_while_the_clock_stands_still() -> None:
    generator = IdGenerator(4095, FakeClock())
    ids = [generator.next() for _ in range(10_000)]
    assert ids == sorted(set(ids))


def test_an_id_is_a_uuid_of_version_7_that_names_its_shard() -> None:
    id = IdGenerator(37, FakeClock()).next()
    assert (uuid.UUID(bytes=id).version, id_shard(id)) == (7, 37)
    assert id_bytes(id_text(id)) == id == id_bytes(str(uuid.UUID(bytes=id)))


def test_ids_stay_above_the_last_one_of_an_earlier_run() -> None:
    clock = FakeClock()
    last = IdGenerator(1, clock).next()
    clock.advance(-3600)
    generator = IdGenerator(1, clock)
    generator.resume_after(last)
    assert generator.next() > last


@pytest.mark.parametrize("text", ["", "12", "zz" * 16])
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        id_bytes(text)
