"""What a server cannot take as it is leaves as it can (RFC 6152 3, RFC 3030 3) (compiled)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mta._speedups.stuff import needs_stuffing
from mta.delivery.decisions import Prepare
from mta.delivery.sevenbit import to_seven_bit, to_text
from mta.model import Flag
from mta.smtp.client import Capability

if TYPE_CHECKING:
    from mta.delivery.feeder import Attempt

_CONTENT_KINDS = Flag.EIGHT_BIT | Flag.BINARYMIME
_BINARY_FLAG, _EIGHT_BIT = Flag.BINARYMIME, int(Capability.EIGHT_BIT)
_BINARY = int(Capability.BINARYMIME)


class Conversion(Prepare):
    """8-bit content for a server without 8BITMIME, binary content for one without BINARYMIME.

    What cannot be converted stays as it is: the client core bounces it (5.6.3).
    """

    __slots__ = ("eight_bit", "binary")

    def __init__(self, *, eight_bit: bool, binary: bool) -> None:
        """Which of them is to be converted."""
        self.eight_bit, self.binary = eight_bit, binary

    def prepare(self, attempt: Attempt, offers: int) -> None:
        """Convert where that is needed."""
        flags = attempt.flags
        if not flags & _CONTENT_KINDS:
            return
        converted = None
        if flags & _BINARY_FLAG:
            if self.binary and not offers & _BINARY:
                converted = to_text(attempt.body)
        elif self.eight_bit and not offers & _EIGHT_BIT:
            converted = to_seven_bit(attempt.body)
        if converted is not None:
            dots = Flag.DOT_LINES if needs_stuffing(converted) else 0
            attempt.body, attempt.flags = converted, flags & Flag.SMTPUTF8 | dots
