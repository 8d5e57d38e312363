"""The checker finds what it is there to find: one message's story, doctored in each way."""

from __future__ import annotations

from typing import Any

import pytest
import zstandard

from tests.torture.checker import Account, Evidence, Fault, check
from tests.torture.letters import SENDER, Mix, letter
from tests.torture.limits import Limit, broken
from tests.torture.logfiles import LogFiles

ID, DSN = "a" * 32, "d" * 32
KILL = Fault("kill", 10.1, 10.3)


class Story:
    """One accepted message to one recipient, as a run without any fault leaves it."""

    def __init__(self, domain: str = "accept.example", final: str = "Delivery") -> None:
        item = letter(1, 7, Mix({domain: 1}, {500: 1}, {1: 1}))
        [self.recipient] = item.recipients
        self.journal: list[dict[str, Any]] = [
            {"event": "offer", "number": 7, "recipients": [self.recipient], "hash": item.hash},
            {"event": "promise", "number": 7, "id": ID},
        ]
        self.log = [self.reception(), self.final(final)]
        self.arrivals = [self.copy(10.0, item.hash)] if final == "Delivery" else []
        self.queued: list[dict[str, Any]] | None = []
        self.faults: list[Fault] = []
        self.damage: list[str] = []
        self.also = frozenset[str]()
        if final != "Delivery":
            self.log += [
                {"type": "Reception", "id": DSN, "time": 11_000_000, "sender": "", "total": 1},
                {"type": "Delivery", "id": DSN, "time": 11_000_000, "recipient": SENDER},
            ]
            self.arrivals.append(self.report(11.0))

    def reception(self, **fields: Any) -> dict[str, Any]:
        return {"type": "Reception", "id": ID, "time": 9_000_000, "total": 1, "sender": SENDER,
                "message_id": "7@source.example"} | fields  # fmt: skip

    def final(self, kind: str, seconds: float = 10.0) -> dict[str, Any]:
        return {"type": kind, "id": ID, "recipient": self.recipient, "time": int(seconds * 1e6)}

    def copy(self, time: float, hash: str = "", **fields: Any) -> dict[str, Any]:
        return {
            "event": "copy", "time": time, "dot": time, "port": 0, "connection": 1, "number": 7,
            "failed": [], "hash": hash or self.arrivals[0]["hash"], "sender": SENDER,
            "recipients": [self.recipient], "cut": False,
        } | fields  # fmt: skip

    def report(self, time: float) -> dict[str, Any]:
        fields = {"sender": "", "recipients": [SENDER], "failed": [self.recipient]}
        return self.copy(time, "of a DSN", **fields)

    def told(self, slack: float = 0.1) -> Account:
        return check(
            Evidence(
                self.journal, self.arrivals, self.log, self.queued, self.damage, self.faults,
                also=self.also, slack=slack,
            )
        )  # fmt: skip

    def kinds(self) -> list[str]:
        return [problem.kind for problem in self.told().problems]


@pytest.mark.parametrize(
    ("domain", "final"),
    [("accept.example", "Delivery"), ("unknown.example", "Bounce"),
     ("defer.example", "Expiration")],
)  # fmt: skip
def test_a_story_without_faults_has_no_problem(domain: str, final: str) -> None:
    account = Story(domain, final).told()
    assert account.problems == []
    assert (account.messages, account.recipients, account.ends) == (1, 1, {final: 1})


def test_lost() -> None:
    story = Story()
    del story.log[1]
    assert story.kinds() == ["lost"]
    assert story.told().lost == 1


def test_a_loss_that_is_recorded_is_one_unless_it_may_be() -> None:
    story = Story()
    story.log[1] = story.final("Lost")
    story.arrivals.clear()
    assert story.kinds() == ["lost"]
    story.also = frozenset({"Lost"})
    assert story.kinds() == []
    assert story.told().ends == {"Lost": 1}


def test_what_is_recorded_as_lost_did_not_arrive() -> None:
    story = Story()
    story.log[1] = story.final("Lost")
    story.also = frozenset({"Lost"})
    assert story.kinds() == ["wrong"]


def test_what_was_found_again_is_not_lost() -> None:
    story = Story()
    story.log[1:1] = [story.final("Lost", 9.5), story.final("Found", 9.6)]
    assert story.kinds() == []
    story.log[1], story.log[2] = story.log[2], story.log[1]
    assert story.kinds() == ["twice"]


