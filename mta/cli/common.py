"""Options that commands share, and how they print."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from mta.cli import people, tables
from mta.cli.people import moment as moment
from mta.cli.people import plain as plain

Home = Annotated[
    Path | None,
    typer.Option(
        "--home",
        envvar="MTA_HOME",
        help="Home folder of the server; default: /var/lib/mailrace for root",
    ),
]
Socket = Annotated[
    Path | None,
    typer.Option(
        "--socket", envvar="MTA_SOCKET", help="Control socket; default: HOME/control.sock"
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON")]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", "-c", envvar="MTA_CONFIG", help="Configuration file")
]
Override = Annotated[
    list[str] | None,
    typer.Option("-o", metavar="KEY=VALUE", help="Set a setting; may be repeated"),
]
Wide = Annotated[bool, typer.Option("--wide", "-w", help="Show all columns in full, however wide")]
LogDir = Annotated[
    Path | None,
    typer.Option(
        "--log-dir", help="Folder of the log; default: the running server's, else HOME/log"
    ),
]

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


def print_table(
    rows: Sequence[dict[str, Any]],
    columns: Sequence[str],
    *,
    first: Sequence[str] = (),
    wide: bool = False,
) -> None:
    """Rows as a table: these columns as far as any row has them; all there are if none is named.

    Where a terminal is narrow, the columns `first` are kept before the others.
    """
    present = {key for row in rows for key, value in row.items() if value not in ("", None)}
    all_names = dict.fromkeys(key for row in rows for key in row)
    names = [key for key in (columns or all_names) if key in present]
    found = []
    for name in names:
        values = [row.get(name) for row in rows]
        right = all(isinstance(v, int | float) for v in values if v is not None)
        cells = [people.cell(name, value) for value in values]
        found.append(tables.Column(name, heading(name), cells, right))
    write(tables.lines(found, 0 if wide else tables.screen(), first))


def write(lines: Iterable[str]) -> None:
    """Lines on standard output, at once."""
    typer.echo("\n".join(lines))


def print_facts(
    facts: dict[str, Any],
    columns: Sequence[str] = (),
    *,
    first: Sequence[str] = (),
    wide: bool = False,
) -> None:
    """A dictionary for people: values by name, then each list of rows as a table."""
    lists = {key: value for key, value in facts.items() if is_rows(value)}
    single = flat({key: value for key, value in facts.items() if key not in lists})
    width = max((len(heading(key)) for key in single), default=0)
    for key, value in single.items():
        typer.echo(f"{heading(key):{width}}  {fact(key, value)}".rstrip())
    for key, rows in lists.items():
        typer.echo(f"\n{heading(key)}")
        print_table(rows, columns, first=first, wide=wide)


def fact(name: str, value: Any) -> str:
    """A value that stands alone: a time as moment and from now."""
    text = people.cell(name, value)
    if name in people.NEAR and isinstance(value, int) and value > people.LONG_AGO:
        return f"{people.moment(value)} ({text})"
    return text


def print_figures(
    totals: dict[str, Any], parts: list[dict[str, Any]], names: list[str], *, wide: bool = False
) -> None:
    """Figures below each other, with a column for the total and one for each part."""
    columns = [tables.Column("figure", "figure", [heading(key) for key in totals])]
    for name, values in (("total", totals), *zip(names, parts, strict=True)):
        cells = [people.cell(key, values.get(key)) for key in totals]
        columns.append(tables.Column(name, name, cells, True))
    write(tables.lines(columns, 0 if wide else tables.screen()))


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


def user() -> str:
    """Who runs this, whoever sudo made of them."""
    import pwd

    name = os.environ.get("SUDO_USER")
    if name:
        return name
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
