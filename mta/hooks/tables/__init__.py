"""Lookup tables for hooks: `await tables["users"].get(key)` gives a text, or None.

Files are kept in memory and read again when they change. Everything else is asked in threads or by
asyncio, never on the loop, and answers are cached. A table that cannot answer raises TableError,
which defers the message like any failure of its hook.
"""

from mta.errors import TableError
from mta.hooks.tables.build import Tables, TableSpec, build
from mta.hooks.tables.cached import Table

__all__ = ["Table", "TableError", "TableSpec", "Tables", "build"]
