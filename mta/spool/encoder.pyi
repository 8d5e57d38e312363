"""Records of the spool: a mark, then msgpack of an object's fields, as msgspec would write it.

Before an envelope comes the place of the body: u64, and u32, the units it takes.
"""

from mta.model import Message, Recipient

def encode_envelope(m: Message) -> bytes:
    """The value of the row `id`: mark 1, the place, the envelope."""

def encode_recipient(r: Recipient) -> bytes:
    """The value of the row `id + rno`: mark 1, the recipient.

    Of a message's only recipient: mark 2, the place, the envelope's u32 length, both.
    """
