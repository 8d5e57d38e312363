"""Compares promises, log, queue and arrivals: of each recipient, each side tells the same.

Accepted = delivered + bounced + expired + removed + queued, for each recipient of each message that
got its 250, and of each whose reply was lost if it was stored. A problem has a kind:

    lost        neither a final record nor queued, or a record that says so (Lost)
    locked      no final record, and the queue cannot be asked: the server does not run any more
    twice       more than one final record, or one and still queued
    wrong       another final record than its receiver calls for
    missing     a Delivery that never arrived, a failure without DSN
    second      a second copy, or DSN, that no fault explains
    content     what arrived is not what was sent
    refused     what was refused (4xx, 5xx) was taken, or arrived
    stranger    what nobody sent: received, ended, or arrived
    reception   not exactly one Reception of a message, or for another number of recipients
    damage      octets of the log that are no record
    limit       more connections or attempts than a limit allows
    client      what must not happen to a client

and, found by the run itself:

    ended       the server ended by itself
    stuck       it does not take mail, or does not empty its queue
    stop        it does not stop, or not with exit code 0
    traceback   it met an error that nobody expected
    time        what must come when it is time came early, or late, or tells another time

A second copy is explained (docs/design.md, promise 2) by a fault that ended a process of the server
or its record: the earlier copy's final dot came before the fault had ended (`slack` later: what was
in the sockets still arrives), its reply left no more than `interval` (outcomes are synced so often)
+ `slack` before the fault began, and the final record is not older than the fault. Each fault
explains one copy of a recipient. A copy whose connection the receiver cut instead of replying is
none.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.torture import limits
from tests.torture.letters import BY_DOMAIN, SENDER, number_of, number_of_address

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tests.torture.limits import Limit
    from tests.torture.logfiles import Record

FINAL = ("Delivery", "Bounce", "Expiration", "AdminBounce", "Removed", "Lost")
LOST = frozenset(("lost", "missing"))  # kinds of problems
FAILED = frozenset(("Bounce", "Expiration"))  # a DSN goes to the sender


class Problem(NamedTuple):
    """What is wrong; the message's number is None where no message is meant."""

    kind: str
    number: int | None
    text: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}"


class Fault(NamedTuple):
    """Seconds since 1970 in which processes ended or records went."""

    what: str
    began: float
    ended: float


@dataclass
class Evidence:
    """All that is compared."""

    journal: list[Record]  # the injector's
    arrivals: list[Record]  # the sink's, of all events
    log: list[Record]
    queued: list[Record] | None = field(default_factory=list)  # rows of `mta queue list --json`
    damage: list[str] = field(default_factory=list)  # of the log's files
    faults: list[Fault] = field(default_factory=list)
    limits: Mapping[int, Limit] = field(default_factory=dict)  # by the sink's port
    removed: frozenset[str] = frozenset()  # ids or addresses that may end as Removed
    also: frozenset[str] = frozenset()  # other ends that any recipient may have: Lost, Bounce
    interval: float = 0.05  # seconds, as configured
    slack: float = 2.0


@dataclass
class Account:
    """What came of it."""

    messages: int = 0
    recipients: int = 0  # of messages that were promised
    unknown: int = 0  # messages that lost their reply
    unknown_stored: int = 0
    ends: Counter[str] = field(default_factory=Counter)  # final records, and "queued"
    copies: int = 0
    second: int = 0  # copies and DSNs beyond the first that a fault explains
    problems: list[Problem] = field(default_factory=list)

    @property
    def lost(self) -> int:
        """Recipients of which nothing is left."""
        return sum(problem.kind in LOST for problem in self.problems)

    def __str__(self) -> str:
        """With the first problem of each kind."""
        ends = ", ".join(f"{count:,} {end}" for end, count in sorted(self.ends.items()))
        first = {problem.kind: str(problem) for problem in reversed(self.problems)}
        return (
            f"{self.messages:,} messages, {self.recipients:,} recipients: {ends or 'nothing'};"
            f" {self.second:,} explained second copies; {len(self.problems):,} problems"
            + "".join(f"\n    {text}" for text in first.values())
        )


def check(evidence: Evidence) -> Account:
    """Compare everything."""
    return _Check(evidence).run()


class _Arrived(NamedTuple):
    """A copy as it is judged: when it began, came to its dot, and had its reply."""

    reply: float
    dot: float
    hash: str


