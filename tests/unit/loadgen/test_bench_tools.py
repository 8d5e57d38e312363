"""Comparing and drawing results, the pages of the scenarios, and the bulk loader."""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from bench import (
    backlog,
    chart,
    compare,
    instructions,
    kernels,
    readme,
    receivers,
    report,
    sessions,
    suite,
    traffic,
)
from bench.__main__ import SCENARIOS, TOOLS, module
from bench.agents import Scene
from bench.bulk import fill
from bench.kernel_cases import CASES, Case
from bench.relay import WORKLOADS
from mta.maillog import reader

ENVIRONMENT = {
    "at": "now", "commit": "abc", "cores": 2, "cpu": "some", "memory_gb": 24.0, "system": "Linux",
    "python": "3.11", "disk": "ext4",
}  # fmt: skip


def relay(*cpu: float, rate: float = 5000.0, agent: str = "mailrace") -> dict[str, Any]:
    rows = [{"agent": agent, "complete": True, "cpu_us": c, "rate": rate} for c in cpu]
    return {
        "scenario": "relay", "workload": {"name": "standard"}, "rows": rows,
        "environment": ENVIRONMENT, "title": "10 kB",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "worse"),
    [
        ((200.0, 200.0), (204.0, 204.0), False),  # within 5 %
        ((200.0, 200.0), (220.0, 220.0), True),
        ((180.0, 200.0, 220.0), (225.0, 225.0), True),
        ((160.0, 200.0, 240.0), (235.0, 235.0), False),  # the old one spreads by 20 %
        ((200.0, 200.0), (150.0, 150.0), False),
    ],
)
def test_worse_is_what_grew_beyond_noise(
    old: tuple[float, ...], new: tuple[float, ...], worse: bool
) -> None:
    cpu, rate = compare.compare(relay(*old), relay(*new, rate=10.0))
    assert cpu.worse is worse
    assert not rate.worse  # wall-clock is not judged


def test_instructions_are_judged_by_one_percent() -> None:
    def result(count: int) -> dict[str, Any]:
        return {
            "scenario": "kernels",
            "instructions": {"reply": count},
            "times": {"reply": {"compiled": 1.0}},
        }

    assert not compare.compare(result(1000), result(1009))[0].worse
    assert compare.compare(result(1000), result(1011))[0].worse


DUMP = """version: 1
creator: callgrind-3.19.0
positions: line
events: Ir
totals: 1234

ob=(1) /usr/lib/libpython3.11.so.1.0
fl=(1) ceval.c
fn=(1) eval
12 100
+3 20
cob=(2) /x/mta/_speedups/dots.cpython-311-x86_64-linux-gnu.so
cfn=(2) put
calls=5 40
* 70
-2 3

ob=(2)
fn=(2)
40 70
fi=(7) other.h
9 5

ob=(1)
fn=(3) eval'2
1 7
"""


def test_a_dump_of_callgrind_is_summed_without_what_was_called() -> None:
    costs = instructions.parse(DUMP.splitlines(keepends=True))
    assert costs.objects == {"libpython3": 130, "dots": 75}
    assert costs.functions[("libpython3", "eval")] == 123
    assert costs.functions[("dots", "put")] == 75
    assert costs.total == 205
    row = instructions.row(costs, 5, 1)
    assert row["instructions"] == 41
    assert row["functions"] == [["libpython3", "eval", 25]]


