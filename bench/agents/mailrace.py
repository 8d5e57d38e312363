"""Mailrace, the server of this tree."""

from __future__ import annotations

import sys
from importlib.metadata import version

from bench.agents.base import Agent


class Mailrace(Agent):
    """As `mta serve` starts it."""

    name = "mailrace"
    settings = (
        "mta serve with addresses, routes, folders and, where the workload names it, the number of "
        "connections that one next hop takes; nothing else"
    )
    spreads = retries = waits = True

    def command(self) -> list[str]:
        scene = self.scene
        retry = ["--retry", f"{scene.retry}s"] if scene.retry else []
        if scene.hops == 1:
            routes = ["--route", f"*=127.0.0.1:{scene.sink_port}"]
        else:
            routes = ["--config", str(self.run / "mailrace.toml")]
        if scene.silent:  # what is accepted stays in memory, as it would beside a fast receiver
            routes += ["-o", "queue.lane_items=1000000", "-o", "queue.memory_items=1000000"]
        if scene.connections:
            routes += ["-o", f"limits.site.default.connections={scene.connections}"]
        return [
            sys.executable, "-m", "mta.cli.main", "serve",
            "--listen", f"127.0.0.1:{scene.port}", *routes, *retry,
            "--home", str(self.run), "--spool", str(self.run / "spool"),
            "--log-dir", str(self.run / "log"),
        ]  # fmt: skip

    def prepare(self) -> None:
        """A route for each domain, where there are many next hops."""
        scene = self.scene
        if scene.hops > 1:
            routes = (
                f'[[route]]\nmatch = {{ domain = "d{index}.example" }}\n'
                f'next_hop = "[{scene.hop(index)}]:{scene.sink_port}"\n'
                for index in range(scene.hops)
            )
            (self.run / "mailrace.toml").write_text("".join(routes))

    def version(self) -> str:
        return f"Mailrace {version('mailrace')}"


class OneWorker(Mailrace):
    """With a single worker: source and sink leave no more than a core of two."""

    name = "mailrace-1"
    settings = "as mailrace, with --workers 1"

    def command(self) -> list[str]:
        return [*super().command(), "--workers", "1"]
