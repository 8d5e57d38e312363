"""Values by their own classes."""

from __future__ import annotations

from typing import Any


def named(kind: type[Any], fields: tuple[Any, ...]) -> Any:
    """An instance of a NamedTuple."""
    if not issubclass(kind, tuple):
        raise TypeError(f"{kind!r} is no tuple")
    return kind._make(fields)  # type: ignore[attr-defined]
