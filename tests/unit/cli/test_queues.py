"""`mta queue` and `mta status` against a scripted server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.conftest import Run, Server

ROW = {
    "id": "ab" * 16,
    "rno": 0,
    "state": "due",
    "sender": "a@b",
    "recipient": "c@d",
    "attempts": 2,
    "due": 1_767_225_600_123_456,
    "text": "try\x1b[31m later",
}


def test_list_asks_and_shows(run: Run, server: Server) -> None:
    server.answer("queue.list", ROW, ROW | {"rno": 1, "recipient": "e@f"}, result={"total": 2})
    ran = run("queue", "list", "--home", server.home, "--domain", "d", "--limit", "5")
    asked = {"op": "queue.list", "args": {"select": {"domain": "d"}, "limit": 5}}
    assert server.requests[0] == asked
    assert ran.code == 0
    assert "c@d" in ran.out and "e@f" in ran.out
    assert "d ago" in ran.out
    assert "\\x1b[31m later" in ran.out


def test_list_as_json_is_a_line_each(run: Run, server: Server) -> None:
    server.answer("queue.list", ROW, ROW, result=None)
    assert run("queue", "list", "--home", server.home, "--json").lines == [ROW, ROW]


@pytest.mark.parametrize("result", [[ROW], {"rows": [ROW]}])
def test_rows_may_be_the_result(run: Run, server: Server, result: Any) -> None:
    server.answer("queue.list", result=result)
    assert run("queue", "list", "--home", server.home, "--json").lines == [ROW]


@pytest.mark.parametrize("command", [("queue", "list"), ("queue", "top"), ("mailq",)])
def test_shards_that_are_refused_are_told(
    run: Run, server: Server, command: tuple[str, ...]
) -> None:
    server.answer("queue.list", result=[])
    server.answer("queue.top", result=[])
    server.answer("shards.refused", result=["shard 1 is refused: MANIFEST is damaged"])
    ran = run(*command, "--home", server.home)
    assert ran.err == "shard 1 is refused: MANIFEST is damaged; its mail is not shown\n"


def test_an_empty_queue_says_so(run: Run, server: Server) -> None:
    server.answer("queue.list", result={"total": 0})
    assert run("queue", "list", "--home", server.home)[:2] == (0, "The queue is empty\n")
    ran = run("queue", "list", "--home", server.home, "--domain", "x")
    assert ran[:2] == (1, "No matching mail\n")


def test_a_limit_that_was_reached_is_told(run: Run, server: Server) -> None:
    server.answer("queue.list", ROW, result=None)
    ran = run("queue", "list", "--limit", "1", "--home", server.home)
    assert ran.err == "These are the first 1; --limit shows more.\n"


def test_show(run: Run, server: Server) -> None:
    server.answer("queue.show", result={"sender": "a@b", "class": "bulk", "recipients": [ROW]})
    ran = run("queue", "show", "abc", "--home", server.home)
    assert server.requests[0] == {"op": "queue.show", "args": {"id": "abc"}}
    assert "class   bulk" in ran.out and "c@d" in ran.out
    assert run("queue", "show", "abc", "--home", server.home, "--json").json["recipients"] == [ROW]


def test_top(run: Run, server: Server) -> None:
    server.answer("queue.top", {"name": "example.com", "queued": 7, "oldest": ROW["due"]})
    ran = run("queue", "top", "--by", "tenant", "--home", server.home)
    assert server.requests[0]["args"] == {"by": "tenant", "limit": 20}
    assert "example.com" in ran.out and "d ago" in ran.out
    assert run("queue", "top", "--by", "colour", "--home", server.home).code == 2


def test_dead_letters(run: Run, server: Server, tmp_path: Path) -> None:
    server.answer("dead.list", {"id": "ab", "recipient": "x@y"})
    server.answer("dead.show", result={"id": "ab", "text": "no"})
    server.answer("dead.requeue", result={"requeued": 1})
    server.answer("dead.export", result="Subject: \xff\r\n")
    home = ("--home", server.home)
    assert "x@y" in run("queue", "dead", "list", *home).out
    assert "no" in run("queue", "dead", "show", "ab", *home).out
    assert run("queue", "dead", "requeue", "ab", *home).code == 0
    assert run("queue", "dead", "requeue", "--all", *home, "--json").json == {"requeued": 1}
    assert run("queue", "dead", "requeue", *home).code == 2
    assert run("queue", "dead", "requeue", "ab", "--all", *home).code == 2
    out = tmp_path / "x.eml"
    assert run("queue", "dead", "export", "ab", "--out", out, *home).code == 0
    assert out.read_bytes() == b"Subject: \xff\r\n"
    asked = [(request["op"], request["args"]) for request in server.requests]
    assert asked[2:4] == [("dead.requeue", {"id": "ab"}), ("dead.requeue", {"all": True})]


def test_status(run: Run, server: Server) -> None:
    workers = [{"sessions": 2, "problem": None}, {"sessions": 3, "problem": "disk full"}]
    result = {"uptime": 3, "listeners": ["h:1"], "totals": {"sessions": 5}, "workers": workers}
    server.answer("status", result=result)
    ran = run("status", "--home", server.home)
    figures = [line.split() for line in ran.out.splitlines() if "sessions" in line]
    assert figures == [["sessions", "5", "2", "3"]]
    assert "disk full" in ran.out and "listeners  h:1" in ran.out
    assert "ended" not in ran.out
    assert run("status", "--socket", server.home / "control.sock", "--json").json == result


def test_columns_add_up_after_a_replacement(run: Run, server: Server) -> None:
    totals, workers = {"received": 12, "sessions": 5}, [{"received": 5, "sessions": 5}]
    result = {"totals": totals, "workers": workers, "ended_workers": {"received": 7}}
    server.answer("status", result=result)
    lines = [line.split() for line in run("status", "--home", server.home).out.splitlines()]
    assert ["figure", "total", "worker", "0", "ended", "workers"] in lines
    assert ["received", "12", "5", "7"] in lines and ["sessions", "5", "5"] in lines


def test_home_from_the_environment(
    run: Run, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answer("status", result={})
    monkeypatch.setenv("MTA_HOME", str(server.home))
    assert run("status", "--json").json == {}


def test_a_refusal_is_one_line_with_its_hint(run: Run, server: Server) -> None:
    server.answer("queue.show", error="no such message")
    ran = run("queue", "show", "x", "--home", server.home)
    assert (ran.code, ran.err) == (1, "mta: no such message (try harder)\n")


@pytest.mark.parametrize("lines", [[], ["nonsense"], ["[1]"]])
def test_a_server_that_fails(run: Run, server: Server, lines: list[str]) -> None:
    server.answers["status"] = lines
    ran = run("status", "--home", server.home)
    assert ran.code == 1
    assert "the server closed the connection" in ran.err or "cannot understand" in ran.err


def test_no_server(run: Run, tmp_path: Path) -> None:
    ran = run("status", "--home", tmp_path)
    assert ran.code == 1
    assert ran.err == (
        f"mta: no server answers at {tmp_path}/control.sock: start one with `mta serve`,"
        " or give its folder by --home or MTA_HOME\n"
    )


def test_a_stale_socket_and_a_long_path(run: Run, tmp_path: Path) -> None:
    import socket

    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "control.sock"))
    assert "no server answers at" in run("status", "--home", tmp_path).err
    assert "is not a control socket" in run("status", "--socket", "/" + "x" * 200).err
