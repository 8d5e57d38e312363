"""Turns a TOML tree into the schema's structs and collects every problem with its path."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

from mta.config import fields, values
from mta.config.declare import Section
from mta.config.fields import Field, Path
from mta.config.schema import Config

YES = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


class Text(str):
    """A value from the command line: plain text, read by what the setting takes."""


class Problem(NamedTuple):
    """What is wrong with one key, and what would be right."""

    path: Path
    text: str
    hint: str = ""


def nearest(word: str, choices: Iterable[str]) -> str:
    """A hint that names the choice most like `word`, or "" if none is."""
    found = difflib.get_close_matches(word.lower(), [*choices], n=1, cutoff=0.6)
    return f"did you mean {found[0]}?" if found else ""


class Converter:
    """One pass over a tree; `problems` has all that was found."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def config(self, raw: dict[str, Any]) -> Config | None:
        """The configuration, or None if there are problems."""
        config = self._section(Config, raw, ())
        return None if self.problems else config

    def _fault(self, path: Path, text: str, hint: str = "") -> None:
        self.problems.append(Problem(path, text, hint))

    def _section(self, cls: Any, raw: Any, path: Path) -> Any:
        if isinstance(raw, Text):
            raw = self._toml(raw, path)
        if not isinstance(raw, dict):
            return self._fault(path, f"needs a table, not {described(raw)}")
        known: dict[str, Field] = fields.fields(cls)
        found: dict[str, Any] = {}
        named: dict[str, Any] = {}
        for key, value in raw.items():
            if key in known and key != "named":
                found[known[key].attribute] = self._field(known[key], value, (*path, key))
            elif "named" in known and isinstance(value, dict):
                named[key] = value
            else:
                self._unknown(known, key, (*path, key))
        if "named" in known:
            found["named"] = self._variants(known["named"], raw, named, path)
        if found.get("schedule") and EXPONENTIAL & raw.keys():
            self._fault((*path, "schedule"), "conflicts with initial, factor or max_interval",
                        "keep one of them")  # fmt: skip
        for field in known.values():
            if field.default is msgspec.NODEFAULT and field.attribute not in found:
                return self._fault((*path, field.name), f"is missing: {field.meaning}")
        return None if self.problems else cls(**found)

    def _unknown(self, known: dict[str, Field], key: str, path: Path) -> None:
        names = [name for name in known if name != "named"]  # its own key stands for it
        hint = nearest(key, names) or elsewhere(key) or f"known are {', '.join(names)}"
        self._fault(path, "is not a setting", hint)

    def _variants(
        self, field: Field, base: dict[str, Any], raw: dict[str, Any], path: Path
    ) -> dict[str, Section]:
        """`[retry.NAME]`: each starts from the table's own values."""
        own = {} if self.problems else {k: v for k, v in base.items() if k not in raw}
        found = {}
        for name, table in raw.items():
            merged = inherited(own, table)
            found[name] = self._section(field.item, merged, (*path, name))
        return found

    def _field(self, field: Field, raw: Any, path: Path) -> Any:
        shape = field.shape
        if shape == "section":
            return self._section(field.type, raw, path)
        if shape == "table":
            return self._table(field, raw, path)
        if shape in ("array", "list"):
            return self._list(field, raw, path, shape)
        if shape == "map":
            return self._map(field, raw, path)
        if field.optional and isinstance(raw, str) and raw.lower() == "none":
            return "none" if field.lifts else None
        value = self._scalar(field.type, field.kind, raw, path)
        if isinstance(value, int | float) and not isinstance(value, bool):
            self._bounds(field, value, path)
        return value

    def _bounds(self, field: Field, value: float, path: Path) -> None:
        if field.low is not None and value < field.low:
            low = fields.scalar_text(field.kind, type(value)(field.low)).strip('"')
            self._fault(path, f"is too small: {low} is the least")
        if field.high is not None and value > field.high:
            high = fields.scalar_text(field.kind, type(value)(field.high)).strip('"')
            self._fault(path, f"is too large: {high} is the most")

    def _table(self, field: Field, raw: Any, path: Path) -> dict[str, Any]:
        if isinstance(raw, Text):
            raw = self._toml(raw, path)
        if not isinstance(raw, dict):
            self._fault(path, f"needs tables [{fields.join(path)}.NAME], not {described(raw)}")
            return {}
        defaults = field.default if isinstance(field.default, dict) else {}
        given = raw.get("default", {})
        if "default" in defaults and isinstance(given, dict):
            built_in = {
                f.name: getattr(defaults["default"], f.attribute)
                for f in fields.fields(field.item).values()
            }
            base = {k: v for k, v in built_in.items() if v is not None}
            raw = {**raw, "default": base | given}
        found = {}
        for name, table in raw.items():
            found[name] = self._section(field.item, table, (*path, name))
        return found

    def _map(self, field: Field, raw: Any, path: Path) -> dict[str, Any]:
        if isinstance(raw, Text):
            raw = self._toml(raw, path)
        if not isinstance(raw, dict):
            self._fault(path, f"needs a table {{ NAME = value }}, not {described(raw)}")
            return {}
        kind, name, *_ = fields.strip(field.item)
        found = {}
        for key, item in raw.items():
            found[key] = self._scalar(kind, name, item, (*path, key))
            if isinstance(found[key], int | float):
                self._bounds(field, found[key], (*path, key))
        return found

    def _list(self, field: Field, raw: Any, path: Path, shape: str) -> tuple[Any, ...]:
        if isinstance(raw, Text) and raw.lstrip().startswith("["):
            raw = self._toml(raw, path)
        elif isinstance(raw, str) and shape == "list":
            raw = [type(raw)(part.strip()) for part in raw.split(",") if part.strip()]
        if not isinstance(raw, list):
            wanted = f"[[{path[-1]}]] tables" if shape == "array" else "a list"
            self._fault(path, f"needs {wanted}, not {described(raw)}")
            return ()
        kind, name, *_ = fields.strip(field.item)
        if shape == "array":
            return tuple(self._section(kind, item, (*path, str(n))) for n, item in enumerate(raw))
        return tuple(self._scalar(kind, name, item, (*path, str(n))) for n, item in enumerate(raw))

    def _toml(self, text: Text, path: Path) -> Any:
        try:
            return tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            return str(text)

    def _scalar(self, kind: Any, name: str, raw: Any, path: Path) -> Any:
        try:
            return scalar(kind, name, raw)
        except ValueError as error:
            choices = getattr(kind, "__args__", ())
            hint = nearest(str(raw), choices) if choices else ""
            return self._fault(path, str(error), hint)


