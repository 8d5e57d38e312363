"""Puts file, command line and defaults together; every error names its place."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from mta.config import check, fields
from mta.config.convert import EXPONENTIAL, Converter, Problem, Text
from mta.config.home import absolute, default_home
from mta.config.kinds import Table
from mta.config.listener import DEFAULT_LISTEN
from mta.config.positions import Positions
from mta.config.schema import Config
from mta.errors import ConfigError

COMMAND_LINE = "command line"
_AT_LINE = re.compile(r"(.*?) \(at (?:line (\d+), column \d+|end of document)\)")

Overrides = Iterable[tuple[str, str]]


class Examined(NamedTuple):
    """What came out: a configuration, or the problems that prevent it."""

    config: Config | None
    problems: list[ConfigError]
    source: Source


class Source:
    """The tree of all that was given, and where each part was given."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.tree: dict[str, Any] = {}
        self.given: set[fields.Path] = set()  # by the command line
        self._positions: Positions | None = None
        self._shift: dict[str, int] = {}  # entries put before those of the file
        if path is not None:
            text = read(path)
            self.tree = parse(path, text)
            self._positions = Positions(text)

    def where(self, path: fields.Path) -> str:
        """`file:line`, "command line", or "" for what is a default."""
        if any(path[: len(given)] == given or given[: len(path)] == path for given in self.given):
            return COMMAND_LINE
        line = self.line(path)
        return f"{self.path}:{line}" if line else (str(self.path) if self.path else "")

    def line(self, path: fields.Path) -> int:
        """The file's line of the nearest thing above this path; 0 if it is not in the file."""
        if self._positions is None or not path:
            return 0
        shift = self._shift.get(path[0], 0)
        if shift and len(path) > 1:
            path = (path[0], str(int(path[1]) - shift), *path[2:])
        return self._positions.line(path)

    def has(self, path: fields.Path) -> bool:
        """Whether the user gave this very setting."""
        node: Any = self.tree
        for part in path:
            if isinstance(node, list) and part.isdecimal() and int(part) < len(node):
                node = node[int(part)]
            elif isinstance(node, dict) and part in node:
                node = node[part]
            else:
                return False
        return True

    def apply(self, overrides: Overrides) -> None:
        """Set what the command line says; `route.+` puts entries before those of the file."""
        first: dict[str, list[Any]] = {}
        for key, given in overrides:
            path, value = self._split(key), unquoted(given)
            if len(path) == 2 and path[1] == "+":
                first.setdefault(path[0], []).append(Text(value))
            else:
                self._set(path, whole(Text(value)) if len(path) == 1 else Text(value))
        for name, entries in first.items():
            self.tree[name] = entries + list(self.tree.get(name, []))
            self._shift[name] = len(entries)
            self.given |= {(name, str(number)) for number in range(len(entries))}

    def _split(self, key: str) -> fields.Path:
        try:
            return fields.split(key)
        except ValueError as error:
            raise ConfigError(str(error), where=COMMAND_LINE) from None

    def _set(self, path: fields.Path, value: Text) -> None:
        self.given.add(path)
        if path[-1] == "schedule" and path[0] == "retry":
            self.tree["retry"] = without_growth(self.tree.get("retry"), path[1:-1])
        if path[0] == "listener" and len(path) > 1:
            self.tree.setdefault("listener", [{"listen": DEFAULT_LISTEN}])
        node: Any = self.tree
        for number, part in enumerate(path[:-1]):
            child: Any = [] if number == 0 and part in ("listener", "route") else {}
            node = self._child(node, part, child, path)
        if isinstance(node, list):
            self._child(node, path[-1], None, path)
            node[int(path[-1])] = value
        else:
            node[path[-1]] = value

    def _child(self, node: Any, part: str, missing: Any, path: fields.Path) -> Any:
        """The part of a table or list, made if it is missing; later parts need a container."""
        if isinstance(node, list):
            if not part.isdecimal() or int(part) > len(node):
                hint = f"write {path[0]}.0 for the first, up to {path[0]}.{len(node)} for a new one"
                raise ConfigError(f'there is no entry "{part}"', key=fields.join(path),
                                  where=COMMAND_LINE, hint=hint)  # fmt: skip
            if int(part) == len(node):
                node.append({} if missing is None else missing)
            found = node[int(part)]
        else:
            found = node.setdefault(part, missing)
        if missing is not None and not isinstance(found, dict | list):
            raise ConfigError(f'"{part}" has no settings below it', key=fields.join(path),
                              where=COMMAND_LINE)  # fmt: skip
        return found

    def error(self, problem: Problem) -> ConfigError:
        """The error that people see."""
        where = self.where(problem.path)
        return ConfigError(
            problem.text, key=fields.join(problem.path), where=where, hint=problem.hint
        )


def unquoted(text: str) -> str:
    """What a text in quotes stands for, as in TOML; others stay as they are."""
    if text[:1] in ("'", '"') and text[-1:] == text[:1]:
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            return text
        return value if isinstance(value, str) else text
    return text


