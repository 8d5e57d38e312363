"""The two records that each message has, as msgspec would encode them; others are left to it."""

from mta.model import Message, Outcome, Peer, Recipient, Stages

class Lines:
    """Makes the lines of one shard: `tail` is `,"node":"...","shard":N`, without what has its
    default. UnicodeEncodeError for text that is no Unicode."""

    def __init__(self, tail: bytes) -> None: ...
    def reception(
        self, time: int, m: Message, recipients: list[Recipient], shown: int, klass: str
    ) -> bytes:
        """The line of a Reception, of whose recipients `shown` are named at most."""

    def delivery(
        self,
        time: int,
        r: Recipient,
        outcome: Outcome,
        peer: Peer,
        stages: Stages,
        queue: str,
        site: str,
        tls: str | None,
        klass: str,
    ) -> bytes:
        """The line of a Delivery."""