def test_instructions_of_a_message_are_judged_and_their_parts_shown() -> None:
    def result(*counts: int) -> dict[str, Any]:
        rows = [
            {"instructions": n, "objects": {"libc": n // 2}, "functions": [["libc", "f", n]]}
            for n in counts
        ]
        return {
            "scenario": "instructions", "title": "10 kB", "count": 100, "rows": rows,
            "environment": ENVIRONMENT,
        }  # fmt: skip

    same, part = compare.compare(result(1000, 1004), result(1010, 1011))
    assert not same.worse and not part.worse
    worse, part = compare.compare(result(1000, 1004), result(1100, 1104))
    assert worse.worse and part.change > 0.09 and not part.worse
    assert "| libc | 500 | 50.0% |" in instructions.page(result(1000))


def test_instructions_are_left_out_where_valgrind_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    configure, call = module("instructions")
    parser = argparse.ArgumentParser()
    configure(parser)
    assert call(parser.parse_args([])) == 0
    [line] = capsys.readouterr().out.splitlines()
    assert line == "instructions: skipped, valgrind is not installed (apt-get install valgrind)"


def test_compare_of_folders_fails_on_a_regression(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, cpu in (("old", 200.0), ("new", 300.0)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "relay-standard.json").write_text(json.dumps(relay(cpu, cpu)))
    old, new = tmp_path / "old", tmp_path / "new"
    assert compare.main(argparse.Namespace(old=old, new=new)) == 1
    assert "+50.0%" in capsys.readouterr().out
    assert compare.main(argparse.Namespace(old=new, new=old)) == 0
    assert compare.main(argparse.Namespace(old=old, new=tmp_path)) == 2
    file = old / "relay-standard.json"
    assert compare.main(argparse.Namespace(old=file, new=file)) == 0


def test_chart_has_a_bar_for_each_agent(tmp_path: Path) -> None:
    result = relay(200.0)
    result["rows"] += relay(3000.0, agent="post<fix")["rows"]
    path = tmp_path / "r.json"
    path.write_text(json.dumps(result))
    assert chart.main(argparse.Namespace(result=path, out=None)) == 0
    text = path.with_suffix(".svg").read_text()
    root = ElementTree.fromstring(text)
    bars = [one for one in root.iter() if one.tag.endswith("rect") and one.get("rx")]
    assert [bar.get("fill") for bar in bars] == [chart.OURS, chart.OTHERS]
    widths = [float(bar.get("width", 0)) for bar in bars]
    assert widths[0] < widths[1]
    assert "3,000 us (15.0 times)" in text


def test_the_readme_has_the_figures_of_the_results() -> None:
    page = readme.README.read_text()
    assert readme.filled(page) == page, "`mta bench readme` brings it up to date"
    picture = readme.report.RESULTS / "relay-standard.svg"
    assert picture.read_text() == readme.drawn(), "so it does the chart"


def results(folder: Path, name: str, *agents: tuple[str, float, float]) -> None:
    """A result of `relay`: agent, CPU, rate."""
    rows = [
        row for agent, cpu, rate in agents for row in relay(cpu, rate=rate, agent=agent)["rows"]
    ]
    (folder / f"relay-{name}.json").write_text(json.dumps({**relay(), "rows": rows}))


def round_of(
    repeat: int, cpu: float, rate: float, workload: str = "standard", complete: bool = True
) -> dict[str, Any]:
    """A run of `receivers`."""
    more = dict.fromkeys(("accept_p99_us", "deliver_p50_us", "lost", "duplicates"), 0)
    return {
        "workload": workload, "repeat": repeat, "cpu_us": cpu, "rate": rate, "count": 1000,
        "complete": complete, **more,
    }  # fmt: skip


def test_receivers_are_held_against_the_plain_case_of_their_round(tmp_path: Path) -> None:
    rows = [
        round_of(0, 100, 6000), round_of(0, 150, 3000, "dot"),
        round_of(1, 200, 3000), round_of(1, 220, 2700, "dot"),
        round_of(2, 100, 6000), round_of(2, 110, 5700, "dot"),
        round_of(3, 100, 6000, complete=False), round_of(3, 900, 1, "dot"),
        round_of(2, 500, 1000, "latency", complete=False),
    ]  # fmt: skip
    (cost,) = receivers.costs(rows)
    assert cost.workload == "dot"
    assert (round(cost.rate, 3), round(cost.cpu, 3)) == (0.9, 1.1)
    text = receivers.page({"rows": rows, "environment": report.environment(tmp_path)})
    assert "| 90% |" in text
    assert "| 1.10 |" in text
    assert "no complete run" in text
    found = compare.figures({"scenario": "receivers", "rows": rows})
    assert found["receivers dot: CPU us"].values == [150, 220, 110, 900]


def test_the_readme_tells_what_was_promised_and_where_we_are_slower(tmp_path: Path) -> None:
    results(tmp_path, "standard", ("mailrace", 200, 5000), ("postfix", 3000, 500))
    rows = [round_of(0, 200, 5000), round_of(0, 300, 4000, "hops")]
    (tmp_path / "receivers.json").write_text(json.dumps({"rows": rows}))
    text = readme.text(tmp_path)
    assert "| 10 kB: CPU of a message | durable, plaintext, unsigned | 200 us |" in text
    assert "| Postfix 3,000 us (15.0 times) |" in text
    assert "1.50 times the CPU of a message, 80% of the messages/s" in text
    assert "Mailrace 200" not in text  # nobody is ahead
    results(tmp_path, "standard", ("mailrace", 200, 5000), ("mailrace-1", 150, 4900))
    assert "| 200 us, one worker 150 us |  |" in readme.text(tmp_path)
    results(tmp_path, "small", ("mailrace", 200, 5000), ("exim", 150, 6000))
    text = readme.text(tmp_path)
    assert "CPU of a message, [relay-small](bench/results/relay-small.md): Exim 150 us; M" in text
    assert "messages/s, [relay-small](bench/results/relay-small.md): Exim 6,000; M" in text


def test_a_readme_without_its_markers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no"):
        readme.filled("# Mailrace")


def test_bulk_loader_writes_what_a_worker_would(tmp_path: Path) -> None:
    asyncio.run(fill(tmp_path / "spool", tmp_path / "log", 1, 30, 500, 60))
    records = [record for _, record in reader.read(tmp_path / "log" / "shard-0001", (0, 0))]
    assert [record["type"] for record in records] == ["Reception"] * 30
    assert records[7]["recipients"] == ["user@d7.waits.example"]
    assert records[7]["campaign"] == "c7"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_kernel_cases_do_some_work(case: Case) -> None:
    for call in case.calls().values():
        call()
    assert set(case.calls()) - {"compiled"}


def test_content_cases_agree() -> None:
    content = next(case for case in CASES if case.name.startswith("content"))
    assert content.twin is not None and content.other is not None
    assert content.ours() == content.twin().body == content.other()  # type: ignore[attr-defined]


def test_pages_name_the_figures() -> None:
    times = {case.name: {"compiled": 2.0, "twin": 50.0} for case in CASES}
    text = kernels.page(
        {"environment": ENVIRONMENT, "times": times, "instructions": {CASES[0].name: 12345}}
    )
    assert f"| {CASES[0].name} | 2.00 | 12,345 | 50.00 |" in text
    assert "| 25.0 |" in text
    accepting = {"p99_us": 5000, "of": 1000}
    part = {"asked": 10, "refused": 0, "pss_each": 2000, "kernel_each": 9000}
    incoming = {
        **part, "open": 10, "seconds": 1.5, "noops_per_second": 5.0,
        "accepting_without": accepting, "accepting_meanwhile": accepting,
    }  # fmt: skip
    outgoing = {
        **part, "peak_connections": 9, "lost": 0, "seconds_to_peak": 3.0, "held": 40.0, "hops": 3,
    }  # fmt: skip
    text = sessions.page({"environment": ENVIRONMENT, "incoming": incoming, "outgoing": outgoing})
    assert "| open at once | 10 | 9 |" in text
    rates = {"rate": 4000.0, "cpu_us": 200.0, "rows": [{}] * 3}
    loaded = {
        "greeting": 1.0, "first_message": 2.0, "pss": 1e8, "pss_after": 2e8, "bursts": rates,
        "retries": {"cpu_us_each": 450.0, "retried": 10_000, "seconds": 1.0},
        "acts": {"hold": {"answered": 0.1, "ended": 0.5, "cpu_seconds": 3.0}},
    }  # fmt: skip
    found = {
        "waiting": 1_000_000, "size": 1024, "rate_share": 0.9, "loaded": loaded,
        "empty": {"greeting": 0.5, "found": rates},
    }  # fmt: skip
    text = backlog.page({"environment": ENVIRONMENT, "found": found})
    assert "| messages that wait, put off once | 1,000,000 of 1,024 octets |" in text
    assert "| share of the empty queue's rate | 90% |" in text
    assert "put off again, without the sweep | 150 us |" in text


def test_what_waits_is_routed_before_all_else(tmp_path: Path) -> None:
    command = backlog.Waiting(tmp_path, Scene()).command()
    routes = [command[at + 1] for at, word in enumerate(command) if word == "--route"]
    assert [route.partition("=")[0] for route in routes] == ["*.waits.example", "*"]


@pytest.mark.parametrize("name", ["all", *SCENARIOS, *TOOLS])
def test_every_scenario_has_options_and_says_what_it_is(name: str) -> None:
    configure, call = module(name)
    parser = argparse.ArgumentParser()
    configure(parser)
    assert call.__doc__
    assert parser.format_help()


def test_the_whole_suite_has_every_scenario_and_workload_once() -> None:
    plan = suite.steps()
    assert {step.words[0] for step in plan} == set(SCENARIOS)
    workloads = [step.words[2] for step in plan if step.words[0] == "relay"]
    assert sorted(workloads) == sorted(WORKLOADS)
    assert sum(step.minutes for step in plan) < 5 * 60
    for step in plan:  # as `mta bench` would read it
        configure, _ = module(step.words[0])
        parser = argparse.ArgumentParser()
        configure(parser)
        more = ["--folder", "/x"] if step.stores else []
        parser.parse_args([*step.words[1:], "--results", "/y", *more])


def test_a_step_that_does_not_end_is_ended_and_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MAILRACE_BENCH_NETWORK", "")
    slow, wrong = (
        suite.Step(("kernels", "--seconds", "30"), 1e-3, stores=False),
        suite.Step(("relay", "--nonsense"), 1),
    )
    monkeypatch.setattr(suite, "steps", lambda: [slow, wrong])
    assert suite.main(argparse.Namespace(folder=tmp_path, results=tmp_path)) == 1
    last = capfd.readouterr().out.split()[-12:]
    assert " ".join(last).endswith("kernels: given up after 0 minutes relay: failed")


def test_tools_of_postfix_are_named_where_they_are_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(traffic, "tool", lambda name: None)
    assert len(traffic.missing()) == 2
    assert "apt-get install postfix" in traffic.missing()[0]


def test_mta_bench_runs_a_scenario_of_the_checkout(tmp_path: Path) -> None:
    file = tmp_path / "relay.json"
    file.write_text(json.dumps(relay(200.0, 200.0)))
    command = [sys.executable, "-m", "mta.cli.main", "bench", "compare", str(file), str(file)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "relay standard: CPU us" in done.stdout