def test_a_dsn_without_the_header_of_its_message() -> None:
    story = Story()
    story.log[1] = story.final("Bounce")
    story.arrivals[:] = [story.report(11.0) | {"number": None}]
    story.also = frozenset({"Bounce"})
    assert story.kinds() == []
    story.arrivals.clear()
    assert story.kinds() == ["missing"]


def test_no_loss_yet_while_the_queue_cannot_be_asked() -> None:
    story = Story()
    del story.log[1]
    story.queued = None
    assert story.kinds() == ["locked"]
    assert story.told().lost == 0


def test_queued_is_no_loss_and_needs_no_copy() -> None:
    story = Story()
    del story.log[1], story.arrivals[0]
    story.queued = [{"id": ID, "recipient": story.recipient}]
    assert story.kinds() == []
    assert story.told().ends == {"queued": 1}


def test_queued_though_a_copy_was_taken() -> None:
    story = Story()
    del story.log[1]
    story.queued = [{"id": ID, "recipient": story.recipient}]
    assert story.kinds() == ["second"]


def test_two_final_records() -> None:
    story = Story()
    story.log.append(story.final("Delivery", 10.5))
    assert story.kinds() == ["twice"]


def test_log_and_spool_disagree() -> None:
    story = Story()
    story.queued = [{"id": ID, "recipient": story.recipient}]
    assert story.kinds() == ["twice"]


def test_another_end_than_the_receivers() -> None:
    story = Story()
    story.log[1] = story.final("Removed")
    story.arrivals.clear()
    assert story.kinds() == ["wrong"]


def test_what_was_promised_to_nobody_may_be_set_aside() -> None:
    story = Story()
    story.journal[1] = {"event": "lost", "number": 7}
    story.log = [story.final("Removed")]
    story.arrivals.clear()
    assert story.kinds() == []


def test_removed_without_a_word_though_promised() -> None:
    story = Story()
    story.log = [story.final("Removed")]
    story.arrivals.clear()
    assert {"reception", "wrong", "stranger"} == set(story.kinds())


def test_logged_as_delivered_and_never_arrived() -> None:
    story = Story()
    story.arrivals.clear()
    assert story.kinds() == ["missing"]


def test_a_bounce_that_arrived() -> None:
    story = Story("unknown.example", "Bounce")
    story.arrivals.append(story.copy(10.0, story.journal[0]["hash"]))
    assert story.kinds() == ["wrong"]


def test_a_bounce_without_dsn() -> None:
    story = Story("unknown.example", "Bounce")
    story.arrivals.clear()
    assert story.kinds() == ["missing"]


def test_a_dsn_without_its_end() -> None:
    story = Story("unknown.example", "Bounce")
    del story.log[3]
    assert story.kinds() == ["lost"]


def test_a_second_dsn() -> None:
    story = Story("unknown.example", "Bounce")
    story.arrivals.append(story.report(12.0))
    assert story.kinds() == ["second"]


def test_another_content() -> None:
    story = Story()
    story.arrivals[0]["hash"] = "other"
    assert story.kinds() == ["content"]


def test_a_second_copy_without_a_fault() -> None:
    story = Story()
    story.arrivals.append(story.copy(12.0))
    assert story.kinds() == ["second"]


def second(fault: Fault, recorded: float) -> Story:
    story = Story()
    story.arrivals.append(story.copy(12.0))
    story.log[1] = story.final("Delivery", recorded)
    story.faults = [fault]
    return story


def test_a_second_copy_that_a_fault_explains() -> None:
    story = second(KILL, 12.0)
    assert story.kinds() == []
    assert story.told().second == 1


@pytest.mark.parametrize(
    ("fault", "recorded"),
    [
        (Fault("later than interval and slack", 10.3, 10.4), 12.0),
        (Fault("over before the dot", 9.0, 9.8), 12.0),
        (Fault("when the outcome had been recorded", 10.1, 10.3), 10.05),
    ],
)
def test_a_second_copy_that_a_fault_does_not_explain(fault: Fault, recorded: float) -> None:
    assert second(fault, recorded).kinds() == ["second"]


def test_a_fault_explains_one_copy() -> None:
    story = second(KILL, 13.0)
    story.arrivals.append(story.copy(13.0))
    assert story.kinds() == ["second"]


