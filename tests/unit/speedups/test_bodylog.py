from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta._speedups import bodylog
from tests.reference import bodylog as plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

IDS = st.binary(min_size=16, max_size=16)
BODIES = st.lists(st.tuples(IDS, st.binary(max_size=1200)), max_size=6)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    file = os.open(tmp_path / "segment", os.O_RDWR | os.O_CREAT)
    yield file
    os.close(file)


def test_the_compiled_one_is_loaded() -> None:
    assert bodylog.__file__ is not None
    assert bodylog.__file__.endswith(".so")


def test_known_hashes() -> None:
    assert bodylog.checksum(b"") == 0xEF46DB3751D8E999  # from XXH64's own test vectors
    assert bodylog.checksum(b"abc") == 0x44BC2CF5AD770999


@given(st.binary(max_size=300), st.integers(0, 2**64 - 1))
def test_hashes_are_those_of_the_twin(data: bytes, seed: int) -> None:
    assert bodylog.checksum(data, seed) == plain.checksum(data, seed)


@given(BODIES, st.integers(0, 3))
def test_what_is_written_is_what_the_twin_writes(
    bodies: list[tuple[bytes, bytes]], unit: int
) -> None:
    file = os.memfd_create("segment")
    try:
        wanted = plain.records(7, bodies)
        assert bodylog.append(file, unit * bodylog.UNIT, 7, bodies) == len(wanted)
        end = -((unit * bodylog.UNIT + len(wanted)) // -4096) * 4096
        assert os.pread(file, 65_536, unit * bodylog.UNIT).rstrip(b"\0") == wanted.rstrip(b"\0")
        assert os.fstat(file).st_size == (end if bodies else 0)
        at = unit * bodylog.UNIT
        for id, body in bodies:
            assert bodylog.read(file, at, 7, id, len(body)) == body
            assert bodylog.read_any(file, at, 7, 2000) == (id, body)
            at += bodylog.units(len(body)) * bodylog.UNIT
    finally:
        os.close(file)


def test_more_records_than_one_write_takes(file: int) -> None:
    bodies = [(n.to_bytes(16, "big"), b"%d" % n * 200) for n in range(600)]
    size = bodylog.append(file, 0, 1, bodies)
    assert os.pread(file, size, 0) == plain.records(1, bodies)


def test_a_group_is_written_to_the_end_of_its_page_and_no_further(file: int) -> None:
    os.pwrite(file, b"\xff" * 8192, 0)
    size = bodylog.append(file, 512, 1, [(bytes(16), b"x" * 1000)])
    content = os.pread(file, 8192, 0)
    assert content[:512] == b"\xff" * 512
    assert content[512 + size : 4096] == bytes(4096 - 512 - size)
    assert content[4096:] == b"\xff" * 4096


def test_another_record_or_a_damaged_one_is_none(file: int) -> None:
    id, body = bytes(range(16)), b"x" * 1000
    bodylog.append(file, 0, 3, [(id, body)])
    assert bodylog.read(file, 0, 3, id, 1000) == body
    assert bodylog.read(file, 0, 4, id, 1000) is None
    assert bodylog.read(file, 0, 3, bytes(16), 1000) is None
    assert bodylog.read(file, 0, 3, id, 999) is None
    with pytest.raises(OSError, match="too short"):
        bodylog.read(file, 4096, 3, id, 1000)
    assert bodylog.read_any(file, 0, 3, 999) is None
    os.pwrite(file, b"y", bodylog.HEADER + 999)
    assert bodylog.read(file, 0, 3, id, 1000) is None
    assert bodylog.read_any(file, 0, 3, 1000) is None


def test_a_file_that_ends_too_early_is_an_error_and_no_other_record(file: int) -> None:
    bodylog.append(file, 0, 3, [(bytes(16), b"x" * 1000)])
    for size in (bodylog.HEADER + 999, bodylog.HEADER, 10, 0):
        os.ftruncate(file, size)
        for read in (
            lambda: bodylog.read(file, 0, 3, bytes(16), 1000),
            lambda: bodylog.read_any(file, 0, 3, 1000),
        ):
            with pytest.raises(OSError, match="too short") as caught:
                read()
            assert caught.value.errno == errno.ENODATA


@given(BODIES, st.integers(0, 6), st.lists(st.tuples(st.integers(0, 4000), st.binary(max_size=9))))
def test_what_is_read_is_what_the_twin_reads(
    bodies: list[tuple[bytes, bytes]], units: int, damage: list[tuple[int, bytes]]
) -> None:
    """Of records that were damaged, moved or cut."""
    file = os.memfd_create("segment")
    try:
        bodylog.append(file, 0, 7, bodies)
        for at, octets in damage:
            os.pwrite(file, octets, at)
        at = units * bodylog.UNIT
        assert bodylog.header(os.pread(file, 50, at)) == plain.header(os.pread(file, 50, at))
        for id, body in [*bodies, (bytes(16), b"")]:
            wanted = _outcome(plain.read, file, at, 7, id, len(body))
            assert _outcome(bodylog.read, file, at, 7, id, len(body)) == wanted
            wanted = _outcome(plain.read_any, file, at, 7, 1000)
            assert _outcome(bodylog.read_any, file, at, 7, 1000) == wanted
    finally:
        os.close(file)


def _outcome(read: Callable[..., object], *arguments: object) -> object:
    try:
        return read(*arguments)
    except OSError as error:
        return error.errno


def test_errors_of_the_disk_are_raised(file: int) -> None:
    other = os.open("/dev/full", os.O_WRONLY)
    try:
        with pytest.raises(OSError, match="No space left|Illegal seek"):
            bodylog.append(other, 0, 1, [(bytes(16), b"x")])
        with pytest.raises(OSError, match="Bad file descriptor"):
            bodylog.read(other, 0, 1, bytes(16), 1)
    finally:
        os.close(other)
    with pytest.raises(ValueError, match="16 octets"):
        bodylog.append(file, 0, 1, [(b"short", b"x")])
    with pytest.raises(ValueError, match="not below 0"):
        bodylog.read(file, 0, 1, bytes(16), -1)
