"""The commands around a server: `send`, `source`, `sink`, `demo` and `bench`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mta.cli import bench, demo, send, sink, source

if TYPE_CHECKING:
    import typer


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for module in (demo, send, source, sink, bench):
        module.register(app)
