"""`mta --help`: its commands by what one wants to do."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

GROUPS = {
    "Run": ("serve", "config", "doctor", "restart-workers"),
    "Send": ("send", "sendmail"),
    "Look": ("status", "logs", "mailq"),
    "Steer": ("queue", "spool"),
    "Measure": ("demo", "source", "sink", "bench"),
}
SHORT = 60  # columns of a command's summary


class Grouped(TyperGroup):
    """A group of commands that lists them under the headings of `GROUPS`."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The names in the order of their headings."""
        ranked = [name for names in GROUPS.values() for name in names]
        return sorted(self.commands, key=lambda n: ranked.index(n) if n in ranked else len(ranked))

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Each heading with its commands."""
        for title, names in GROUPS.items():
            found = [self.commands[name] for name in names if name in self.commands]
            with formatter.section(title):
                formatter.write_dl([(c.name or "", c.get_short_help_str(SHORT)) for c in found])
