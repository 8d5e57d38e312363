"""How a setting is declared: its meaning, unit and bounds, and how its value is written."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from mta.config.values import Rate


class Kind:
    """Marks how a value is written where its type alone does not tell."""

    def __init__(self, name: str, unit: str) -> None:
        self.name, self.unit = name, unit


Seconds = Annotated[float, Kind("duration", "duration (50ms, 30s, 5m, 2d)")]
Octets = Annotated[int, Kind("size", "size (64KiB, 10MB)")]
Path = Annotated[str, Kind("path", "path")]
Secret = Annotated[str, Kind("secret", "text, shown as ***")]
Rated = Annotated[Rate, Kind("rate", "rate (100/s, burst=400)")]


def doc(
    meaning: str,
    *,
    unit: str = "",
    static: bool = False,
    ge: float | None = None,
    le: float | None = None,
) -> Meta:
    """The meaning of a setting; `static` ones need a restart, the others follow a reload."""
    extra = {"reload": not static, "unit": unit, "ge": ge, "le": le}
    return Meta(description=meaning, extra=extra)


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of the file."""
