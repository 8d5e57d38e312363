"""Haraka."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from bench.agents.base import Agent, output

PLUGIN = """
exports.register = function () {}
exports.hook_connect = function (next, connection) { connection.relaying = true; next() }
exports.hook_rcpt = function (next) { next(OK) }
exports.hook_get_mx = function (next) {
    next(OK, [{ priority: 0, exchange: '127.0.0.1', port: SINK_PORT }])
}
"""


def configure(folder: Path, package: Path, port: int, hop: int, smtp: str, outbound: str) -> None:
    """The package's configuration with ours; `smtp` and `outbound` are lines of those files."""
    config = folder / "config"
    shutil.copytree(package / "config", config)
    (folder / "plugins").mkdir()
    (folder / "queue").mkdir()
    (folder / "plugins" / "one_hop.js").write_text(PLUGIN.replace("SINK_PORT", str(hop)))
    files = {
        "smtp.ini": f"listen=127.0.0.1:{port}\n{smtp}\n",
        "outbound.ini": f"enable_tls=false\n{outbound}\n",
        "plugins": "one_hop\n",
        "me": "haraka.bench.example\n",
        "loglevel": "NOTICE\n",
        "log.ini": "[main]\nlevel=NOTICE\n",
        "host_list": "nowhere.example\n",
        "strict_rfc1869": "false\n",
    }
    for name, text in files.items():
        (config / name).write_text(text)


class Haraka(Agent):
    """Haraka with a process a core; BENCH_HARAKA names its package's folder."""

    name = "haraka"
    settings = (
        "nodes=2, outbound concurrency_max 100 a worker, no TLS, no plugin but one that permits "
        "relaying and answers get_mx with the sink; it refuses what is pipelined behind the dot, "
        "so the source waits for each reply"
    )
    pipelining = False

    def _package(self) -> Path:
        usual = "/usr/lib/node_modules/Haraka"
        return Path(os.environ.get("BENCH_HARAKA", usual))

    def missing(self) -> str:
        if not shutil.which("node"):
            return "Node is not installed (apt-get install nodejs)"
        there = (self._package() / "bin" / "haraka").exists()
        return "" if there else "Haraka is not installed (npm install -g Haraka)"

    def prepare(self) -> None:
        ports = self.scene.port, self.scene.sink_port
        configure(self.run, self._package(), *ports, "nodes=2", "concurrency_max=100")

    def command(self) -> list[str]:
        return ["node", str(self._package() / "bin" / "haraka"), "-c", str(self.run)]

    def version(self) -> str:
        package = json.loads((self._package() / "package.json").read_text())
        return f"Haraka {package['version']}, Node {output('node', '--version')}"
