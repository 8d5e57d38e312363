"""Recipient by recipient: what the source was promised, what the log says, what arrived.

Every accepted recipient must have one final record in the log that the sink bears out:

    Delivery                   one copy arrived; more only if the log tells of a reply that was lost
    Bounce                     an unknown user; nothing arrived but one DSN
    Expiration                 a receiver that puts off, after attempts; nothing arrived but one DSN

All else is a problem and names the recipient.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from mta.loadgen.histogram import Histogram

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mta.loadgen.ledger import Ledger

    Entry = Mapping[str, Any]  # a record as `mta.maillog.reader` gives it

FINAL = frozenset(("Delivery", "Bounce", "Expiration", "AdminBounce", "Removed"))
PUTS_OFF = frozenset(("greylist", "throttle", "drop", "slow", "defer"))


class Promise(NamedTuple):
    """A message that the server answered with 250."""

    id: str  # from the reply
    recipient: str
    manner: str  # of its receiver


class Account(msgspec.Struct):
    """The sums, and what does not add up."""

    accepted: int = 0
    delivered: int = 0
    bounced: int = 0
    expired: int = 0
    retried: int = 0  # recipients with a failed attempt before the last
    dsns: int = 0  # DSNs that arrived
    duplicates: int = 0  # second copies; each is explained or a problem
    first_attempts: int = 0  # delivered by the first attempt
    first_seconds: float = 0.0  # from the first reception to the last of those
    time_to_deliver: tuple[int, int] = (0, 0)  # median and 99th percentile, microseconds
    first_time: tuple[int, int] = (0, 0)  # the same of those that needed one attempt
    problems: list[str] = []


class Story:
    """What the log says of one recipient."""

    __slots__ = ("finals", "unclear", "failures")

    def __init__(self) -> None:
        self.finals: list[Entry] = []
        self.failures = 0  # attempts that failed for now
        self.unclear = 0  # of those: the reply to the final dot was lost


class Log:
    """The stories of a log, gathered record by record; also says how much is still open."""

    __slots__ = ("stories", "received", "recipients", "finals", "retried", "delivered", "failed")

    def __init__(self) -> None:
        self.stories: defaultdict[tuple[str, str], Story] = defaultdict(Story)
        self.received: dict[str, int] = {}  # id -> microseconds
        self.recipients = 0  # of the messages received
        self.finals = self.retried = self.delivered = self.failed = 0

    def add(self, entry: Entry) -> None:
        """Take the next record."""
        type = entry["type"]
        if type == "Reception":
            self.received[entry["id"]] = entry["time"]
            self.recipients += entry.get("total", 1)
        elif type == "TransientFailure":
            story = self._story(entry)
            self.retried += not story.failures
            story.failures += 1
            story.unclear += entry.get("code", 0) == 0 and entry.get("command") == "."
        elif type in FINAL:
            self._story(entry).finals.append(entry)
            self.finals += 1
            self.delivered += type == "Delivery"
            self.failed += type != "Delivery"

    def _story(self, entry: Entry) -> Story:
        return self.stories[entry["id"], entry.get("recipient", "")]

    @property
    def open(self) -> int:
        """Recipients without a final record."""
        return self.recipients - self.finals


def settle(
    promises: Mapping[int, Promise], unknown: Iterable[int], log: Log, ledger: Ledger
) -> Account:
    """Compare; `unknown` are numbers whose 250 was lost, so both ends are right for them."""
    account = Account(accepted=len(promises), dsns=ledger.counts.dsns)
    account.duplicates = ledger.counts.duplicates
    every, first, last = Histogram(), Histogram(), 0
    for number, promise in promises.items():
        story = log.stories.get((promise.id, promise.recipient)) or Story()
        account.problems += (
            f"message {number} ({promise.id}) to {promise.recipient}: {problem}"
            for problem in _problems(number, promise, story, log, ledger)
        )
        account.retried += story.failures > 0
        for final in story.finals[:1]:
            account.delivered += final["type"] == "Delivery"
            account.bounced += final["type"] == "Bounce"
            account.expired += final["type"] == "Expiration"
            if final["type"] == "Delivery":
                waited = final["time"] - log.received.get(promise.id, final["time"])
                every.add(waited)
                if not story.failures:
                    first.add(waited)
                    last = max(last, final["time"])
    account.problems += _strangers(promises, unknown, ledger)
    account.problems += _without_end(promises, log)
    account.time_to_deliver = every.quantile(0.5), every.quantile(0.99)
    account.first_time = first.quantile(0.5), first.quantile(0.99)
    account.first_attempts = first.total
    begin = min(log.received.values(), default=0)
    account.first_seconds = (last - begin) / 1e6 if last else 0.0
    return account


def _problems(
    number: int, promise: Promise, story: Story, log: Log, ledger: Ledger
) -> Iterable[str]:
    """What is wrong with one accepted recipient."""
    copies = ledger.copies(number, promise.recipient)
    if promise.id not in log.received:
        yield "no Reception record"
    if not story.finals:
        yield f"lost: no final record, {copies} copies arrived"
    elif len(story.finals) > 1:
        yield "final records: " + ", ".join(final["type"] for final in story.finals)
    else:
        final = story.finals[0]
        delivered = final["type"] == "Delivery"
        yield from (_delivery if delivered else _failure)(final, promise, story, copies)
        dsns = ledger.failures(number, promise.recipient)
        if dsns != (not delivered):
            yield f"{dsns} DSNs arrived instead of {int(not delivered)}"


def _delivery(final: Entry, _promise: Promise, story: Story, copies: int) -> Iterable[str]:
    if not copies:
        yield f"lost: logged as delivered ({_reply(final)}), never arrived"
    if copies > 1 + story.unclear:
        yield f"{copies} copies arrived, {story.unclear} replies were lost"


def _failure(final: Entry, promise: Promise, story: Story, copies: int) -> Iterable[str]:
    if copies > story.unclear:
        yield f"logged as {final['type']}, but {copies} copies arrived"
    if not _expected(final, promise, story):
        yield f"unexplained {final['type']}: {_reply(final)}"


def _reply(final: Entry) -> str:
    return f"{final.get('code', 0)} {final.get('text', '')}".strip()


def _expected(final: Entry, promise: Promise, story: Story) -> bool:
    """Whether the receiver's manner accounts for a failure."""
    if final["type"] == "Bounce":
        return promise.manner == "unknown" and promise.recipient.startswith("unknown")
    return final["type"] == "Expiration" and promise.manner in PUTS_OFF and story.failures > 0


def _strangers(
    promises: Mapping[int, Promise], unknown: Iterable[int], ledger: Ledger
) -> Iterable[str]:
    """What arrived that the server never promised."""
    known = set(unknown)
    for number, recipient in ledger.arrivals():
        if number in known:
            continue
        if number not in promises or promises[number].recipient != recipient:
            yield f"message {number} to {recipient}: arrived, though it was not accepted"


def _without_end(promises: Mapping[int, Promise], log: Log) -> Iterable[str]:
    """The server's own messages, and those of lost replies, that did not come to an end."""
    ended = {id for (id, _), story in log.stories.items() if story.finals}
    ended.update(promise.id for promise in promises.values())
    for id in log.received.keys() - ended:
        yield f"message {id}: received, no final record"
