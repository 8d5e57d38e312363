"""`mta config`: write, check and show the configuration."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from mta.cli import common
from mta.cli.common import ConfigFile, Home, Json, Override, Socket, pairs

File = Annotated[
    Path | None, typer.Argument(metavar="FILE", help="Configuration file, same as --config")
]
NEW = Path("mailrace.toml")

config = typer.Typer(help="Write, check, show and reload the configuration.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(config, name="config")


@config.command()
def init(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE",
            help="File to write, - = standard output; default: mailrace.toml, or standard output"
            " if that is not a terminal",
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="File to write, same as FILE")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file")] = False,
    as_json: Json = False,
) -> None:
    """Write a configuration file that lists every setting with its default, as comments."""
    from mta.cli.reference import template
    from mta.errors import ConfigError

    file = one_file(file, config)
    if str(file) == "-" or not (file or as_json or sys.stdout.isatty()):
        typer.echo(template(), nl=False)
        return
    file = file or NEW
    try:
        with file.open("w" if force else "x", encoding="utf-8") as out:
            out.write(template())
    except FileExistsError:
        raise ConfigError("already exists", where=str(file), hint="--force replaces it") from None
    except OSError as error:
        raise ConfigError(f"cannot be written: {error.strerror}", where=str(file)) from None
    if as_json:
        common.print_json({"file": str(file)})
    else:
        typer.echo(f"wrote {file}, every setting as a comment; use it: mta serve --config {file}")


def one_file(argument: Path | None, option: Path | None) -> Path | None:
    """FILE, or else --config; a usage error where they differ."""
    if argument and option and argument != option and str(option) != os.environ.get("MTA_CONFIG"):
        raise typer.BadParameter(f"{argument} and --config {option} are two files: name one")
    return argument or option


@config.command()
def check(
    file: File = None,
    config: ConfigFile = None,
    override: Override = None,
    offline: Annotated[
        bool,
        typer.Option(
            "--offline",
            help="Check a file for another machine: skip files, users and addresses that this one"
            " may lack",
        ),
    ] = False,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Check a configuration and print each problem with file, line and key; exits with 1 if any."""
    from mta.config.load import examine

    file = one_file(file, config)
    found = examine(file, pairs(override), home, offline=offline)
    if as_json:
        rows = [
            {"where": e.where, "key": e.key, "problem": e.problem, "hint": e.hint}
            for e in found.problems
        ]
        common.print_json({"ok": not rows, "problems": rows})
    else:
        for error in found.problems:
            typer.echo(str(error))
        if not found.problems:
            typer.echo(f"{file or 'the built-in configuration'} is fine")
    raise typer.Exit(1 if found.problems else 0)


@config.command()
def show(
    file: File = None,
    config: ConfigFile = None,
    override: Override = None,
    changed: Annotated[
        bool, typer.Option("--changed", help="Show only settings that differ from their default")
    ] = False,
    running: Annotated[
        bool, typer.Option("--running", help="Show the settings of the running server")
    ] = False,
    home: Home = None,
    socket: Socket = None,
    as_json: Json = False,
) -> None:
    """Show every setting and where it was given, in the format of -o."""
    rows = ask(home, socket) if running else effective(one_file(file, config), override, home)
    rows = [row for row in rows if not changed or row.get("from")]
    if as_json:
        common.print_json(rows)
        return
    for row in rows:
        given = f"  # {row['from']}" if row.get("from") else ""
        typer.echo(f"{row['key']} = {row['value']}{given}")


def ask(home: Path | None, socket: Path | None) -> list[dict[str, Any]]:
    """The settings of the running server; what differs from the defaults is marked."""
    from mta.cli import control
    from mta.config.load import from_json, load

    import json  # isort: skip

    found = from_json(json.dumps(control.ask(common.control_socket(home, socket), "config.show")))
    usual = {row["key"]: row["value"] for row in rows_of(load(None, (), found.home))}
    return [
        row | {"from": "" if usual.get(row["key"]) == row["value"] else "running server"}
        for row in rows_of(found)
    ]


def effective(
    file: Path | None, override: list[str] | None, home: Path | None
) -> list[dict[str, Any]]:
    """The settings that `mta serve` would have, each with its place."""
    from mta.config import fields
    from mta.config.load import examine, load

    given = pairs(override)
    found = examine(file, given, home, offline=True)
    if found.config is None:
        load(file, given, home, offline=True)
    assert found.config is not None
    source = found.source
    rows = rows_of(found.config)
    for row in rows:
        path = fields.split(row["key"])
        row["from"] = source.where(path) if source.has(path) else ""
    return rows


def rows_of(config: Any) -> list[dict[str, Any]]:
    """(key, value as it is written) of every setting that counts."""
    from mta.config import fields
    from mta.config.convert import EXPONENTIAL

    found = [(path, field, value) for path, field, value in fields.walk(config)]
    scheduled = {path[:-1] for path, field, value in found if field.name == "schedule" and value}
    return [
        {"key": fields.join(path), "value": fields.text(field, value)}
        for path, field, value in found
        if not (path[:-1] in scheduled and field.name in EXPONENTIAL)
    ]


@config.command()
def reload(home: Home = None, socket: Socket = None, as_json: Json = False) -> None:
    """Make the running server read its configuration again; a bad file changes nothing."""
    from mta.cli import control

    with common.waiting("reloading"):
        found = control.ask(common.control_socket(home, socket), "reload")
    if as_json:
        common.print_json(found)
        return
    typer.echo("reloaded")
    waiting = found.get("restart") if isinstance(found, dict) else None
    if waiting:
        typer.echo(f"restart to apply {', '.join(waiting)}")


@config.command()
def reference(as_json: Json = False) -> None:
    """Print the reference of all settings, commands and log records."""
    from mta.cli import reference as text

    if as_json:
        common.print_json(text.settings_json())
    else:
        typer.echo(text.reference(), nl=False)