class _Check:
    def __init__(self, evidence: Evidence) -> None:
        self.evidence, self.account = evidence, Account()
        self.offers = {one["number"]: one for one in evidence.journal if one["event"] == "offer"}
        self.promises = {
            one["number"]: one["id"] for one in evidence.journal if one["event"] == "promise"
        }
        self._read_log()
        self._read_sink()
        self.queued = Counter((row["id"], row["recipient"]) for row in evidence.queued or ())

    def _say(self, kind: str, number: int | None, text: str) -> None:
        self.account.problems.append(Problem(kind, number, text))

    def _read_log(self) -> None:
        self.receptions: defaultdict[str, list[Record]] = defaultdict(list)
        self.finals: defaultdict[tuple[str, str], list[Record]] = defaultdict(list)
        self.ids: defaultdict[int, set[str]] = defaultdict(set)  # by the load's number
        self.reports: set[str] = set()  # ids of DSNs
        for record in self.evidence.log:
            if record["type"] in FINAL:
                self.finals[record["id"], record.get("recipient", "")].append(record)
            elif record["type"] == "Found":  # takes back a Lost
                finals = self.finals[record["id"], record.get("recipient", "")]
                finals[:] = [one for one in finals if one["type"] != "Lost"]
            if record["type"] == "Reception":
                self._read_reception(record)

    def _read_reception(self, record: Record) -> None:
        self.receptions[record["id"]].append(record)
        number = number_of(record.get("message_id", ""))
        if number is not None:
            self.ids[number].add(record["id"])
        elif record.get("sender") == "":
            self.reports.add(record["id"])

    def _read_sink(self) -> None:
        self.copies: defaultdict[tuple[int, str], list[_Arrived]] = defaultdict(list)
        self.dsns: defaultdict[tuple[int, str], list[_Arrived]] = defaultdict(list)
        self.cut: set[tuple[int, str]] = set()
        for one in self.evidence.arrivals:
            if one["event"] == "copy":
                self._read_copy(one)

    def _read_copy(self, one: Record) -> None:
        number, copy = one["number"], _Arrived(one["time"], one["dot"], one["hash"])
        reported = one["failed"] if one["sender"] == "" else []
        if number is None and not reported:
            self._say("stranger", None, f"arrived without a number: {one['recipients']}")
        elif one["cut"]:
            self.cut.update((number, recipient) for recipient in one["recipients"])
        elif one["sender"] == "":
            for recipient in reported:  # a DSN for a content that is gone has no header of it
                known = number if number is not None else number_of_address(recipient)
                self.dsns[known, recipient].append(copy)
        else:
            for recipient in one["recipients"]:
                self.copies[number, recipient].append(copy)

    def run(self) -> Account:
        account = self.account
        for text in self.evidence.damage:
            self._say("damage", None, text)
        for one in self.evidence.journal:
            if one["event"] == "odd":
                self._say("client", None, one["text"])
        account.copies = sum(map(len, self.copies.values()))
        account.messages = len(self.promises)
        stored = dict(self.promises)
        for number in self._numbers("lost"):
            account.unknown += 1
            for id in self.ids.get(number, ()):
                stored[number] = id
                account.unknown_stored += 1
        for number, id in stored.items():
            self._message(number, id, promised=number in self.promises)
        self._refused(stored)
        self._strangers(stored)
        self._reports()
        for port, limit in self.evidence.limits.items():
            for text in limits.broken(self.evidence.arrivals, port, limit):
                self._say("limit", None, text)
        return account

    def _numbers(self, event: str) -> Iterable[int]:
        return [one["number"] for one in self.evidence.journal if one["event"] == event]

    def _message(self, number: int, id: str, promised: bool) -> None:
        """One message that the server has taken."""
        recipients = self.offers[number]["recipients"]
        self.account.recipients += len(recipients) * promised
        logged = self.receptions.get(id, [])
        if [one.get("total", 0) for one in logged] != [len(recipients)]:
            counts = ", ".join(str(one.get("total", 0)) for one in logged) or "none"
            text = f"message {number} ({id}) to {len(recipients)}: Receptions for {counts}"
            self._say("reception", number, text)
        others = self.ids.get(number, set()) - {id}
        if others:
            self._say("reception", number, f"message {number} taken as {id} and {others}")
        for recipient in recipients:
            for kind, text in self._recipient(number, id, recipient, promised):
                self._say(kind, number, f"message {number} to {recipient} ({id}): {text}")

    def _recipient(
        self, number: int, id: str, recipient: str, promised: bool
    ) -> Iterable[tuple[str, str]]:
        finals = self.finals.get((id, recipient), [])
        queued = self.queued[id, recipient]
        copies = sorted(self.copies.get((number, recipient), []))
        if len(finals) + queued != 1:
            said = ", ".join(one["type"] for one in finals) or "no final record"
            yield (
                self._off(len(finals) + queued),
                f"{said}, queued {queued} times, {len(copies)} copies arrived",
            )
            return
        end = finals[0]["type"] if finals else "queued"
        self.account.ends[end] += promised
        yield from self._fits(number, id, recipient, end, copies)
        ended = finals[0]["time"] / 1e6 if finals else None
        sent = self.offers[number]["hash"]
        if any(copy.hash != sent for copy in copies):
            yield "content", "what arrived is not what was sent"
        yield from self._repeated("copy", copies, ended, free=end != "queued")
        dsns = sorted(self.dsns.get((number, recipient), []))
        yield from self._repeated("DSN", dsns, None, free=True)

    def _off(self, ends: int) -> str:
        """The kind of problem that a recipient has whose ends are not one."""
        return "twice" if ends else "locked" if self.evidence.queued is None else "lost"

    def _fits(
        self, number: int, id: str, recipient: str, end: str, copies: list[_Arrived]
    ) -> Iterable[tuple[str, str]]:
        """Does an end fit its receiver and what arrived? A message stored half was removed."""
        promised = number in self.promises
        expected = BY_DOMAIN[_domain(recipient)].final
        removable = not promised or {id, recipient} & self.evidence.removed
        allowed = end in (expected, "queued") or end in self.evidence.also
        if not allowed and not (end == "Removed" and removable):
            yield "lost" if end == "Lost" else "wrong", f"{end} instead of {expected}"
        if end == "Delivery" and not copies:
            yield "missing", "logged as delivered, never arrived"
        if end in (*FAILED, "Lost") and copies:
            yield "wrong", f"logged as {end}, but {len(copies)} copies arrived"
        dsns = len(self.dsns.get((number, recipient), []))
        waiting = any(self.queued[report, SENDER] for report in self.reports)
        if end in FAILED and not dsns and not waiting:
            yield "missing", f"logged as {end}, but no DSN arrived"
        if end not in FAILED and end != "queued" and dsns:
            yield "wrong", f"logged as {end}, but {dsns} DSNs arrived"

    def _repeated(
        self, what: str, copies: list[_Arrived], ended: float | None, free: bool
    ) -> Iterable[tuple[str, str]]:
        """Every copy but the last, which is free, needs a fault behind it, each another one."""
        faults = [f for f in self.evidence.faults if ended is None or f.began <= ended]
        for copy in copies[: len(copies) - free]:
            fault = self._reason(copy, faults)
            if fault is None:
                near = min((f.began - copy.reply for f in self.evidence.faults), key=abs,
                           default=None)  # fmt: skip
                where = "no fault" if near is None else f"the nearest fault {near:+.3f} s away"
                yield "second", f"a {what} came at {copy.reply:.3f}, another later; {where}"
            else:
                faults.remove(fault)
                self.account.second += 1

    def _reason(self, copy: _Arrived, faults: list[Fault]) -> Fault | None:
        """The fault by which a copy's outcome can have been forgotten; None without."""
        slack = self.evidence.slack
        latest = copy.reply + self.evidence.interval + slack
        fit = [f for f in faults if copy.dot <= f.ended + slack and f.began <= latest]
        return min(fit, key=lambda fault: abs(fault.began - copy.reply), default=None)

    def _refused(self, stored: Mapping[int, str]) -> None:
        """What got a 4xx or 5xx is the client's again."""
        arrived = defaultdict(list)
        for number, recipient in self.copies:
            arrived[number].append(recipient)
        for number in self._numbers("refused"):
            for id in self.ids.get(number, ()):
                self._say("refused", number, f"message {number} was refused, and stored as {id}")
            if arrived[number]:
                text = f"message {number} was refused, and arrived for {arrived[number]}"
                self._say("refused", number, text)

    def _strangers(self, stored: Mapping[int, str]) -> None:
        """What the server has, logs or sends though nobody gave it."""
        known = set(stored.values()) | self.reports
        refused = set(self._numbers("refused"))
        for number, ids in self.ids.items():
            if number not in refused:
                for id in ids - known:
                    if not stored.get(number):
                        self._say("stranger", number, f"message {number} ({id}) was never offered")
        promised = set(self.promises.values())
        torn: set[str] = set()  # set aside at a start: stored half, promised to nobody
        for (id, recipient), finals in self.finals.items():
            if id in self.receptions:
                continue
            if id not in promised and all(one["type"] == "Removed" for one in finals):
                torn.add(id)
            else:
                text = f"{id} to {recipient} has a final record, but no Reception"
                self._say("stranger", None, text)
        if len(torn) > self.account.unknown + len(refused):
            self._say("stranger", None, f"{len(torn)} messages without Reception were removed")
        for number, recipient in self.copies:
            if number in stored and recipient not in self.offers[number]["recipients"]:
                text = f"message {number} arrived for {recipient}, who is none of its"
                self._say("stranger", number, text)
            elif number not in stored and number not in refused:
                text = f"message {number} arrived for {recipient}, but was not taken"
                self._say("stranger", number, text)

    def _reports(self) -> None:
        """Each DSN has its end; what it says is judged with its recipient."""
        for id in sorted(self.reports):
            finals = [one["type"] for one in self.finals.get((id, SENDER), [])]
            queued = self.queued[id, SENDER]
            if len(finals) + queued != 1 or len(self.receptions[id]) != 1:
                said = ", ".join(finals) or "no final record"
                self._say(
                    self._off(len(finals) + queued), None,
                    f"DSN {id}: {len(self.receptions[id])} Receptions, {said}, queued {queued}",
                )  # fmt: skip


def _domain(recipient: str) -> str:
    return recipient.rpartition("@")[2]


def load(text: str) -> list[dict[str, Any]]:
    """JSON lines; a last one that is not whole is left out."""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
