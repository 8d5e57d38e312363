"""The judge of the crash runs finds what it is there to find."""

from __future__ import annotations

from typing import Any

import pytest

from mta.clock import SystemClock
from mta.loadgen.ledger import Arrival
from mta.model import IdGenerator
from tests.crash.injector import Promise
from tests.crash.load import RECEIVERS, SENDER, Letter, letter, message_id
from tests.crash.verdict import Bounds, Judge, Kill, Verdict

SEED, SHARD = 1, 3
DYING = 0.01  # seconds
IDS = IdGenerator(SHARD, SystemClock())


def number_with(final: str) -> Letter:
    """A message of the load with one recipient that ends so."""
    ends = {receiver.domain: receiver.final for receiver in RECEIVERS}
    for number in range(1, 10_000):
        found = letter(SEED, number)
        domains = [r.rpartition("@")[2] for r in found.recipients]
        if len(domains) == 1 and ends[domains[0]] == final and domains[0] != "slow.example":
            return found
    raise AssertionError(final)


def kill(time: float, what: str = "everything", *shards: int) -> Kill:
    return Kill(time, what, frozenset(shards) or None, time + DYING)


class Story:
    """One accepted message, as a run without any kill would leave it."""

    def __init__(self, final: str = "Delivery") -> None:
        self.letter = number_with(final)
        [self.recipient] = self.letter.recipients
        self.id, self.dsn = IDS.next().hex(), IDS.next().hex()
        self.promises = {self.letter.number: Promise(self.id, self.letter)}
        self.unknown: set[int] = set()
        self.kills: list[Kill] = []
        self.records = [self.reception(), self.final(final)]
        self.arrivals = [self.copy(100.0)]
        if final != "Delivery":
            self.records += [
                {"type": "Reception", "id": self.dsn, "sender": "", "recipients": [SENDER]},
                {"type": "Delivery", "id": self.dsn, "recipient": SENDER, "time": 1e8},
            ]
            self.arrivals = [self.copy(100.0, recipient=SENDER, sender="", failed=self.recipient)]

    def reception(self) -> dict[str, Any]:
        return {
            "type": "Reception", "id": self.id, "sender": SENDER,
            "recipients": [self.recipient], "message_id": f"<{message_id(self.letter.number)}>",
        }  # fmt: skip

    def final(self, kind: str) -> dict[str, Any]:
        when = {"Delivery": 110.01}.get(kind, 90.0)
        return {"type": kind, "id": self.id, "recipient": self.recipient, "time": when * 1e6}

    def copy(self, time: float, **changes: Any) -> Arrival:
        fields = {"sender": SENDER, "recipient": self.recipient, "size": 1, "session": time - 1}
        fields |= changes
        return Arrival(time, self.letter.number, **fields)

    def judge(self) -> Verdict:
        judge = Judge(SEED, self.kills, Bounds(interval=0.05, slack=0.5))
        return judge.judge(self.promises, self.unknown, self.records, self.arrivals)


@pytest.mark.parametrize("final", ["Delivery", "Bounce", "Expiration"])
def test_a_quiet_run_has_no_problems(final: str) -> None:
    verdict = Story(final).judge()
    assert verdict.problems == []
    assert verdict.finals[final] >= 1
    assert verdict.dsns == (final != "Delivery")


def only_problem(story: Story) -> str:
    [problem] = story.judge().problems
    return problem


def test_a_recipient_without_an_end_is_named() -> None:
    story = Story()
    del story.records[1]
    assert f"{story.recipient}: final records: none; 1 copies arrived" in only_problem(story)


def test_two_ends_are_found() -> None:
    story = Story()
    story.records.append(story.final("Delivery"))
    assert "final records: Delivery, Delivery" in only_problem(story)


def test_a_delivery_that_never_arrived_is_lost() -> None:
    story = Story()
    story.arrivals.clear()
    assert "lost: logged as delivered, never arrived" in only_problem(story)


