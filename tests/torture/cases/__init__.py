"""The runs there are: each module is one (see tests.torture)."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType


def names() -> list[str]:
    """Their names."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load(name: str) -> ModuleType:
    """The module of a run."""
    return importlib.import_module(f"{__name__}.{name}")
