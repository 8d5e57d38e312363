"""Sockets to messages: listeners, sessions and their deadlines around the sans-IO server core.

`SMTP` and the controllers stand in for those of aiosmtpd; nothing else here needs that package.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mta.smtpd.aio import SMTP
    from mta.smtpd.controller import (
        Controller,
        UnixSocketController,
        UnixSocketUnthreadedController,
        UnthreadedController,
    )

__all__ = [
    "SMTP",
    "Controller",
    "UnixSocketController",
    "UnixSocketUnthreadedController",
    "UnthreadedController",
]


def __getattr__(name: str) -> Any:
    """Import what stands in for aiosmtpd when it is asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = "mta.smtpd.aio" if name == "SMTP" else "mta.smtpd.controller"
    return getattr(importlib.import_module(module), name)