def test_a_copy_without_a_reply_does_not_count() -> None:
    story = Story()
    story.arrivals = [story.copy(100.0, cut=True)]
    assert "never arrived" in only_problem(story)
    story.arrivals.append(story.copy(101.0))
    assert story.judge().problems == []


def test_a_wrong_end_is_found() -> None:
    story = Story("Bounce")
    story.records[1] = story.final("Expiration")
    assert "Expiration instead of Bounce" in only_problem(story)


def test_a_bounce_needs_its_dsn() -> None:
    story = Story("Bounce")
    story.arrivals.clear()
    assert "logged as Bounce, but no DSN arrived" in only_problem(story)
    del story.records[2:]
    assert story.judge().problems[-1] == "0 DSNs for 1 failed recipients"


@pytest.mark.parametrize("after", [-0.9, 0.0, 0.3, 0.5])
def test_a_second_copy_is_explained_by_a_kill_of_its_worker(after: float) -> None:
    story = Story()
    story.arrivals.append(story.copy(110.0))
    story.kills = [kill(100.0 + after, "worker", SHARD, 7)]
    verdict = story.judge()
    assert (verdict.problems, verdict.duplicates) == ([], 1)
    [(lead, _)] = verdict.leads
    assert lead == pytest.approx(after)


@pytest.mark.parametrize(
    "kills",
    [
        [],
        [kill(100.6)],  # the outcome was synced long before
        [kill(98.9)],  # its session began later
        [kill(100.1, "worker", SHARD + 1)],  # another worker's
    ],
)
def test_a_second_copy_without_such_a_kill_is_a_problem(kills: list[Kill]) -> None:
    story = Story()
    story.arrivals.append(story.copy(110.0))
    story.kills = kills
    assert "unexplained second copy: the first came at 100.000" in only_problem(story)


def test_a_lost_reply_may_mean_stored_or_not_but_not_half() -> None:
    story = Story()
    story.promises, story.unknown = {}, {story.letter.number}
    verdict = story.judge()
    assert (verdict.problems, verdict.unknown_stored) == ([], 1)
    story.records.clear()
    assert "was not taken" in only_problem(story)
    story.arrivals.clear()
    assert story.judge().problems == []


def test_a_message_that_nobody_sent_is_found() -> None:
    story = Story()
    story.promises = {}
    problems = story.judge().problems
    assert f"{story.id} was received, but nobody sent it" in problems
    assert f"message {story.letter.number} arrived for {story.recipient}, but was not taken" in (
        problems
    )


def test_two_receptions_are_found() -> None:
    story = Story()
    story.records.append(story.reception())
    assert "2 Reception records" in only_problem(story)


def test_a_copy_that_was_recorded_before_the_kill_explains_no_second_one() -> None:
    story = Story()
    story.arrivals.append(story.copy(110.0))
    story.kills = [kill(100.4)]
    story.records[1]["time"] = 100.3 * 1e6
    assert "unexplained second copy" in only_problem(story)


def test_each_copy_needs_a_kill_of_its_own() -> None:
    story = Story()
    story.arrivals += [story.copy(100.1), story.copy(110.0)]
    story.kills = [kill(100.2)]
    assert "unexplained second copy" in only_problem(story)
    story.kills.append(kill(100.3))
    assert story.judge().problems == []


def test_copies_are_in_the_order_of_their_sessions() -> None:
    """The sink may read what a dead worker had sent after what its successor sends."""
    story = Story()
    story.arrivals = [story.copy(110.0, session=101.0), story.copy(112.0, session=99.0)]
    story.kills = [kill(100.5)]
    assert story.judge().problems == []


def test_what_was_stored_half_may_be_set_aside_if_nobody_was_promised_it() -> None:
    story = Story()
    torn = IDS.next().hex()
    story.records.append({"type": "Removed", "id": torn, "reason": "its content is torn"})
    verdict = story.judge()
    assert (verdict.problems, verdict.torn) == ([], 1)
    story.records.append({"type": "Removed", "id": story.id, "reason": "its content is torn"})
    assert only_problem(story) == f"{story.id} was taken, and then set aside as torn"
