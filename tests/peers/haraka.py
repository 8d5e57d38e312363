"""A Haraka of its own as a relay, by Node: a plugin of ours that relays all to one port."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.peers.programs import lacking, require
from tests.peers.relay import Relay

PLUGIN = """\
exports.register = function () {}
exports.hook_connect = function (next, connection) { connection.relaying = true; next() }
exports.hook_rcpt = function (next) { next(OK) }
exports.hook_get_mx = function (next) {
    next(OK, [{ priority: 0, exchange: '127.0.0.1', port: NEXT_HOP }])
}
"""


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
        config = self.folder / "config"
        shutil.copytree(self._package / "config", config)
        (self.folder / "plugins").mkdir()
        (self.folder / "queue").mkdir()
        (self.folder / "plugins" / "one_hop.js").write_text(
            PLUGIN.replace("NEXT_HOP", str(self.next_hop))
        )
        files = {
            "smtp.ini": f"listen=127.0.0.1:{self.port}\nnodes=0\n",
            "outbound.ini": "concurrency_max=20\nenable_tls=false\ntemp_fail_intervals=5s*50\n",
            "plugins": "one_hop\n",
            "me": "mx.haraka.example\n",
            "loglevel": "NOTICE\n",
            "log.ini": "[main]\nlevel=NOTICE\n",
            "host_list": "haraka.example\n",
        }
        for name, text in files.items():
            (config / name).write_text(text)

    def command(self) -> list[str]:
        """The server in the foreground."""
        return [self._node, str(self._package / "bin/haraka"), "-c", str(self.folder)]
