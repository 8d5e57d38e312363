"""What is sent: a pure function from seed and number to recipients and content."""

from __future__ import annotations

import random
from typing import NamedTuple

from mta.loadgen.message import HEADER, LINE

SENDER = "load@source.example"


class Receiver(NamedTuple):
    """A destination: how its server behaves, and what must become of mail to it."""

    domain: str
    manner: str  # mta.loadgen.manners
    share: int  # of the recipients, in per cent
    final: str = "Delivery"
    retry: str = ""  # name of a retry table
    delay: float = 0.0  # seconds from the final dot to its reply


RECEIVERS = (
    Receiver("accept.example", "accept", 46),
    Receiver("slow.example", "slow:0.2", 14, delay=0.2),
    Receiver("greylist.example", "greylist:1", 12),
    Receiver("throttle.example", "throttle:40,60", 10),
    Receiver("drop.example", "drop:15", 10),
    Receiver("unknown.example", "unknown", 5, final="Bounce"),
    Receiver("defer.example", "defer", 3, final="Expiration", retry="brief"),
    Receiver("source.example", "accept", 0),  # where DSNs go
)
BY_DOMAIN = {receiver.domain: receiver for receiver in RECEIVERS}
SIZES = (500, 2_000, 10_000, 60_000, 400_000)
SIZE_WEIGHTS = (30, 40, 25, 4, 1)


class Letter(NamedTuple):
    """One message of the load."""

    number: int
    recipients: tuple[str, ...]
    size: int

    def content(self) -> bytes:
        """Header and body, no line that begins with a dot."""
        head = b"From: <%b>\r\nMessage-ID: <%b>\r\nSubject: %d\r\n%b%d\r\n\r\n" % (
            SENDER.encode(), message_id(self.number).encode(), self.number, HEADER, self.number,
        )  # fmt: skip
        return head + LINE * (self.size // len(LINE))


def message_id(number: int) -> str:
    """The Message-ID without its brackets."""
    return f"{number}@source.example"


def number_of(message_id: str) -> int | None:
    """The number in a Message-ID; None if it is not of this load."""
    digits, _, rest = message_id.strip("<>").partition("@")
    return int(digits) if rest == "source.example" and digits.isdigit() else None


def letter(seed: int, number: int) -> Letter:
    """Message `number` of a seed's load."""
    chance = random.Random(seed * 1_000_003 + number)
    count = chance.choices((1, 2, 4, 8), (60, 20, 15, 5))[0]
    shares = [receiver.share for receiver in RECEIVERS]
    recipients = []
    for place, receiver in enumerate(chance.choices(RECEIVERS, shares, k=count)):
        name = "unknown" if receiver.final == "Bounce" else "r"
        recipients.append(f"{name}{number}-{place}@{receiver.domain}")
    return Letter(number, tuple(recipients), chance.choices(SIZES, SIZE_WEIGHTS)[0])


def receiver_of(recipient: str) -> Receiver:
    """The receiver of an address."""
    return BY_DOMAIN[recipient.rpartition("@")[2]]
