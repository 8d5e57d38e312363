"""`mta queue hold` and the like against a scripted server."""

from __future__ import annotations

import io
from typing import Any

import pytest

from tests.unit.cli.conftest import Run, Server

VERBS = ["hold", "release", "flush", "delete", "bounce"]
DESTROY = ["delete", "bounce"]
ENDED = {"ended": True, "touched": 12, "missing": []}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What a command reads: typed at a terminal, or from a pipe."""

    def sit(typed: str, *, terminal: bool = True) -> None:
        monkeypatch.setattr("sys.stdin", Terminal(typed) if terminal else io.StringIO(typed))

    sit("", terminal=False)
    monkeypatch.setattr("mta.cli.common.user", lambda: "anna")
    return sit


@pytest.fixture
def given(server: Server, at: Any) -> Server:
    server.answer("act", result={"act": 7, "in_memory": 0})
    server.answer("act.wait", result=ENDED)
    server.answer("act.count", result={"recipients": 1234})
    return server


def asked(server: Server) -> list[str]:
    return [request["op"] for request in server.requests]


@pytest.mark.parametrize(
    ("verb", "said"),
    [
        ("hold", "act 7: 12 recipients held, as is what arrives until `mta queue release 7`\n"),
        ("flush", "act 7: 12 recipients flushed\n"),
        ("delete", "act 7: 12 recipients deleted\n"),
        ("bounce", "act 7: 12 recipients bounced\n"),
    ],
)
def test_an_act_tells_how_many_it_touched(run: Run, given: Server, verb: str, said: str) -> None:
    flags = ("--tenant", "acme", "--reason", "why", "--yes")
    ran = run("queue", verb, *flags, "--home", given.home)
    assert (ran.code, ran.out) == (0, said)
    args = {"verb": verb, "select": {"tenant": "acme"}, "reason": "why", "by": "anna"}
    wait = {"op": "act.wait", "args": {"act": 7, "seconds": 60.0}}
    assert given.requests == [{"op": "act", "args": args}, wait]


def test_every_selector_is_sent(run: Run, given: Server) -> None:
    names = ("domain", "site", "tenant", "campaign", "sender", "recipient", "id")
    flags = [text for name in names for text in (f"--{name}", f"x-{name}")]
    ran = run("queue", "reroute", "--to", "[192.0.2.1]:25", *flags, "--home", given.home, "--json")
    assert ran.json == {"act": 7, "in_memory": 0} | ENDED
    assert given.requests[0]["args"] == {
        "verb": "reroute",
        "select": {name: f"x-{name}" for name in names},
        "reason": "",
        "next_hop": "[192.0.2.1]:25",
        "by": "anna",
    }


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("flags", [(), ("--all", "--domain", "x")])
def test_a_selection_is_needed_and_all_stands_alone(
    run: Run, given: Server, verb: str, flags: tuple[str, ...]
) -> None:
    assert run("queue", verb, *flags, "--yes", "--home", given.home).code == 2
    assert given.requests == []


# ---------------------------------------------------------------------- confirmation


@pytest.mark.parametrize("verb", DESTROY)
@pytest.mark.parametrize("select", [("--all",), ("--domain", "*"), ("--id", "ab")])
@pytest.mark.parametrize("typed", ["", "n\n", "y\n"])
def test_what_destroys_needs_yes_without_a_terminal(
    run: Run, given: Server, at: Any, verb: str, select: tuple[str, ...], typed: str
) -> None:
    at(typed, terminal=False)
    ran = run("queue", verb, *select, "--home", given.home)
    assert ran.code == 2 and "needs --yes" in ran.err
    assert given.requests == []
    assert run("queue", verb, *select, "--yes", "--home", given.home).code == 0


@pytest.mark.parametrize("verb", DESTROY)
@pytest.mark.parametrize("select", [("--all",), ("--domain", "x")])
@pytest.mark.parametrize(("typed", "done"), [("y\n", True), ("n\n", False), ("\n", False)])
def test_what_destroys_asks_with_the_count(
    run: Run, given: Server, at: Any, verb: str, select: tuple[str, ...], typed: str, done: bool
) -> None:
    at(typed)
    ran = run("queue", verb, *select, "--home", given.home)
    assert f"{verb.capitalize()} 1,234 recipients?" in ran.err + ran.out
    assert ("act" in asked(given)) is done
    assert ran.code == (0 if done else 1)


def test_nothing_is_asked_where_nothing_matches(run: Run, given: Server, at: Any) -> None:
    at("y\n")
    given.answer("act.count", result={"recipients": 0})
    ran = run("queue", "delete", "--domain", "x", "--home", given.home)
    assert (ran.code, ran.out) == (1, "No matching mail\n")
    assert "act" not in asked(given)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("flags", [(), ("--yes",)])
def test_a_dry_run_counts_only(run: Run, given: Server, verb: str, flags: tuple[str, ...]) -> None:
    ran = run("queue", verb, "--all", "--dry-run", *flags, "--home", given.home)
    assert (ran.code, ran.out) == (0, f"{verb} would affect 1,234 recipients\n")
    assert asked(given) == ["act.count", "shards.refused"]
    given.answer("act.count", result={"recipients": 0})
    ran = run("queue", verb, "--all", "--dry-run", "--json", "--home", given.home)
    assert (ran.code, ran.json) == (1, {"recipients": 0})


# ---------------------------------------------------------------------- ends


@pytest.mark.parametrize("verb", ["flush", "delete", "bounce"])
def test_an_act_that_touched_nothing_fails(run: Run, given: Server, verb: str) -> None:
    given.answer("act.wait", result=ENDED | {"touched": 0})
    ran = run("queue", verb, "--domain", "x", "--yes", "--home", given.home)
    assert (ran.code, ran.out) == (1, "No matching mail\n")
    ran = run("queue", verb, "--domain", "x", "--yes", "--json", "--home", given.home)
    assert ran.code == 1 and ran.json["touched"] == 0


def test_a_hold_may_be_for_later_mail_alone(run: Run, given: Server) -> None:
    given.answer("act.wait", result=ENDED | {"touched": 0})
    ran = run("queue", "hold", "--domain", "x", "--home", given.home)
    assert ran.code == 0 and ran.out.startswith("act 7: 0 recipients held")


def test_an_act_that_goes_on_says_so(run: Run, given: Server) -> None:
    missing = ["shard 3 is refused: MANIFEST is damaged"]
    given.answer("act.wait", result={"ended": False, "touched": 1, "missing": missing})
    ran = run("queue", "delete", "--all", "--yes", "--wait", "0", "--home", given.home)
    assert given.requests[1]["args"] == {"act": 7, "seconds": 0.0}
    assert ran.code == 0
    assert ran.out == "act 7: delete is still running, 1 recipient so far; see `mta queue acts`\n"
    assert ran.err == missing[0] + "\n"


@pytest.mark.parametrize(
    ("flags", "which"),
    [
        (("3",), {"act": 3}),
        (("--all",), {"select": {"all": True}}),
        (("--domain", "x"), {"select": {"domain": "x"}}),
    ],
)
def test_a_release_by_number_and_by_selection(
    run: Run, given: Server, flags: tuple[str, ...], which: dict[str, Any]
) -> None:
    given.answer("act", result={"act": 8, "in_memory": 0, "released": [3, 5]})
    ran = run("queue", "release", *flags, "--home", given.home)
    assert ran.out == "act 8: 12 recipients released; ended hold 3, 5\n"
    args = {"verb": "release", "reason": "", "by": "anna"} | which
    assert given.requests[0] == {"op": "act", "args": args}


def test_a_release_is_by_number_or_by_selection(run: Run, given: Server) -> None:
    assert run("queue", "release", "3", "--domain", "x", "--home", given.home).code == 2
    assert given.requests == []


def test_a_refusal_exits_1(run: Run, given: Server) -> None:
    given.answer("act", error="no hold has this selection (domain=x)")
    ran = run("queue", "release", "--domain", "x", "--home", given.home)
    assert ran.code == 1 and "no hold has this selection" in ran.err


def test_acts_are_listed(run: Run, given: Server) -> None:
    rows = [
        {"sequence": 3, "verb": "hold", "select": {"tenant": "acme"}, "by": "anna",
         "state": "in force", "touched": 5, "created_us": 1_767_225_600_123_456},
        {"sequence": 4, "verb": "delete", "select": {"all": True}, "state": "done",
         "ended_us": 1_767_225_600_123_456},
    ]  # fmt: skip
    given.answer("act.list", result=rows)
    ran = run("queue", "acts", "--home", given.home)
    assert given.requests == [{"op": "act.list", "args": {"ended": True}}]
    for text in ("hold", "tenant=acme", "anna", "in force", "done", "2026-01-01"):
        assert text in ran.out
    assert run("queue", "acts", "--json", "--home", given.home).lines == rows
    given.answer("act.list", result=[])
    assert run("queue", "acts", "--home", given.home).out == "No acts\n"
