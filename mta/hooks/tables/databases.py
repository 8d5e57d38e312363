"""Tables in SQL databases: SQLite, and whatever has a DB-API module (PEP 249)."""

from __future__ import annotations

import importlib
import re
import sqlite3
import threading
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from mta.errors import ConfigError

_NAMED = re.compile(r"%\(key\)s|[:@$]key\b")


class Database:
    """One connection a thread; a statement is rolled back, so none stays open in a transaction."""

    def __init__(self, connect: Callable[[], Any], query: str) -> None:
        self._connect, self._query = connect, query
        self._named = _NAMED.search(query) is not None
        self._own = threading.local()

    def look(self, key: str) -> str | None:
        """The first column of the first row."""
        connection = getattr(self._own, "connection", None)
        if connection is not None:
            try:
                return self._ask(connection, key)
            except Exception:  # noqa: BLE001 - it may have been closed meanwhile: once more
                self._drop(connection)
        connection = self._own.connection = self._connect()
        try:
            return self._ask(connection, key)
        except BaseException:
            self._drop(connection)
            raise

    def _ask(self, connection: Any, key: str) -> str | None:
        cursor = connection.cursor()
        try:
            cursor.execute(self._query, {"key": key} if self._named else (key,))
            row = cursor.fetchone()
        finally:
            cursor.close()
            connection.rollback()
        if row is None or row[0] is None:
            return None
        value = row[0]
        return value.decode() if isinstance(value, bytes) else str(value)

    def _drop(self, connection: Any) -> None:
        self._own.connection = None
        try:
            connection.close()
        except Exception:  # noqa: BLE001, S110 - it is broken: there is nothing to save
            pass


def sqlite(file: str, query: str, timeout: float) -> Database:
    """A SQLite file, read only."""
    address = f"file:{quote(file)}?mode=ro"
    return Database(lambda: sqlite3.connect(address, uri=True, timeout=timeout), query)


def dbapi(driver: str, dsn: str, arguments: Mapping[str, str], query: str) -> Database:
    """A database by its DB-API module; ConfigError if that is not installed or is none."""
    try:
        module = importlib.import_module(driver)
    except ImportError as error:
        raise ConfigError(
            f'the module "{driver}" cannot be imported: {error}', key="driver",
            hint=f"pip install {driver}",
        ) from None  # fmt: skip
    connect = getattr(module, "connect", None)
    if connect is None or not hasattr(module, "paramstyle"):
        raise ConfigError(f'"{driver}" is no DB-API module (PEP 249)', key="driver")
    named = {k: int(v) if v.isdecimal() else v for k, v in arguments.items()}
    given = (dsn,) if dsn else ()
    return Database(lambda: connect(*given, **named), query)
