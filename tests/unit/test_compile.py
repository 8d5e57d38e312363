"""`tools/compile.py`: what the build tells, module by module."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tools import compile as build

LINES = [
    "  Running command Building editable for mailrace (pyproject.toml)\n",
    "  [ 2/31] Cythonizing mta/queues/lanes.py\n",
    "  building 'mta.queues.lanes' extension\n",
    "  gcc -O2 -c mta/queues/lanes.c\n",
    "  building 'mta.queues.manager' extension\n",
]


def test_each_module_is_a_step() -> None:
    assert list(build.steps(LINES, 31)) == [
        "to C      2 of 31  mta/queues/lanes.py",
        "compiled  1 of 31  mta.queues.lanes",
        "compiled  2 of 31  mta.queues.manager",
    ]
    assert build.total() > 20


def test_the_log_has_all_and_the_exit_code_is_the_command_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log"
    code = f"print({''.join(LINES)!r}, end=''); raise SystemExit(3)"
    monkeypatch.setattr("sys.argv", ["compile.py", str(log), sys.executable, "-c", code])
    assert build.main() == 3
    assert log.read_text() == "".join(LINES)
    assert capsys.readouterr().out.count("\n") == 3
