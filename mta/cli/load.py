"""The commands around a server: `send`, `source`, `sink` and `demo`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mta.cli import demo, send, sink, source

if TYPE_CHECKING:
    import typer


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for module in (demo, send, source, sink):
        module.register(app)
