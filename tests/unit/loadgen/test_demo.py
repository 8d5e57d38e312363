"""The demo's plan and its report; the whole of it runs in tests/scenarios."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from mta.cli import demo as command
from mta.cli.demo import Screen
from mta.config.load import load
from mta.errors import ConfigError, MailraceError
from mta.loadgen import demo
from mta.loadgen.account import Account
from mta.loadgen.demo import RECEIVERS, Live, Options, Result, Server
from mta.loadgen.manners import DEFAULTS
from mta.loadgen.message import Composer, Load
from mta.loadgen.source import Report


def result(*problems: str) -> Result:
    account = Account(
        accepted=20_000, delivered=19_600, bounced=300, expired=100, retried=3_000, dsns=400,
        first_attempts=16_600, first_seconds=8.0, time_to_deliver=(50_000, 2_000_000),
    )  # fmt: skip
    return Result(
        messages=20_000,
        domains=200,
        workers=2,
        account=account,
        source={},
        accept_rate=2500.0,
        deliver_rate=2075.0,
        accept_p99_us=9_000,
        cpu_us=171.4,
        seconds=33.0,
        folder="/tmp/x",
        logs="/tmp/x/log",
        problems=list(problems),
    )


def test_two_hundred_domains_of_every_manner() -> None:
    assert sum(one.domains for one in RECEIVERS) == 200
    added = {"flaky", "latency", "cap"}  # for measurements
    assert {one.name for one in RECEIVERS} == set(DEFAULTS) - added
    assert len({one.address for one in RECEIVERS}) == len(RECEIVERS)
    assert all(one.address.startswith("127.") for one in RECEIVERS)


def test_weights_give_each_domain_the_same() -> None:
    weights: dict[str, float] = {}
    for one in RECEIVERS:
        for address, weight in one.recipients():
            domain = address.rpartition("@")[2]
            weights[domain] = weights.get(domain, 0) + weight
    assert len(weights) == 200
    assert all(abs(weight - 1) < 1e-9 for weight in weights.values())


def test_what_the_source_could_not_send_is_a_problem() -> None:
    report = Report(
        accepted=5, unsent=2, unknown=[9], replies={"452 full": 3}, queue_ids={1: "a", 2: "b"}
    )
    problems = list(demo._source_problems(report))
    assert [problem.split(" ")[0] for problem in problems] == ["2", "3", "message", "3"]
    assert list(demo._source_problems(Report(accepted=1, queue_ids={1: "a"}))) == []


def test_numbers_become_promises_with_their_manner(tmp_path: Path) -> None:
    options = Options(tmp_path, messages=500)
    load = demo._load(options, 25)
    composer = Composer(load)
    promises = demo.promises(load, Report(queue_ids={n: f"id{n}" for n in range(500)}))
    assert promises[7] == ("id7", composer.recipient(7), promises[7].manner)
    for promise in promises.values():
        assert promise.recipient.partition("@")[2].startswith(promise.manner + "-")


def test_a_server_that_does_not_start_is_shown(tmp_path: Path) -> None:
    server = Server(tmp_path, {"*": "127.0.1.1:1"}, 1)
    server.command = ["sh", "-c", "echo no such thing; exit 3"]
    with pytest.raises(MailraceError, match="no such thing"):
        asyncio.run(server.start())
    assert asyncio.run(server.stop()) == 3


def test_every_route_stays_on_the_machine(tmp_path: Path) -> None:
    hops = {"defer-*.example": "127.0.1.2:1", "*": "127.0.1.1:1"}
    server = Server(tmp_path, hops, 2)
    config = load(Path(server.command[server.command.index("--config") + 1]))
    routes = [
        (str(r.match.domain), [str(hop) for hop in r.next_hop], r.retry) for r in config.route
    ]
    assert routes == [
        ("defer-*.example", ["127.0.1.2:1"], "defer"), ("*", ["127.0.1.1:1"], ""),
    ]  # fmt: skip
    assert (config.retry.max_age, config.retry.named["defer"].max_age) == (5 * 86_400, 25)


def test_a_used_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="not empty"):
        command._empty(tmp_path)
    assert command._empty(tmp_path / "new") == tmp_path / "new"


def test_report_names_figures_and_agreement(capsys: pytest.CaptureFixture[str]) -> None:
    Screen(quiet=False).report(result())
    out = capsys.readouterr().out
    for text in ("19,600, 16,600 by the first", "2,500 accepted", "p99 2.000 s", "171 us",
                 "/tmp/x/log", "Every recipient is accounted for"):  # fmt: skip
        assert text in out


def test_report_names_problems(capsys: pytest.CaptureFixture[str]) -> None:
    Screen(quiet=False).report(result(*(f"message {n}: lost [x]" for n in range(25))))
    printed = capsys.readouterr()
    assert "message 19: lost [x]" in printed.out
    assert "message 20" not in printed.out
    assert "and 5 more" in printed.out
    assert "25 problem(s)" in printed.err
    assert "accounted for" not in printed.out


def test_progress_without_a_terminal_is_a_few_lines(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen(quiet=False)
    for step in range(1, 101):
        screen.live(Live(step * 10, step * 9, 5, 1, step, 0), 1000)
    lines = capsys.readouterr().out.splitlines()
    assert 5 < len(lines) <= 11
    assert lines[-1].startswith("  accepted 1,000") or "delivered" in lines[-1]


def test_quiet_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Screen(quiet=True) as screen:
        screen.say("x")
        screen.live(Live(1, 1, 0, 0, 0, 0), 1)
    assert capsys.readouterr().out == ""


def test_load_is_what_the_options_say(tmp_path: Path) -> None:
    load = demo._load(Options(tmp_path, 2000, 1024, 5), 2525)
    assert isinstance(load, Load)
    assert (load.messages, load.size, load.sessions) == (2000, 1024, 5)
    assert load.server == "127.0.0.1:2525"
