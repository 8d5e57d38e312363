"""How a check names what it found."""

from __future__ import annotations

from mta.config import fields
from mta.errors import ConfigError


def fault(problem: str, *path: object, hint: str = "", local: bool = False) -> ConfigError:
    """A problem at a path; a `local` one is this machine's."""
    key = fields.join(tuple(str(part) for part in path))
    return ConfigError(problem, key=key, hint=hint, local=local)
