"""Where a server keeps its files when nothing is said; light, since every command needs it."""

from __future__ import annotations

import os
from pathlib import Path


def default_home() -> Path:
    """/var/lib/mailrace for root, else under ~/.local/state."""
    if os.geteuid() == 0:
        return Path("/var/lib/mailrace")
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(state).expanduser() / "mailrace"


def absolute(path: Path | str) -> Path:
    """A path with the user's folder and the current one filled in; links are kept."""
    return Path(path).expanduser().absolute()
