"""Bodies in a segment file: appended by one pwritev and fdatasync a group, read by one preadv.

A record is a header (magic, segment number, id, length, hash), the body, and zeros up to the next
multiple of UNIT. The hash is XXH64 of the body, seeded with XXH64 of the header before it.
"""

UNIT: int  # octets; records begin at multiples of this
HEADER: int  # octets before a body

def checksum(data: bytes, seed: int = 0) -> int:
    """XXH64."""

def units(length: int) -> int:
    """How many UNITs the record of a body of `length` octets takes."""

def append(fd: int, offset: int, number: int, records: list[tuple[bytes, bytes]]) -> int:
    """Write and sync records (id, body) one behind the other; the octets they take.

    The rest of the last page becomes zeros, so that the kernel need not read it first.
    OSError if the disk does not take them all: any of them may be there or not.
    """

def read(fd: int, offset: int, number: int, id: bytes, length: int) -> bytes | None:
    """A body; None if what is there is another record, torn or damaged.

    OSError if it cannot be read, ENODATA among them: the file ends before it.
    """

def read_any(fd: int, offset: int, number: int, limit: int) -> tuple[bytes, bytes] | None:
    """(id, body) of the record at `offset`, at most `limit` octets; None if there is none.

    OSError as from `read`.
    """

def header(data: bytes) -> tuple[int, bytes, int] | None:
    """(segment number, id, length) of the header that `data` begins with; None if it is none."""