def test_a_copy_whose_connection_was_cut_is_none() -> None:
    story = Story()
    story.arrivals.insert(0, story.copy(9.5, story.arrivals[0]["hash"], cut=True))
    assert story.kinds() == []


@pytest.mark.parametrize("arrived", [True, False])
def test_refused_and_taken_all_the_same(arrived: bool) -> None:
    story = Story()
    story.journal[1] = {"event": "refused", "number": 7, "dot": True, "code": 452}
    assert set(story.kinds()) == {"refused"}
    if not arrived:
        story.arrivals.clear()
        assert story.kinds() == ["refused"]


def test_what_nobody_offered() -> None:
    story = Story()
    del story.journal[:]
    assert set(story.kinds()) == {"stranger"}
    assert len(story.kinds()) == 2  # in the log, and at the sink


def test_arrived_and_never_taken() -> None:
    story = Story()
    story.journal[1] = {"event": "lost", "number": 7}
    story.log.clear()
    assert story.kinds() == ["stranger"]


def test_a_reply_that_was_lost_obliges_once_it_is_stored() -> None:
    story = Story()
    story.journal[1] = {"event": "lost", "number": 7}
    assert story.kinds() == []
    del story.log[1]
    assert story.kinds() == ["lost"]


@pytest.mark.parametrize("receptions", [0, 2])
def test_not_one_reception(receptions: int) -> None:
    story = Story()
    story.log[:1] = [story.reception()] * receptions
    assert "reception" in story.kinds()


def test_a_reception_for_another_number_of_recipients() -> None:
    story = Story()
    story.log[0] = story.reception(total=2)
    assert story.kinds() == ["reception"]


def test_what_a_client_must_not_see() -> None:
    story = Story()
    story.journal.append({"event": "odd", "text": "554 instead of 250"})
    story.damage.append("octets 1 to 2 are no frame")
    assert story.kinds() == ["damage", "client"]


def events(*events: tuple[float, str]) -> list[dict[str, Any]]:
    return [{"port": 0, "time": time, "event": event} for time, event in events]


def test_more_connections_than_allowed() -> None:
    two = events((1, "open"), (2, "open"), (3, "close"), (4, "open"))
    assert broken(two, 0, Limit(connections=2)) == []
    assert len(broken(two, 0, Limit(connections=1))) == 1
    assert broken(two, 1, Limit(connections=1)) == []


def test_more_attempts_than_allowed() -> None:
    burst = events(*((1.0, "attempt") for _ in range(5)), (2.0, "attempt"))
    assert broken(burst, 0, Limit(rate=1, burst=5, jitter=0)) == []
    assert len(broken(burst, 0, Limit(rate=1, burst=4, jitter=0))) == 1
    assert len(broken([*burst, *events((2.0, "attempt"))], 0, Limit(None, 1, 5, 0))) == 1


def test_the_log_is_read_whole_and_damage_is_found(tmp_path: Any) -> None:
    shard = tmp_path / "shard-0000"
    shard.mkdir()
    compress = zstandard.ZstdCompressor(write_checksum=True).compress
    lines = [b'{"type":"Delivery","time":%d}\n' % number for number in range(6)]
    frames = [compress(b"".join(lines[at : at + 2])) for at in (0, 2, 4)]
    (shard / "00000001.zst").write_bytes(frames[1] + frames[0])
    (shard / "00000002.zst").write_bytes(frames[2] + frames[0][:20])
    read = LogFiles(tmp_path)
    assert [record["time"] for record in read.records] == list(range(6))
    assert read.damage == []  # a torn end is none
    (shard / "00000001.zst").write_bytes(frames[1][:-3] + frames[0])
    read = LogFiles(tmp_path)
    assert [record["time"] for record in read.records] == [0, 1, 4, 5]
    assert len(read.damage) == 1


def test_evidence_is_read_by_nothing_of_the_server() -> None:
    import ast
    from pathlib import Path

    for name in ("letters", "sink", "injector", "logfiles", "limits", "checker"):
        tree = ast.parse((Path(__file__).parent / f"{name}.py").read_text())
        modules = [n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
        modules += [a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names]
        ours = {m for m in modules if m.split(".")[0] in ("mta", "tests")}
        assert all(m.startswith("tests.torture") for m in ours), name
        assert "tests.torture.rig" not in ours
