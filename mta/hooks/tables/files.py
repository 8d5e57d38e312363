"""Tables in files: keys, networks or regular expressions, one a line, `#` begins a comment line.

A file is looked at once a second while it is asked, and read again, in a thread, when it has
changed. One that cannot be read then leaves the old entries, and a line says why.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from mta.clock import Clock
from mta.errors import ConfigError

CHECK_EVERY = 1.0  # seconds between looks at the file

Stamp = tuple[int, int, int]  # modification time, size, inode
Find = Callable[[str], str | None]


class Parse(Protocol):
    """Reads lines: (number, text) of those that say something."""

    def __call__(self, lines: Iterator[tuple[int, str]], /) -> Find: ...


class FileTable:
    """A file in memory."""

    def __init__(
        self, path: str, parse: Parse, clock: Clock, report: Callable[[str], None]
    ) -> None:
        """Blocks to read the file; ConfigError names the line that is wrong."""
        self._path, self._parse, self._clock, self._report = Path(path), parse, clock, report
        self._stamp = self._now()
        self._find = self._read()
        self._check_at = clock.monotonic() + CHECK_EVERY

    async def get(self, key: str) -> str | None:
        """As `Table.get`; the entries are those of a second ago at worst."""
        if self._clock.monotonic() >= self._check_at:
            self._check_at = self._clock.monotonic() + CHECK_EVERY
            await asyncio.to_thread(self._renew)
        return self._find(key)

    async def close(self) -> None:
        """As `Table.close`."""

    def _renew(self) -> None:
        try:
            stamp = self._now()
            if stamp == self._stamp:
                return
            self._stamp = stamp
            self._find = self._read()
        except ConfigError as error:
            self._report(f"table not read again, the old entries stay: {error}")

    def _now(self) -> Stamp | None:
        try:
            stat = self._path.stat()
        except OSError:
            return None  # `_read` says why
        return stat.st_mtime_ns, stat.st_size, stat.st_ino

    def _read(self) -> Find:
        try:
            text = self._path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise ConfigError("is not a text in UTF-8", where=str(self._path)) from None
        except OSError as error:
            raise ConfigError(f"cannot be read: {error.strerror}", where=str(self._path)) from None
        number = 0

        def lines() -> Iterator[tuple[int, str]]:
            nonlocal number
            for number, line in enumerate(text.split("\n"), 1):  # noqa: B007 - told in the error
                line = line.strip()
                if line and not line.startswith("#"):
                    yield number, line

        try:
            return self._parse(lines())
        except ValueError as error:
            raise ConfigError(str(error), where=f"{self._path}:{number}") from None


def _split(line: str) -> tuple[str, str]:
    key, *rest = line.split(None, 1)
    return key, rest[0] if rest else ""


def keys(lines: Iterator[tuple[int, str]]) -> Find:
    """`key value`; keys are compared without case, the last of equal ones counts."""
    entries = {key.lower(): value for key, value in (_split(line) for _, line in lines)}
    return lambda key: entries.get(key.lower())


def networks(lines: Iterator[tuple[int, str]]) -> Find:
    """`192.0.2.0/24 value`; the longest prefix counts. A key that is no address has no value."""
    entries: dict[tuple[int, int], dict[int, str]] = {}  # (version, prefix length): by number
    for _, line in lines:
        text, value = _split(line)
        network = ipaddress.ip_network(text)
        key = network.version, network.prefixlen
        entries.setdefault(key, {})[int(network.network_address)] = value
    order = sorted(entries, key=lambda key: -key[1])

    def find(key: str) -> str | None:
        try:
            address = ipaddress.ip_address(key)
        except ValueError:
            return None
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        number, bits = int(address), address.max_prefixlen
        for version, length in order:
            if version != address.version:
                continue
            value = entries[version, length].get(number >> (bits - length) << (bits - length))
            if value is not None:
                return value
        return None

    return find


_SLASHES = re.compile(r"/((?:[^/\\]|\\.)*)/([ix]*)(?:\s+(.*))?")


def expressions(lines: Iterator[tuple[int, str]]) -> Find:
    r"""`/expression/flags value`; the first that is found counts, `\1` is its first group."""
    entries = []
    for _, line in lines:
        match = _SLASHES.fullmatch(line)
        if match is None:
            raise ValueError(f'"{line}" is no expression: write it like /^info@/i value')
        flags = sum({"i": re.I, "x": re.X}[flag] for flag in set(match[2]))
        try:
            compiled = re.compile(match[1], flags)
            compiled.sub(match[3] or "", "")  # it names no group that is not there
        except (re.error, IndexError) as error:
            raise ValueError(f"{match[1]}: {error}") from None
        entries.append((compiled, match[3] or ""))

    def find(key: str) -> str | None:
        for expression, value in entries:
            found = expression.search(key)
            if found is not None:
                return found.expand(value)
        return None

    return find
