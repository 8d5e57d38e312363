"""Records of the spool: a mark, then msgpack of an object's fields, as msgspec would write it.

`envelope` and `alone` carry the place of the body before that (u64, u32: the units it takes).
"""

from typing import Any

def envelope(m: Any) -> bytes:
    """Mark 1, the place, the envelope of a Message."""

def recipient(r: Any) -> bytes:
    """Mark 1, the Recipient."""

def alone(r: Any) -> bytes:
    """Mark 2, the place, u32 length of the envelope, the envelope, the Recipient."""
