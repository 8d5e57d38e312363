"""Values that are made for every message."""

from typing import Any, TypeVar

T = TypeVar("T")

def named(kind: type[T], fields: tuple[Any, ...]) -> T:
    """An instance of a NamedTuple with all its fields, without a call of Python.

    TypeError if `kind` is no tuple.
    """
