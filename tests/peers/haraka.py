"""A Haraka of its own as a relay, by Node: a plugin relays all to one port."""

from __future__ import annotations

import os
from pathlib import Path

from bench.agents.haraka import configure
from tests.peers.programs import lacking, require
from tests.peers.relay import Relay


class Haraka(Relay):
    """One process; it tries again after 5 s, the least that it allows."""

    name = "haraka"
    queue = ("queue/*",)

    def prepare(self) -> None:
        """The package's configuration with a few files of ours."""
        self._node = require("node")
        root = Path(os.environ.get("MTA_PEERS_ROOT", "/tmp/peers"))
        self._package = root / "npm/node_modules/Haraka"
        if not self._package.is_dir():
            lacking(f"Haraka is not installed in {root}/npm")
        outbound = "concurrency_max=20\ntemp_fail_intervals=5s*50"
        configure(self.folder, self._package, self.port, self.next_hop, "nodes=0", outbound)

    def command(self) -> list[str]:
        """The server in the foreground."""
        return [self._node, str(self._package / "bin/haraka"), "-c", str(self.folder)]
