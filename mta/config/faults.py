"""How a check names what it found."""

from __future__ import annotations

from mta.config import fields
from mta.errors import ConfigError


def fault(problem: str, *path: object, hint: str = "") -> ConfigError:
    """A problem at a path."""
    return ConfigError(problem, key=fields.join(tuple(str(part) for part in path)), hint=hint)
