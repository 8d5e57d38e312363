"""Walks the schema: what keys a table has, of which kind, with which meaning and default."""

from __future__ import annotations

import functools
import json
import re
import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import msgspec

from mta.config import declare, schema, values

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_KEY_PART = re.compile(r'"((?:[^"\\]|\\.)*)"|\'([^\']*)\'|([^.]+)')

Path = tuple[str, ...]


class Field(NamedTuple):
    """One key of a table."""

    name: str  # in the file
    attribute: str  # on the struct
    type: Any  # without Annotated and None
    kind: str  # "duration", "size", "path", "rate" or ""
    optional: bool  # "none" may be written
    lifts: bool  # and is a value of its own, not the same as to write nothing
    meaning: str
    unit: str
    static: bool  # needs a restart
    low: float | None
    high: float | None
    default: Any  # msgspec.NODEFAULT where the key is needed

    @property
    def shape(self) -> str:
        """How it is written: section, table (of sections by name), map, array, list or value."""
        origin, arguments = get_origin(self.type), get_args(self.type)
        if origin is dict:
            return "table" if is_section(arguments[1]) else "map"
        if origin is tuple:
            return "array" if is_section(arguments[0]) else "list"
        return "section" if is_section(self.type) else "value"

    @property
    def item(self) -> Any:
        """What a table, array or list holds."""
        return get_args(self.type)[1 if get_origin(self.type) is dict else 0]


def is_section(kind: Any) -> bool:
    """Whether this type is a table of the schema."""
    return isinstance(kind, type) and issubclass(kind, declare.Section)


def strip(annotation: Any) -> tuple[Any, str, bool, msgspec.Meta | None, str]:
    """(bare type, kind, may be none, meta, unit) of an annotation."""
    kind, unit, optional, meta = "", "", False, None
    while True:
        if get_origin(annotation) is Annotated:
            annotation, *notes = get_args(annotation)
            for note in notes:
                if isinstance(note, declare.Kind):
                    kind, unit = note.name, note.unit
                elif isinstance(note, msgspec.Meta):
                    meta = note
        elif get_origin(annotation) in (types.UnionType, Union):
            optional = True
            annotation = next(a for a in get_args(annotation) if a is not type(None))
        else:
            return annotation, kind, optional, meta, unit


def lifts(annotation: Any) -> bool:
    """Whether "none" is a value of its own here."""
    inner = get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
    return schema.Lifted in get_args(inner)


@functools.cache
def fields(section: Any) -> dict[str, Field]:
    """The keys of a table, in order."""
    hints = get_type_hints(section, include_extras=True)
    found = {}
    for info in msgspec.structs.fields(section):
        kind, name, optional, meta, unit = strip(hints[info.name])
        extra: dict[str, Any] = (meta.extra or {}) if meta else {}
        default = info.default
        if info.default_factory is not msgspec.NODEFAULT:
            default = info.default_factory()
        item = strip(get_args(kind)[0]) if get_origin(kind) is tuple else None
        found[info.encode_name] = Field(
            info.encode_name,
            info.name,
            kind,
            name,
            optional,
            lifts(hints[info.name]),
            (meta.description or "") if meta else "",
            extra.get("unit") or unit or (item[4] if item else ""),
            not extra.get("reload", True),
            extra.get("ge"),
            extra.get("le"),
            default,
        )
    return found


def join(path: Path) -> str:
    """A path as one key: `limits.site."example.com".rate`."""
    return ".".join(part if _BARE_KEY.fullmatch(part) else json.dumps(part) for part in path)


def split(key: str) -> Path:
    """The parts of a dotted key; ValueError if it is none."""
    parts: list[str] = []
    at = 0
    while True:
        match = _KEY_PART.match(key, at)
        if match is None:
            raise ValueError(f'"{key}" is not a key: write it like smtpd.max_size')
        quoted, literal, bare = match.groups()
        text = json.loads(f'"{quoted}"') if quoted is not None else (literal or bare or "").strip()
        parts.append(text)
        at = match.end()
        if at == len(key):
            return tuple(parts)
        if key[at] != ".":
            raise ValueError(f'"{key}" is not a key: write it like smtpd.max_size')
        at += 1


def text(field: Field, value: Any) -> str:
    """A value as it is written in the file."""
    if value is None:
        return '"none"'
    if isinstance(value, dict):
        kind = strip(field.item)[1]
        pairs = ", ".join(f"{join((k,))} = {scalar_text(kind, v)}" for k, v in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    if isinstance(value, tuple | list):
        inner = strip(field.item)
        return "[" + ", ".join(scalar_text(inner[1], item) for item in value) + "]"
    return scalar_text(field.kind, value)


def scalar_text(kind: str, value: Any) -> str:
    """A single value as it is written in the file."""
    if kind == "secret":
        return '"***"' if value else '""'
    if kind == "duration":
        return json.dumps(values.duration_text(value))
    if kind == "size":
        return json.dumps(values.size_text(value)) if value else "0"
    if isinstance(value, values.Rate | str):
        return json.dumps(str(value))
    return json.dumps(value)


def walk(section: declare.Section, path: Path = ()) -> Iterator[tuple[Path, Field, Any]]:
    """(path, field, value) of every value of a configuration, in the order of the schema.

    Limits that are not set have none of their own: what is more general counts.
    """
    for field in fields(type(section)).values():
        value, shape = getattr(section, field.attribute), field.shape
        here = path if field.attribute == "named" else (*path, field.name)
        if shape == "section":
            yield from walk(value, here)
        elif shape == "table":
            for name, item in value.items():
                yield from walk(item, (*here, name))
        elif shape == "array":
            for number, item in enumerate(value):
                yield from walk(item, (*here, str(number)))
        elif value is not None or not field.lifts:
            yield here, field, value


def settings(
    section: type[declare.Section] = schema.Config, path: Path = ()
) -> Iterator[tuple[Path, Field]]:
    """(path, field) of every setting there is; NAME and N stand for what users choose."""
    for field in fields(section).values():
        shape = field.shape
        here = path if field.attribute == "named" else (*path, field.name)
        if shape == "section":
            yield from settings(field.type, here)
        elif shape == "table":
            yield from settings(field.item, (*here, "NAME"))
        elif shape == "array":
            yield from settings(field.item, (*here, "N"))
        else:
            yield here, field


def allowed(field: Field) -> tuple[str, ...]:
    """The words that a setting takes, if it is a choice."""
    return get_args(field.type) if get_origin(field.type) is Literal else ()
