"""The relay that is written in an afternoon: aiosmtpd in front, aiosmtplib behind."""

from __future__ import annotations

import importlib.util
import sys
from importlib.metadata import version

from bench.agents.base import Agent


class Python(Agent):
    """`bench.naive`, one process."""

    name = "python"
    settings = (
        "one process; file and directory synced in a thread before the 250; 20 kept-open deliveries"
    )

    def missing(self) -> str:
        there = importlib.util.find_spec("aiosmtplib")
        return "" if there else "aiosmtplib is not installed (pip install aiosmtplib)"

    def prepare(self) -> None:
        (self.run / "spool").mkdir()

    def command(self) -> list[str]:
        return [
            sys.executable, "-m", "bench.naive", str(self.scene.port), str(self.scene.sink_port),
            str(self.run / "spool"),
        ]  # fmt: skip

    def version(self) -> str:
        names = ("aiosmtpd", "aiosmtplib")
        return "Python " + sys.version.split()[0] + "".join(f", {n} {version(n)}" for n in names)
