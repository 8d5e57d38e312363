"""Promises, log and arrivals compared: what was lost, doubled or closed twice.

The bound of promise 2 (docs/design.md): each copy but the last has a kill of its own, of the
process that sent it: its session had begun before that kill, no outcome was recorded before it,
and it came at most `interval` + the receiver's delay + `slack` before it. The first two hold
however slow the machine is; `slack` is what a busy one adds until the reply is read and synced.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from mta.maillog.records import TERMINAL
from mta.model import id_bytes, id_shard
from tests.crash.load import SENDER, letter, number_of, receiver_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from mta.loadgen.ledger import Arrival
    from tests.crash.injector import Promise
    from tests.crash.load import Receiver

FAILED = ("Bounce", "Expiration")


class Kill(NamedTuple):
    """One kill -9: seconds since 1970, and the shards whose owner died."""

    time: float  # until then it lived
    what: str
    shards: frozenset[int] | None  # None: all
    dead: float  # from then on it was surely gone


class Bounds(NamedTuple):
    """See the module."""

    interval: float = 0.05
    slack: float = 0.5


class Copy(NamedTuple):
    """One arrival: when its session began, and when it came."""

    session: float
    time: float


@dataclass
class Verdict:
    """The sums and everything that is wrong, by recipient where there is one."""

    messages: int = 0  # that got a 250
    recipients: int = 0  # of those
    unknown: int = 0  # messages whose reply was lost
    unknown_stored: int = 0  # of those: the server has taken them
    finals: Counter[str] = field(default_factory=Counter)
    failures: int = 0  # TransientFailure
    dsns: int = 0
    copies: int = 0  # at the sink, without DSNs
    torn: int = 0  # messages without a promise that were set aside, stored half at a kill
    duplicates: int = 0  # second copies, DSNs too; each is explained or a problem
    leads: list[tuple[float, str]] = field(default_factory=list)  # seconds from reply to kill
    problems: list[str] = field(default_factory=list)


class _Log:
    """The log by message and recipient."""

    def __init__(self, records: Iterable[dict[str, Any]], verdict: Verdict) -> None:
        self.receptions: Counter[str] = Counter()
        self.numbers: defaultdict[int, set[str]] = defaultdict(set)
        self.dsns: set[str] = set()
        self.addressed: dict[str, list[str]] = {}
        self.finals: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        self.ended: dict[tuple[str, str], float] = {}
        self.torn: set[str] = set()
        for record in records:
            kind, id = record["type"], record.get("id", "")
            if kind == "Reception":
                self._received(id, record)
            elif kind == "Removed" and "torn" in record["reason"]:
                self.torn.add(id)
            elif kind in TERMINAL:
                self.ended[id, record.get("recipient", "")] = record["time"] / 1e6
                self.finals[id, record.get("recipient", "")].append(kind)
                verdict.finals[kind] += 1
            verdict.failures += kind == "TransientFailure"

    def _received(self, id: str, record: dict[str, Any]) -> None:
        self.receptions[id] += 1
        self.addressed[id] = record["recipients"]
        if not record.get("sender"):
            self.dsns.add(id)
        elif (number := number_of(record.get("message_id", ""))) is not None:
            self.numbers[number].add(id)


class _Sink:
    """Copies and DSNs by (number, recipient)."""

    def __init__(self, arrivals: Iterable[Arrival]) -> None:
        self.copies: defaultdict[tuple[int, str], list[Copy]] = defaultdict(list)
        self.dsns: defaultdict[tuple[int, str], list[Copy]] = defaultdict(list)
        self.unnumbered: list[str] = []
        for arrival in arrivals:
            if arrival.cut:  # the connection was ended instead of the reply
                continue
            copy = Copy(arrival.session, arrival.time)
            if arrival.number is None:
                self.unnumbered.append(f"{arrival.sender!r} to {arrival.recipient}")
            elif arrival.failed:
                self.dsns[arrival.number, arrival.failed].append(copy)
            else:
                self.copies[arrival.number, arrival.recipient].append(copy)


class Judge:
    """One comparison."""

    def __init__(self, seed: int, kills: Collection[Kill], bounds: Bounds) -> None:
        self.seed, self.kills, self.bounds = seed, kills, bounds
        self.verdict = Verdict()

    def judge(
        self,
        promises: Mapping[int, Promise],
        unknown: Collection[int],
        records: Iterable[dict[str, Any]],
        arrivals: Iterable[Arrival],
    ) -> Verdict:
        """Compare everything."""
        verdict = self.verdict
        self.log, self.sink = _Log(records, verdict), _Sink(arrivals)
        stored = {number: promise.id for number, promise in promises.items()}
        verdict.messages, verdict.unknown = len(promises), len(unknown)
        verdict.recipients = sum(len(p.letter.recipients) for p in promises.values())
        verdict.copies = sum(map(len, self.sink.copies.values()))
        for number in unknown:
            for id in self.log.numbers.get(number, ()):
                stored[number] = id
                verdict.unknown_stored += 1
        for number, id in stored.items():
            self._message(number, id)
        self._strangers(stored)
        self._dsns()
        return verdict

    def _say(self, number: int, recipient: str, problem: str) -> None:
        self.verdict.problems.append(f"message {number} to {recipient}: {problem}")

    def _message(self, number: int, id: str) -> None:
        """One message that the server has taken."""
        times = self.log.receptions[id]
        if times != 1:
            self._say(number, "all", f"{times} Reception records of {id}")
        others = self.log.numbers[number] - {id}
        if others:
            self._say(number, "all", f"taken more than once: {id} and {', '.join(others)}")
        for recipient in letter(self.seed, number).recipients:
            for problem in self._recipient(number, id, recipient):
                self._say(number, recipient, f"{problem} ({id})")

    def _recipient(self, number: int, id: str, recipient: str) -> Iterable[str]:
        finals = self.log.finals.get((id, recipient), [])
        copies = self.sink.copies.get((number, recipient), [])
        dsns = self.sink.dsns.get((number, recipient), [])
        receiver = receiver_of(recipient)
        if len(finals) != 1:
            yield f"final records: {', '.join(finals) or 'none'}; {len(copies)} copies arrived"
            return
        if finals[0] != receiver.final:
            yield f"{finals[0]} instead of {receiver.final}"
        if finals[0] == "Delivery" and not copies:
            yield "lost: logged as delivered, never arrived"
        if finals[0] != "Delivery" and copies:
            yield f"logged as {finals[0]}, but {len(copies)} copies arrived"
        if finals[0] in FAILED and not dsns:
            yield f"logged as {finals[0]}, but no DSN arrived"
        if finals[0] not in FAILED and dsns:
            yield f"logged as {finals[0]}, but {len(dsns)} DSNs arrived"
        shard = id_shard(id_bytes(id))
        yield from self._repeated("copy", copies, shard, receiver, self.log.ended[id, recipient])
        yield from self._repeated("DSN", dsns, shard, receiver, None)

    def _repeated(
        self, what: str, copies: list[Copy], shard: int, receiver: Receiver, ended: float | None
    ) -> Iterable[str]:
        """Every copy but the last needs a kill behind it, each another one."""
        kills = [
            kill
            for kill in self.kills
            if (kill.shards is None or shard in kill.shards)
            and (ended is None or kill.time <= ended)  # seconds; the time of the only outcome
        ]
        delay = receiver.delay if what == "copy" else 0.0
        for copy in sorted(copies)[:-1]:
            self.verdict.duplicates += 1
            kill = self._reason(copy, kills, delay)
            if kill is None:
                near = min((k.time - copy.time for k in self.kills), key=abs, default=None)
                where = "no kill" if near is None else f"the nearest kill {near:+.3f} s away"
                yield f"unexplained second {what}: the first came at {copy.time:.3f}, {where}"
            else:
                kills.remove(kill)
                lead = kill.time - copy.time - delay
                self.verdict.leads.append((lead, f"{what} at {receiver.domain}"))

    def _reason(self, copy: Copy, kills: list[Kill], delay: float) -> Kill | None:
        """The kill that a copy was sent before, with its outcome not yet synced; None without."""
        latest = copy.time + delay + self.bounds.interval + self.bounds.slack
        fit = [kill for kill in kills if copy.session <= kill.dead and kill.time <= latest]
        return min(fit, key=lambda kill: abs(kill.time - copy.time), default=None)

    def _strangers(self, stored: Mapping[int, str]) -> None:
        """What the server has, logs or sends though nobody gave it."""
        ids = set(stored.values()) | self.log.dsns
        problems = self.verdict.problems
        for id in self.log.torn & (ids | set(self.log.receptions)):
            problems.append(f"{id} was taken, and then set aside as torn")
        self.verdict.torn = len(self.log.torn)
        for id in set(self.log.receptions) - ids:
            problems.append(f"{id} was received, but nobody sent it")
        for id, recipient in self.log.finals:
            if id not in self.log.receptions:
                problems.append(f"{id} to {recipient} has a final record, but no Reception")
        for number, recipient in self.sink.copies:
            if number not in stored:
                problems.append(f"message {number} arrived for {recipient}, but was not taken")
            elif recipient not in letter(self.seed, number).recipients:
                problems.append(f"message {number} arrived for {recipient}, who is none of its")
        problems += (f"arrived without a number: {what}" for what in self.sink.unnumbered)

    def _dsns(self) -> None:
        """As many DSNs were made as recipients failed, and each has its end."""
        log, failed = self.log, sum(self.verdict.finals[kind] for kind in FAILED)
        self.verdict.dsns = len(log.dsns)
        if len(log.dsns) != failed:
            self.verdict.problems.append(f"{len(log.dsns)} DSNs for {failed} failed recipients")
        for id in log.dsns:
            finals = log.finals.get((id, SENDER), [])
            if finals != ["Delivery"] or log.receptions[id] != 1:
                self.verdict.problems.append(
                    f"DSN {id}: {log.receptions[id]} Reception records, final records: "
                    + (", ".join(finals) or "none")
                )
