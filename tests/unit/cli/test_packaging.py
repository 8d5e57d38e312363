"""The files of packaging/ and the container: what they start exists, and they are sound."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main

from mta.cli import reference
from mta.cli.main import app
from mta.cli.serve import listeners, routes
from mta.config.load import load

ROOT = Path(__file__).parent.parent.parent.parent
UNIT = (ROOT / "packaging" / "mailrace.service").read_text()
LISTS = re.compile(r'(?:CMD|command:) (\["(?!python).*\])')


def commands() -> list[list[str]]:
    """What container files and unit start, without the program."""
    found = [
        json.loads(match)
        for name in ("Dockerfile", "compose.yaml")
        for match in LISTS.findall((ROOT / name).read_text())
    ]
    start = re.search(r"^ExecStart=\S+/mta (.*)$", UNIT, re.MULTILINE)
    assert start is not None
    return [*found, start[1].split()]


@pytest.mark.parametrize("words", commands(), ids=lambda words: " ".join(words)[:40])
def test_commands_and_options_exist(words: list[str], tmp_path: Path) -> None:
    known: dict[str, Any] = {
        path[1]: command for path, command in reference.walk(typer.main.get_command(app), ("mta",))
    }
    context = known[words[0]].make_context("mta", words[1:])
    given = context.params
    if words[0] == "serve":
        pairs = [tuple(text.split("=", 1)) for text in given["override"] or ()]
        flags = listeners(given["listen"]) + routes(given["route"])
        load(None, [*flags, *pairs], tmp_path)  # every setting is one


def test_there_is_something_to_check() -> None:
    assert [words[0] for words in commands()] == ["serve", "serve", "sink", "serve"]


def test_the_image_gets_what_it_copies() -> None:
    text = (ROOT / "Dockerfile").read_text()
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.MULTILINE)
    assert copied
    for name in " ".join(copied).split():
        assert (ROOT / name).exists(), name
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert not {"mta", "setup.py", "pyproject.toml", "requirements.lock"} & set(ignored)


@pytest.fixture
def analyze() -> str:
    tool = shutil.which("systemd-analyze")
    if tool is None:
        pytest.skip("systemd-analyze is not installed (Debian package systemd)")
    return tool


def installed(folder: Path) -> Path:
    """The units with a program that is there."""
    unit = folder / "mailrace.service"
    unit.write_text(re.sub(r"(?m)^ExecStart=\S+/mta", f"ExecStart={sys.executable}", UNIT))
    shutil.copy(ROOT / "packaging" / "mailrace.socket", folder)
    return unit


def test_systemd_finds_no_fault(analyze: str, tmp_path: Path) -> None:
    unit = installed(tmp_path)
    for path in (unit, tmp_path / "mailrace.socket"):
        ran = subprocess.run([analyze, "verify", "--man=no", path], capture_output=True, text=True)
        said = [line for line in ran.stderr.splitlines() if "mailrace" in line]
        assert said == [] and ran.returncode == 0, ran.stderr


def test_the_unit_is_hardened(analyze: str, tmp_path: Path) -> None:
    unit = installed(tmp_path)
    command = [analyze, "security", "--offline=true", "--threshold=20", "--no-pager", unit]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 0, f"exposure is over 2.0:\n{ran.stdout}{ran.stderr}"
