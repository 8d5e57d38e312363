"""The commands around a server: `send`, `sink` and `demo`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mta.cli import demo, send, sink

if TYPE_CHECKING:
    import typer


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for module in (demo, send, sink):
        module.register(app)