def whole(text: Text) -> Any:
    """A table or list that is given as one text, so that later settings can go below it."""
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    return value if isinstance(value, dict | list) else text


def without_growth(table: Any, below: fields.Path) -> Any:
    """[retry] of the file without the keys that a schedule given later replaces."""
    if not isinstance(table, dict):
        return {}
    if below:
        inner = without_growth(table.get(below[0]), below[1:])
        return table | {below[0]: inner}
    return {key: value for key, value in table.items() if key not in EXPONENTIAL}


def read(path: Path) -> str:
    """The text of a file, or a ConfigError."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ConfigError("is not a text in UTF-8", where=str(path)) from None
    except OSError as error:
        hint = "`mta config init` writes one" if isinstance(error, FileNotFoundError) else ""
        problem = f"cannot be read: {error.strerror}"
        raise ConfigError(problem, where=str(path), hint=hint) from None


def parse(path: Path, text: str) -> dict[str, Any]:
    """The tree of a TOML text, or a ConfigError with its line."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        match = _AT_LINE.fullmatch(str(error))
        problem, line = (match[1], match[2]) if match else (str(error), None)
        line = line or str(text.count("\n") + 1)
        raise ConfigError(f"not TOML: {problem}", where=f"{path}:{line}") from None


def examine(
    path: Path | str | None,
    overrides: Overrides = (),
    home: Path | str | None = None,
    *,
    offline: bool = False,
) -> Examined:
    """Like `load`, but returns all problems instead of raising them."""
    source = Source(None)
    try:
        source = Source(Path(path) if path is not None else None)
        source.apply(overrides)
    except ConfigError as error:
        return Examined(None, [error], source)
    converter = Converter()
    config = converter.config(source.tree)
    if config is None:
        return Examined(None, [source.error(p) for p in converter.problems], source)
    config = complete(config, home)
    found = [
        ConfigError(e.problem, key=e.key, where=source.where(fields.split(e.key)), hint=e.hint)
        for e in check.problems(config, offline=offline)
    ]
    return Examined(None if found else config, found, source)


def load(
    path: Path | str | None,
    overrides: Overrides = (),
    home: Path | str | None = None,
    *,
    offline: bool = False,
) -> Config:
    """The complete configuration; the first problem is raised, with the others as its notes.

    `offline` does not ask whether this machine has the files, users and addresses it names.
    """
    config, problems, _ = examine(path, overrides, home, offline=offline)
    if config is None:
        first, *others = problems
        for other in others:
            first.add_note(str(other))
        raise first
    return config


def complete(config: Config, home: Path | str | None = None) -> Config:
    """The configuration with what depends on the machine; a `home` given here counts first."""
    base = absolute(home or config.home or default_home())
    name = config.hostname or os.uname().nodename
    workers = config.workers or min(64, len(os.sched_getaffinity(0)))
    dsn, queue, control, pickup = config.dsn, config.queue, config.control, config.pickup
    hooks = config.hooks
    cap = config.memory.cap
    bodies = queue.body_memory or max(min(256_000_000, cap // 4), min(2 * config.largest, cap // 2))
    replace = msgspec.structs.replace
    return replace(
        config,
        home=str(base),
        spool=str(absolute(config.spool or base / "spool")),
        log_dir=str(absolute(config.log_dir or base / "log")),
        workers=workers,
        shards=config.shards or workers,
        hostname=name,
        dsn=replace(
            dsn,
            sender=dsn.sender or f"mailer-daemon@{name}",
            postmaster=dsn.postmaster or f"postmaster@{name}",
        ),
        queue=replace(queue, body_memory=bodies),
        pickup=replace(pickup, folder=str(absolute(pickup.folder or base / "pickup"))),
        table={name: located(table) for name, table in config.table.items()},
        hooks=replace(hooks, file=str(absolute(hooks.file)) if hooks.file else ""),
        control=replace(control, socket=str(absolute(control.socket or base / "control.sock"))),
    )


def located(table: Table) -> Table:
    """A table whose files have absolute paths."""
    file, password = table.file, table.password_file
    return msgspec.structs.replace(
        table,
        file=str(absolute(file)) if file else "",
        password_file=str(absolute(password)) if password else "",
    )


def to_json(config: Config) -> bytes:
    """The form in which the supervisor hands it to workers."""
    return msgspec.json.encode(config)


def from_json(data: bytes | str) -> Config:
    """The inverse of `to_json`."""
    return msgspec.json.decode(data, type=Config)


def changed_static(old: Config, new: Config) -> list[str]:
    """Keys that differ and need a restart."""
    before = {path: value for path, field, value in fields.walk(old) if field.static}
    after = {path: value for path, field, value in fields.walk(new) if field.static}
    paths = [*before, *(path for path in after if path not in before)]
    return [fields.join(path) for path in paths if before.get(path) != after.get(path)]
