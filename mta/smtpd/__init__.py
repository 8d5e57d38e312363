"""Sockets to messages: listeners, sessions and their deadlines around the sans-IO server core.

`SMTP` and the controllers stand in for those of aiosmtpd, as all of `aiosmtpd_compat` does; nothing
else here needs that package.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mta.smtpd.aiosmtpd_compat.controller import (
        Controller,
        UnixSocketController,
        UnixSocketUnthreadedController,
        UnthreadedController,
    )
    from mta.smtpd.aiosmtpd_compat.protocol import SMTP

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
    module = "protocol" if name == "SMTP" else "controller"
    return getattr(importlib.import_module(f"mta.smtpd.aiosmtpd_compat.{module}"), name)
