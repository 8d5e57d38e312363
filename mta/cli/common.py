"""Options that commands share, and how they print."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

Home = Annotated[
    Path | None,
    typer.Option("--home", envvar="MTA_HOME", help="The folder of the server's files."),
]
Socket = Annotated[
    Path | None,
    typer.Option("--socket", envvar="MTA_SOCKET", help="Its control socket, if not in its home."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", "-c", envvar="MTA_CONFIG", help="Configuration file.")
]
Override = Annotated[
    list[str] | None,
    typer.Option("-o", metavar="KEY=VALUE", help="Set any setting; may be repeated."),
]
LogDir = Annotated[
    Path | None, typer.Option("--log-dir", help="The folder of the log, if not in its home.")
]

TIMES = {"time", "received", "due", "expires", "oldest", "created_us", "next_attempt"}
LONG_AGO = 10**15  # microseconds, 2001: smaller numbers under these names are counts
WORDS = {"class": ("transactional", "normal", "bulk"), "klass": ("transactional", "normal", "bulk")}
SLOW = 1.0  # seconds after which waiting is shown


def home_folder(home: Path | None) -> Path:
    """The server's folder: the option, the environment or the default."""
    from mta.config.home import absolute, default_home

    return absolute(home or os.environ.get("MTA_HOME") or default_home())


def control_socket(home: Path | None, socket: Path | None) -> Path:
    """The control socket of the server that is meant."""
    named = socket or (None if home else os.environ.get("MTA_SOCKET"))
    return Path(named) if named else home_folder(home) / "control.sock"


def pairs(overrides: Iterable[str] | None) -> list[tuple[str, str]]:
    """KEY=VALUE options as (key, value); a usage error where there is no `=`."""
    found = []
    for text in overrides or ():
        key, equals, value = text.partition("=")
        if not equals:
            raise typer.BadParameter(f'"{text}" is not KEY=VALUE', param_hint="-o")
        found.append((key.strip(), value.strip()))
    return found


def print_json(value: Any) -> None:
    """One JSON document, indented."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def print_line(value: Any) -> None:
    """One line of a JSON stream, at once."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, default=str) + "\n")
    sys.stdout.flush()


def print_table(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> None:
    """Rows as a table: these columns as far as any row has them; all there are if none is named."""
    from rich import box
    from rich.table import Table

    present = {key for row in rows for key, value in row.items() if value not in ("", None)}
    all_names = dict.fromkeys(key for row in rows for key in row)
    names = [key for key in (columns or all_names) if key in present]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in names:
        numeric = all(isinstance(row.get(name, 0), int | float) for row in rows)
        right = numeric and name not in TIMES and name not in WORDS
        table.add_column(heading(name), justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*[cell(name, row.get(name)) for name in names])
    console().print(table)


def print_facts(facts: dict[str, Any], columns: Sequence[str] = ()) -> None:
    """A dictionary for people: values by name, then each list of rows as a table."""
    tables = {key: value for key, value in facts.items() if is_rows(value)}
    plain = flat({key: value for key, value in facts.items() if key not in tables})
    width = max((len(heading(key)) for key in plain), default=0)
    for key, value in plain.items():
        typer.echo(f"{heading(key):{width}}  {cell(key, value)}".rstrip())
    for key, rows in tables.items():
        typer.echo(f"\n{heading(key)}")
        print_table(rows, columns)


def print_figures(totals: dict[str, Any], parts: list[dict[str, Any]], names: list[str]) -> None:
    """Figures below each other, with a column for the total and one for each part."""
    rows = [
        {"figure": heading(key), "total": value}
        | {name: part.get(key) for name, part in zip(names, parts, strict=True)}
        for key, value in totals.items()
    ]
    print_table(rows, ("figure", "total", *names))


def is_rows(value: Any) -> bool:
    """Whether this is a list of dictionaries."""
    return isinstance(value, list) and bool(value) and all(isinstance(r, dict) for r in value)


def flat(facts: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries as one, names joined by a blank."""
    found: dict[str, Any] = {}
    for key, value in facts.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{key} ")
        else:
            found[f"{prefix}{key}"] = value
    return found


def heading(name: str) -> str:
    """A key as people read it."""
    return name.removesuffix("_us").replace("_", " ")


def cell(name: str, value: Any) -> str:
    """A value as people read it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        if name in WORDS and 0 <= value < len(WORDS[name]):
            return WORDS[name][value]
        return moment(value) if name in TIMES and value > LONG_AGO else str(value)
    if isinstance(value, list):
        return ", ".join(cell("", item) for item in value)
    if isinstance(value, dict):
        return " ".join(f"{key}={cell(key, item)}" for key, item in value.items() if item)
    return plain(str(value))


def plain(text: str) -> str:
    """Text of strangers with its control characters made visible, against terminal tricks."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def moment(microseconds: int) -> str:
    """A time of the wall clock in UTC, to the millisecond."""
    when = datetime.fromtimestamp(microseconds // 1_000_000, UTC)
    return f"{when:%Y-%m-%d %H:%M:%S}.{microseconds % 1_000_000 // 1000:03d}Z"


def live(text: str) -> str:
    """One line over the last one of a terminal, cut to its width."""
    width = shutil.get_terminal_size().columns
    return "\r\x1b[K" + (text if len(text) < width else text[: width - 2] + "…")


def console(*, error: bool = False) -> Any:
    """A Rich console; wide where nobody looks, so that pipes get whole lines."""
    from rich.console import Console

    stream = sys.stderr if error else sys.stdout
    return Console(
        file=stream, width=None if stream.isatty() else 400, markup=False, highlight=False
    )


@contextlib.contextmanager
def waiting(text: str) -> Iterator[None]:
    """Shows `text` on a terminal if what is inside takes longer than a second."""
    if not sys.stderr.isatty():
        yield
        return
    status = console(error=True).status(text)
    timer = threading.Timer(SLOW, status.start)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        status.stop()
