"""The app as a whole: help, versions, mistakes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

from mta.cli import reference
from mta.cli.grouped import GROUPS
from mta.cli.main import app
from tests.unit.cli.conftest import Run, get_command

HEAVY = ("msgspec", "rich.console", "dns", "asyncio", "uvloop", "rocksdict", "mta.config")


def test_help_names_every_command(run: Run) -> None:
    ran = run("--help")
    assert ran.code == 0
    for name in ("serve", "status", "queue", "logs", "config", "doctor"):
        assert name in ran.out


def test_version(run: Run) -> None:
    assert run("--version").out.startswith("mailrace 0")


@pytest.mark.parametrize(
    "arguments",
    [["nonsense"], ["queue", "show"], ["status", "--nope"], ["queue", "list", "-n", "x"]],
)
def test_usage_errors_are_2(run: Run, arguments: list[str]) -> None:
    ran = run(*arguments)
    assert ran.code == 2
    assert "Error:" in ran.err


def test_every_command_takes_help_and_has_one(run: Run) -> None:
    commands = list(reference.walk(typer.main.get_command(app), ()))
    assert len(commands) >= 24
    for path, command in commands:
        assert command.help, path
        assert run(*path, "--help").code == 0


def test_every_command_prints_json_but_serve() -> None:
    for path, command in reference.walk(typer.main.get_command(app), ()):
        options = {name for parameter in command.params for name in parameter.opts}
        others = (("serve",), ("sendmail",), ("bench",))  # bench writes JSON into bench/results
        assert "--json" in options or path in others, path


def test_an_unexpected_error_is_a_line_and_a_file(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("mta.cli.common.home_folder", lambda home: 1 // 0)
    ran = run("status")
    (file,) = tmp_path.iterdir()
    assert ran.code == 1
    assert ran.err.startswith("mta: unexpected error: ZeroDivisionError: integer division")
    assert ran.err.endswith(f"(see {file})\n")
    assert "Traceback" in file.read_text()


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['mta', '--help']\n"
        "try:\n    from mta.cli.main import main; main()\n"
        f"finally: print([n for n in {HEAVY!r} if n in sys.modules], file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stderr.strip() == "[]"


def test_every_command_has_its_heading(run: Run) -> None:
    listed = [name for names in GROUPS.values() for name in names]
    assert set(get_command(app).commands) <= set(listed)  # type: ignore[attr-defined]
    assert len(listed) == len(set(listed))
    out = run("--help").out
    places = [out.index(f"\n{title}:") for title in GROUPS]
    assert places == sorted(places)
    assert out.index("\nLook:") < out.index("  status ") < out.index("\nSteer:")
    assert max(map(len, out.splitlines())) <= 80
