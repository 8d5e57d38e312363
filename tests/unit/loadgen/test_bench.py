"""The bench's own arithmetic and its page; no agent is started."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench import report
from bench.agents import AGENTS, Mailrace, Postfix, Scene
from bench.group import Group
from bench.relay import WORKLOADS, Plan


def row(agent: str, cpu: float, *, complete: bool = True) -> dict[str, Any]:
    return {
        "agent": agent, "complete": complete, "count": 1000, "rate": 2000.0, "accept_rate": 3000.0,
        "cpu_us": cpu, "pss": 5e7, "source_us": 30.0, "sink_us": 40.0,
    }  # fmt: skip


ROWS = [row("mailrace", c) for c in (150.0, 100.0, 900.0)] + [row("postfix", 3000.0)]


def test_table_has_median_and_spread_of_complete_runs() -> None:
    lines = report.table([*ROWS, row("mailrace", 1.0, complete=False)])
    assert "| mailrace | 3 x 1,000 | 2,000 (2,000 to 2,000) |" in lines[2]
    assert "150 (100 to 900)" in lines[2]
    assert "50 (50 to 50)" in lines[2]
    assert report.table([row("postfix", 1.0, complete=False)])[2].startswith("| postfix | no comp")


def test_ratio_compares_medians() -> None:
    (line,) = report.ratios(ROWS)
    assert line.startswith("postfix: 20.0 times the CPU of Mailrace for a message, 1/1.0 of")
    assert report.ratios(ROWS[:3]) == []
    assert report.ratios(ROWS[3:]) == []
    assert report.ratios([*ROWS, row("mailrace-1", 120.0)])[1] == (
        "postfix: 25.0 times the CPU of Mailrace with one worker for a message, "
        "1/1.0 of its messages per second."
    )


def test_page_names_machine_commit_and_what_was_left_out(tmp_path: Path) -> None:
    work = WORKLOADS["standard"]
    result = {
        "environment": report.environment(tmp_path), "versions": {"mailrace": "Mailrace 1"},
        "rows": ROWS, "workload": work._asdict(), "title": work.title(),
        "skipped": ["haraka: skipped, it is not there"],
    }  # fmt: skip
    text = report.markdown(result)
    assert result["environment"]["commit"] in text
    assert "20.0 times the CPU" in text
    assert Mailrace.settings in text
    assert "- haraka: skipped" in text
    assert report.write(result, tmp_path, "relay-x", text).read_text() == text
    assert json.loads((tmp_path / "relay-x.json").read_text())["rows"] == ROWS


def test_columns_that_nobody_fills_are_left_out() -> None:
    assert "250 p50" not in report.table(ROWS)[0]
    full = {**ROWS[0], "accept_p50_us": 1500}
    assert "250 p50" in report.table([full])[0]
    assert "| 1.5 (1.5 to 1.5) |" in report.table([full])[2]


def test_scene_of_many_hops_has_an_address_for_each(tmp_path: Path) -> None:
    scene = Scene(hops=1000)
    assert scene.listen == "127.0.1.1-127.0.4.232:2526"
    agent = Mailrace(tmp_path, scene)
    agent.prepare()
    text = (tmp_path / "mailrace.toml").read_text()
    assert text.count("[[route]]") == 1000
    assert 'domain = "d999.example" }\nnext_hop = "[127.0.4.232]:2526"' in text
    assert "--config" in agent.command()
    assert Scene().listen == "127.0.0.1:2526"


def test_agents_say_what_they_cannot_show(tmp_path: Path) -> None:
    for kind in AGENTS.values():
        assert kind(tmp_path, Scene()).unfit() == ""
        assert bool(kind(tmp_path, Scene(hops=9)).unfit()) is not kind.spreads
        assert bool(kind(tmp_path, Scene(retry=2)).unfit()) is not kind.retries


@pytest.mark.parametrize("name", ["kumomta", "powermta"])
def test_configurations_of_agents_that_are_rarely_there(tmp_path: Path, name: str) -> None:
    run = tmp_path / name
    run.mkdir()
    AGENTS[name](run, Scene(port=1111, sink_port=2222, retry=3)).prepare()
    text = next(path for path in run.iterdir() if path.is_file()).read_text()
    assert "1111" in text and "2222" in text and str(run) in text
    assert "{port}" not in text and "{run}" not in text


def test_workloads_come_with_their_load(tmp_path: Path) -> None:
    work = WORKLOADS["hops"]
    plan = Plan([], tmp_path, work)
    load = plan.load(10, 100, None)  # type: ignore[arg-type]
    assert (len(load.recipients), load.first, load.messages, load.tally) == (1000, 10, 100, "")
    assert WORKLOADS["deferrals"].retry == 2
    assert "1,000 next hops" in work.title()


def test_postfix_services_run_without_chroot_on_our_port(tmp_path: Path) -> None:
    agent = Postfix(tmp_path, Scene())
    line = "smtp      inet  n       -       y       -       -       smtpd"
    assert agent._service(line) == "127.0.0.1:2625 inet n - n - - smtpd"
    line = "cleanup   unix  n       -       y       -       0       cleanup"
    assert agent._service(line) == "cleanup unix n - n - 0 cleanup"
    assert agent._service("#smtps inet n - y - - smtpd").startswith("#")


def test_group_counts_descendants_and_ends_them(tmp_path: Path) -> None:
    work = "sum(range(3_000_000)); print('ready', flush=True); import sys, time; time.sleep(60)"
    program = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {work!r}])"
    with (tmp_path / "out").open("wb") as output:
        group = Group("test", [sys.executable, "-c", program], output, tmp_path)
    try:
        while b"ready" not in (tmp_path / "out").read_bytes():
            assert group.process.poll() is None
            subprocess.run(["true"])
        assert group.cpu() > 0.02
        assert len(group.pids()) == 2
        group.sample()
        assert group.peak_pss > 5_000_000
    finally:
        group.end(5)
    assert group.process.poll() is not None
    assert not group.folder or not group.folder.exists()


def test_accepting_alone_needs_an_agent_that_keeps_its_mail(tmp_path: Path) -> None:
    scene = Plan([], tmp_path, WORKLOADS["accept"]).scene
    assert scene.silent
    assert "queue.lane_items=1000000" in Mailrace(tmp_path, scene).command()
    assert "defer_transports = smtp\n" in Postfix(tmp_path, scene)._more()
    assert [name for name, kind in AGENTS.items() if not kind(tmp_path, scene).unfit()] == [
        "mailrace", "mailrace-1", "postfix"
    ]  # fmt: skip
