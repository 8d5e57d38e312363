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

from bench import backlog, chart, compare, kernels, sessions, traffic
from bench.__main__ import module
from bench.agents import Scene
from bench.bulk import fill
from bench.kernel_cases import CASES, Case
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


@pytest.mark.parametrize("name", ["relay", "sessions", "queue", "kernels", "aiosmtpd", "compare"])
def test_every_scenario_has_options_and_says_what_it_is(name: str) -> None:
    configure, call = module(name)
    parser = argparse.ArgumentParser()
    configure(parser)
    assert call.__doc__
    assert parser.format_help()


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
