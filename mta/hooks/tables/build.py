"""From what is configured to tables."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping

import msgspec

from mta.clock import Clock
from mta.errors import ConfigError, TableError
from mta.hooks.tables import files
from mta.hooks.tables.cached import CachedTable, Source, Table, Threaded
from mta.hooks.tables.databases import dbapi, sqlite
from mta.hooks.tables.directory import Directory
from mta.hooks.tables.keyvalue import Redis

PARSERS = {"file": files.keys, "cidr": files.networks, "regex": files.expressions}


class TableSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One `[table.NAME]`; which values count depends on the kind."""

    kind: str  # file, cidr, regex, sqlite, sql, ldap, redis
    file: str = ""
    query: str = ""
    driver: str = ""
    dsn: str = ""
    arguments: dict[str, str] = {}
    url: str = ""
    key: str = "{key}"
    base: str = ""
    filter: str = ""
    attribute: str = ""
    bind_dn: str = ""
    password_file: str = ""
    ttl: float = 60.0
    size: int = 10_000
    timeout: float = 3.0
    connections: int = 4


class Tables(Mapping[str, Table]):
    """All tables by name."""

    def __init__(self, tables: Mapping[str, Table]) -> None:
        self._tables = dict(tables)

    def __getitem__(self, name: str) -> Table:
        try:
            return self._tables[name]
        except KeyError:
            raise TableError(name, "there is no [table.NAME] of this name") from None

    def __contains__(self, name: object) -> bool:
        return name in self._tables

    def __iter__(self) -> Iterator[str]:
        return iter(self._tables)

    def __len__(self) -> int:
        return len(self._tables)

    async def close(self) -> None:
        """Give up all connections."""
        for table in self._tables.values():
            await table.close()


def _to_stderr(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def build(
    specs: Mapping[str, TableSpec], clock: Clock, report: Callable[[str], None] = _to_stderr
) -> Tables:
    """The tables; blocks to read files. ConfigError names the table."""
    found: dict[str, Table] = {}
    for name, spec in specs.items():
        try:
            if spec.kind in PARSERS:
                found[name] = files.FileTable(spec.file, PARSERS[spec.kind], clock, report)
            else:
                found[name] = CachedTable(
                    name, _source(name, spec), clock,
                    ttl=spec.ttl, size=spec.size, timeout=spec.timeout,
                )  # fmt: skip
        except ConfigError as error:
            key = ".".join(part for part in ("table", name, error.key) if part)
            raise ConfigError(error.problem, key=key, where=error.where, hint=error.hint) from None
    return Tables(found)


def _source(name: str, spec: TableSpec) -> Source:
    if spec.kind == "redis":
        return Redis(spec.url, spec.key, spec.connections, spec.timeout)
    if spec.kind == "sqlite":
        return Threaded(sqlite(spec.file, spec.query, spec.timeout), name, spec.connections)
    if spec.kind == "sql":
        database = dbapi(spec.driver, spec.dsn, spec.arguments, spec.query)
        return Threaded(database, name, spec.connections)
    directory = Directory(
        spec.url, spec.base, spec.filter, spec.attribute, spec.bind_dn, spec.password_file,
        spec.timeout,
    )  # fmt: skip
    return Threaded(directory, name, spec.connections)
