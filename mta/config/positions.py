"""On which line of a TOML text each key stands; tomllib reads the values but tells no lines."""

from __future__ import annotations

import re
import tomllib

_SPACE = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_KEY = re.compile(r'[ \t]*("(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'|[A-Za-z0-9_-]+)[ \t]*')
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'', re.S
)
_BARE = re.compile(r"[^,\]}\s#]+(?:[ ]\d[^,\]}\s#]*)?")

Path = tuple[str, ...]


class Positions:
    """Lines (from 1) by path; the text must be what tomllib has accepted."""

    def __init__(self, text: str) -> None:
        self.lines: dict[Path, int] = {}
        self._text, self._at = text, 0
        self._counts: dict[Path, int] = {}
        table: Path = ()
        self._skip()
        while self._at < len(text):
            if text[self._at] == "[":
                table = self._header()
            else:
                self._pair(table)
            self._skip()

    def line(self, path: Path) -> int:
        """The line of a path or of the nearest table above it; 0 if there is none."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 0)

    def _skip(self) -> None:
        match = _SPACE.match(self._text, self._at)
        self._at = match.end() if match else self._at

    def _mark(self, path: Path, at: int) -> None:
        self.lines.setdefault(path, self._text.count("\n", 0, at) + 1)

    def _key(self) -> Path:
        parts: list[str] = []
        while True:
            match = _KEY.match(self._text, self._at)
            assert match is not None, f"no key at {self._at}"
            quoted = match[1][0] in "\"'"
            parts.append(tomllib.loads(f"k = {match[1]}")["k"] if quoted else match[1])
            self._at = match.end()
            if self._text[self._at] != ".":
                return tuple(parts)
            self._at += 1

    def _header(self) -> Path:
        start, array = self._at, self._text.startswith("[[", self._at)
        self._at += 2 if array else 1
        parts = self._key()
        self._at += 2 if array else 1
        path: Path = ()
        for number, part in enumerate(parts):
            path = (*path, part)
            if path in self._counts and not (array and number == len(parts) - 1):
                path = (*path, str(self._counts[path] - 1))
        if array:
            count = self._counts.get(path, 0)
            self._counts[path] = count + 1
            self._mark(path, start)
            path = (*path, str(count))
        self._mark(path, start)
        return path

    def _pair(self, table: Path) -> None:
        start = self._at
        path = (*table, *self._key())
        self._at += 1  # the equals sign
        for length in range(len(table) + 1, len(path) + 1):
            self._mark(path[:length], start)
        self._value(path)

    def _value(self, path: Path) -> None:
        self._skip()
        opening = self._text[self._at]
        if opening == "[":
            self._items(path)
        elif opening == "{":
            self._inline(path)
        else:
            match = _STRING.match(self._text, self._at) or _BARE.match(self._text, self._at)
            assert match is not None, f"no value at {self._at}"
            self._at = match.end()

    def _items(self, path: Path) -> None:
        self._at += 1
        number = 0
        while not self._closed("]"):
            item = (*path, str(number))
            self._mark(item, self._at)
            self._value(item)
            number += 1

    def _inline(self, path: Path) -> None:
        self._at += 1
        while not self._closed("}"):
            self._pair(path)

    def _closed(self, bracket: str) -> bool:
        self._skip()
        if self._text[self._at] == ",":
            self._at += 1
            self._skip()
        closed = self._text[self._at] == bracket
        self._at += closed
        return closed