EXPONENTIAL = {"initial", "factor", "max_interval"}


def inherited(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """A retry variant: the table's values, without its way of growing if it has its own."""
    if "schedule" in own:
        base = {key: value for key, value in base.items() if key not in EXPONENTIAL}
    elif EXPONENTIAL & own.keys():
        base = {key: value for key, value in base.items() if key != "schedule"}
    return base | own


def elsewhere(key: str) -> str:
    """A hint that names the table where a key of this name belongs."""
    table = fields.fields(Config).get(key)
    if table is not None and table.shape == "table":
        return f"its table is [{key}.NAME]"
    for path, field in fields.settings():
        if field.name == key:
            return f"it is {fields.join(path)}"
    return ""


def described(raw: Any) -> str:
    """A wrong value, for a message."""
    if isinstance(raw, dict):
        return "a table"
    if isinstance(raw, list):
        return "a list"
    return f'"{raw}"' if isinstance(raw, str) else str(raw).lower()


def scalar(kind: Any, name: str, raw: Any) -> Any:
    """One value of a type and kind; ValueError says what would be right."""
    if isinstance(raw, dict | list) or (isinstance(raw, bool) and kind is not bool):
        raise ValueError(f"needs {wanted(kind, name)}, not {described(raw)}")
    if name == "duration":
        return with_unit(raw)
    if name == "size":
        return values.size(raw)
    if name == "rate":
        return raw if isinstance(raw, values.Rate) else values.Rate.parse(raw)
    if kind is bool:
        value = YES.get(raw.lower()) if isinstance(raw, Text) else raw
        if isinstance(value, bool):
            return value
    elif kind in (int, float):
        return number(kind, raw)
    elif isinstance(raw, str) and (kind is str or raw in kind.__args__):
        return str(raw)
    raise ValueError(f"needs {wanted(kind, name)}, not {described(raw)}")


def with_unit(raw: Any) -> float:
    """A duration of a setting; a bare number other than 0 may be meant in any unit."""
    seconds, text = values.duration(raw), str(raw).strip()
    if seconds and text[-1].isdecimal():
        raise ValueError(f"{text} has no unit: write {text}s, {text}m, {text}h or {text}d")
    return seconds


def number(kind: Any, raw: Any) -> Any:
    """A number of this type, from a number or from the command line's text."""
    try:
        if isinstance(raw, Text) or (type(raw) is int):
            return kind(raw)
    except ValueError:
        pass
    if type(raw) is kind and raw == raw:
        return raw
    raise ValueError(f"needs {wanted(kind, '')}, not {described(raw)}")


def wanted(kind: Any, name: str) -> str:
    """What a setting takes, in words."""
    if name:
        return f"a {name}"
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
    if kind in words:
        return words[kind]
    return "one of " + ", ".join(f'"{word}"' for word in kind.__args__)
