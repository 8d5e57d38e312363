"""Lines for the journal: each begins with its priority, `<6>` or `<4>` (sd-daemon(3))."""

from __future__ import annotations

import io
import os
import sys
from typing import TextIO

INFO, WARNING = "<6>", "<4>"


class Prefixed(io.TextIOBase):
    """A text stream that begins every line with a prefix."""

    def __init__(self, stream: TextIO, prefix: str) -> None:
        self._stream, self._prefix = stream, prefix
        self._at_start = True

    def writable(self) -> bool:
        """It is."""
        return True

    def fileno(self) -> int:
        """The descriptor beneath."""
        return self._stream.fileno()

    def write(self, text: str) -> int:
        """Write text, its lines with their prefix."""
        for line in text.splitlines(keepends=True):
            self._stream.write(self._prefix + line if self._at_start else line)
            self._at_start = line.endswith("\n")
        return len(text)

    def flush(self) -> None:
        """Hand on what is buffered."""
        self._stream.flush()


def install() -> None:
    """Prefix what this process prints, where standard output or error lead to the journal."""
    journal = os.environ.get("JOURNAL_STREAM", "")
    if _leads_to(sys.stdout, journal):
        sys.stdout = Prefixed(sys.stdout, INFO)
    if _leads_to(sys.stderr, journal):
        sys.stderr = Prefixed(sys.stderr, WARNING)


def _leads_to(stream: TextIO, journal: str) -> bool:
    """Whether a stream is the one that JOURNAL_STREAM names as device:inode (systemd.exec(5))."""
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError, AttributeError):
        return False
    return journal == f"{found.st_dev}:{found.st_ino}"
