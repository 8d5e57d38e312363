"""The hook file as the supervisor sees it: a text for all workers, and whether it has changed."""

from __future__ import annotations

from pathlib import Path

from mta.errors import ConfigError

Stamp = tuple[int, int, int]  # modification time, size, inode


class HookFile:
    """One file, or none at all if the path is empty."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._seen: Stamp | None = None

    def read(self) -> str:
        """Its text now; `changed` tells of what comes later. ConfigError."""
        if not self.path:
            return ""
        try:
            self._seen = self._stamp()
            return Path(self.path).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise ConfigError("is not a text in UTF-8", key="hooks.file", where=self.path) from None
        except OSError as error:
            text = f"cannot be read: {error.strerror}"
            raise ConfigError(text, key="hooks.file", where=self.path) from None

    def changed(self) -> bool:
        """Whether it is another than at the last `read`, which counts though it failed."""
        if not self.path:
            return False
        try:
            return self._stamp() != self._seen
        except OSError:
            return False  # in the middle of being replaced

    def _stamp(self) -> Stamp:
        stat = Path(self.path).stat()
        return stat.st_mtime_ns, stat.st_size, stat.st_ino
