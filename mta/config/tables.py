"""Judges `[table.NAME]`: which options a kind needs and takes."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from mta.config import fields
from mta.config.access import unreadable
from mta.config.faults import fault
from mta.config.kinds import Table
from mta.errors import ConfigError

CACHED = ("ttl", "size", "timeout", "connections")
NEEDED = {
    "file": ("file",),
    "cidr": ("file",),
    "regex": ("file",),
    "sqlite": ("file", "query"),
    "sql": ("driver", "query"),
    "ldap": ("url", "filter", "attribute"),
    "redis": ("url",),
}
TAKES = {
    "sqlite": CACHED,
    "sql": ("dsn", "arguments", *CACHED),
    "ldap": ("base", "bind_dn", "password_file", *CACHED),
    "redis": ("key", *CACHED),
}
SCHEMES = {"ldap": ("ldap", "ldaps", "ldapi"), "redis": ("redis", "rediss", "unix", "valkey")}


def problems(name: str, table: Table, user: str) -> Iterator[ConfigError]:
    """All of one table; `user` is whom the server becomes, "" for none."""
    kind, path = table.kind, ("table", name)
    options = (*NEEDED[kind], *TAKES.get(kind, ()))
    for field in fields.fields(Table).values():
        value = getattr(table, field.attribute)
        if field.name != "kind" and field.name not in options and value != field.default:
            hint = f"it takes {', '.join(options)}"
            yield fault(f"is not an option of a {kind} table", *path, field.name, hint=hint)
    for option in NEEDED[kind]:
        if not getattr(table, option):
            yield fault(f"is missing: a {kind} table needs it", *path, option)
    yield from files(table, path, user)
    if kind in SCHEMES and table.url and urlsplit(table.url).scheme not in SCHEMES[kind]:
        wanted = ", ".join(f"{scheme}://" for scheme in SCHEMES[kind])
        yield fault(f'"{table.url}" must begin with one of {wanted}', *path, "url")
    for option in ("filter", "key"):
        text = getattr(table, option)
        if text and "{key}" not in text:
            yield fault(f'"{text}" does not contain {{key}}', *path, option)


def files(table: Table, path: fields.Path, user: str) -> Iterator[ConfigError]:
    """Files that the server can read."""
    for option in ("file", "password_file"):
        file = getattr(table, option)
        if file and (why := unreadable(file, user)):
            yield fault(f"{file} cannot be read: {why}", *path, option, local=True)
