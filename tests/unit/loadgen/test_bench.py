"""The bench's own arithmetic and its page; no agent is started."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from bench import report
from bench.agents import Mailrace, Postfix
from bench.group import Group


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
    assert "20.0 times" in report.ratio(ROWS)
    assert report.ratio(ROWS[:3]) == ""


def test_page_names_machine_and_commit(tmp_path: Path) -> None:
    result = {
        "environment": report.environment(tmp_path),
        "versions": {"mailrace": "Mailrace 1"},
        "rows": ROWS,
    }
    page = report.write(result, tmp_path)
    text = page.read_text()
    assert result["environment"]["commit"] in text
    assert "20.0 times the CPU" in text
    assert Mailrace.settings in text
    assert (tmp_path / "relay.json").exists()


def test_postfix_services_run_without_chroot_on_our_port(tmp_path: Path) -> None:
    agent = Postfix(tmp_path, 2625, 2526)
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
