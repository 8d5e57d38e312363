"""The documents know every setting, command and option there is."""

from __future__ import annotations

import dataclasses
import inspect
import re
import shlex
from pathlib import Path

import pytest
import typer.main

from mta.alarms import ALARMS
from mta.cli import record_fields, reference
from mta.cli.main import app
from mta.config import fields
from mta.config.load import examine
from mta.hooks import HOOKS
from mta.maillog import records
from mta.metrics import METRICS, Metric

HOOKS_TEXT = (Path(__file__).parent.parent / "docs" / "hooks.md").read_text(encoding="utf-8")
ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")


def test_the_reference_is_up_to_date() -> None:
    assert reference.reference() == TEXT, "`make docs` brings it up to date"


@pytest.mark.parametrize("key", [".".join(path) for path, _ in fields.settings()])
def test_every_setting_is_documented(key: str) -> None:
    plain = key.replace("retry.NAME.", "retry.")  # variants have the same settings
    assert f"| `{plain}` |" in TEXT


def test_every_record_type_and_field_is_documented() -> None:
    assert set(record_fields.TYPES) == set(records.TYPES)
    assert set(record_fields.FIELDS) == set(records.Record.__struct_encode_fields__)
    for name in (*record_fields.TYPES, *record_fields.FIELDS):
        assert f"| `{name}` |" in TEXT


def test_every_command_and_option_is_documented() -> None:
    for path, command in reference.walk(typer.main.get_command(app), ("mta",)):
        start = TEXT.index(f"### `{' '.join(path)}")
        section = TEXT[start:].split("\n##")[0]
        for parameter in command.params:
            if parameter.opts[0].startswith("-") and not parameter.hidden:
                assert parameter.help, (path, parameter.name)
                assert all(f"`{name}`" in section for name in parameter.opts), (path, parameter)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_every_metric_is_documented(metric: Metric) -> None:
    label = f"{{{metric.label}}}" if metric.label else ""
    assert metric.doc and f"| `{metric.name}{label}` | {metric.kind} | {metric.doc} |" in TEXT


def test_every_alarm_is_documented() -> None:
    assert all(meaning and f"| `{name}` | {meaning} |" in TEXT for name, meaning in ALARMS.items())


@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_is_documented(name: str) -> None:
    hook = HOOKS[name]
    call = inspect.signature(hook.signature.__call__)
    [argument] = list(call.parameters.values())[1:]
    answers = " | ".join([*(kind.__name__ for kind in hook.answers), "None"])
    start = HOOKS_TEXT.index(f"\n### `{name}`\n")
    section = HOOKS_TEXT[start:].split("\n##")[1]
    kind = str(argument.annotation).partition("[")[0]
    assert f"`{name}({argument.name}: {kind}) -> {answers}`" in section
    assert hook.signature.__doc__
    for answer in hook.answers:
        for field in dataclasses.fields(answer):
            assert f"`{field.name}`" in HOOKS_TEXT or f"({field.name})" in HOOKS_TEXT, field.name


TEXTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
ELSEWHERE = "cannot be read|is no file|this machine does not have it"  # true of an example


def blocks(language: str) -> list[str]:
    """The code of this language in README and docs/."""
    return [b for p in TEXTS for b in re.findall(rf"```{language}\n(.*?)```", p.read_text(), re.S)]


@pytest.mark.parametrize("block", blocks("toml"))
def test_every_example_of_a_configuration_is_one(block: str, tmp_path: Path) -> None:
    file = tmp_path / "example.toml"
    file.write_text(block)
    problems = [str(problem) for problem in examine(file, (), tmp_path).problems]
    assert not [text for text in problems if not re.search(ELSEWHERE, text)]


def commands() -> list[list[str]]:
    """Every `mta` command line in the shell examples."""
    text = "\n".join(blocks("sh")).replace("\\\n", " ")
    lines = (shlex.split(line, comments=True) for line in text.splitlines())
    found = [words for words in lines if words and words[0].rpartition("/")[2] == "mta"]
    return [[word for word in words[1:] if word != "&"] for words in found]


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_example_of_a_command_is_one(words: list[str], tmp_path: Path) -> None:
    command = typer.main.get_command(app)
    while hasattr(command, "commands"):
        command, words = command.commands[words[0]], words[1:]
    given = command.make_context("mta", list(words)).params
    pairs = [text.partition("=")[::2] for text in given.get("override") or ()]
    assert not examine(None, pairs, tmp_path).problems


def test_there_are_examples() -> None:
    assert len(blocks("toml")) > 4
    assert len(commands()) > 8
