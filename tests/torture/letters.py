"""What is sent: a pure function from seed and number to recipients and content."""

from __future__ import annotations

import base64
import hashlib
import random
from typing import NamedTuple, TypeVar

SENDER = "load@source.example"
NUMBER = "X-Torture"  # header field with the message's number
Key = TypeVar("Key", int, str)
LINE = 57  # octets in a line of base64


class Receiver(NamedTuple):
    """A destination: how its server behaves (see `sink`), and what must become of mail to it."""

    domain: str
    manner: str = "accept"
    final: str = "Delivery"
    retry: str = ""  # name of a retry table


RECEIVERS = (
    Receiver("accept.example"),
    Receiver("slow.example", "slow:0.2"),
    Receiver("later.example", "greylist:0.5"),
    Receiver("drop.example", "drop:8"),
    Receiver("unknown.example", "unknown", final="Bounce"),
    Receiver("defer.example", "defer", final="Expiration", retry="brief"),
    Receiver("stall.example", "stall:0.05"),
    Receiver("source.example"),  # where DSNs go
)
GOOD = tuple(Receiver(f"g{n}.good.example") for n in range(100))  # of runs with a DNS of their own
BY_DOMAIN = {receiver.domain: receiver for receiver in (*RECEIVERS, *GOOD)}


class Mix(NamedTuple):
    """Weights of what a load is made of."""

    domains: dict[str, int]
    sizes: dict[int, int]
    counts: dict[int, int]  # recipients of a message


EVERYTHING = Mix(
    {"accept.example": 50, "slow.example": 12, "later.example": 15, "drop.example": 12,
     "unknown.example": 6, "defer.example": 5},
    {500: 30, 2_000: 40, 10_000: 25, 60_000: 4, 400_000: 1},
    {1: 60, 2: 20, 4: 15, 8: 5},
)  # fmt: skip


class Letter(NamedTuple):
    """One message of the load."""

    number: int
    recipients: tuple[str, ...]
    content: bytes

    @property
    def hash(self) -> str:
        """Of the content, as a receiver's record has it."""
        return hashed(self.content)


def hashed(content: bytes) -> str:
    """What identifies a content."""
    return hashlib.sha256(content).hexdigest()


def message_id(number: int) -> str:
    """The Message-ID without its brackets."""
    return f"{number}@source.example"


def number_of(message_id: str) -> int | None:
    """The number in a Message-ID; None if it is not of this load."""
    digits, _, rest = message_id.strip("<>").partition("@")
    return int(digits) if rest == "source.example" and digits.isdigit() else None


def number_of_address(recipient: str) -> int:
    """The number of the message that a recipient of this load is of; 0 for another address."""
    digits = recipient.partition("-")[0].removeprefix("unknown").removeprefix("r")
    return int(digits) if digits.isdigit() else 0


def letter(seed: int, number: int, mix: Mix = EVERYTHING) -> Letter:
    """Message `number` of a seed's load; no two bodies are alike, however short."""
    chance = random.Random(seed * 1_000_003 + number)
    count = _choice(chance, mix.counts)
    recipients = []
    for place in range(count):
        domain = _choice(chance, mix.domains)
        name = "unknown" if BY_DOMAIN[domain].final == "Bounce" else "r"
        recipients.append(f"{name}{number}-{place}@{domain}")
    return Letter(number, tuple(recipients), _content(chance, number, _choice(chance, mix.sizes)))


def _choice(chance: random.Random, weights: dict[Key, int]) -> Key:
    return chance.choices(list(weights), list(weights.values()))[0]


def _content(chance: random.Random, number: int, size: int) -> bytes:
    """Header and body of about `size` octets, a line that begins with a dot among them."""
    head = (
        f"From: <{SENDER}>\r\nMessage-ID: <{message_id(number)}>\r\nSubject: {number}\r\n"
        f"{NUMBER}: {number}\r\n\r\n.{number}\r\n"
    ).encode()
    octets = chance.randbytes(max(1, (size - len(head)) * 3 // 4))
    lines = (octets[at : at + LINE] for at in range(0, len(octets), LINE))
    return head + b"".join(base64.b64encode(line) + b"\r\n" for line in lines)
