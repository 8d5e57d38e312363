"""`mta doctor` beside a server: what it says of relaying is what the listeners do."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from mta.testing.ports import free_port
from tests.scenarios.server import Server

CONFIG = """
[[listener]]
listen = "127.0.0.1:{default}"
[[listener]]
listen = "127.0.0.1:{nobody}"
relay_from = []
[[listener]]
listen = "127.0.0.1:{proxied}"
proxy_from = ["127.0.0.0/8"]
relay_from = ["127.0.0.0/8"]
[[listener]]
listen = "127.0.0.1:{xclient}"
xclient_from = ["127.0.0.0/8"]
relay_from = {relay}
[[listener]]
listen = "unix:{folder}/mail.sock"
relay_from = []
"""


class Listeners(Server):
    """A server with the listeners of `CONFIG`."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.ports = {name: free_port() for name in ("default", "nobody", "proxied", "xclient")}
        self.write("all", "[]")

    def write(self, name: str, relay: str) -> Path:
        path = self.home / f"{name}.toml"
        path.write_text(CONFIG.format(folder=self.home, relay=relay, **self.ports))
        return path

    def command(self) -> list[str]:
        given = super().command()
        at = given.index("--listen")
        return [*given[:at], "--config", str(self.home / "all.toml"), *given[at + 2 :]]

    def doctor(self, config: Path) -> list[dict[str, Any]]:
        command = [
            sys.executable, "-m", "mta.cli.main", "doctor", "--json", "--home", str(self.home),
            "--config", str(config), "-o", "dns.nameservers=127.0.0.1:1", "--timeout", "5",
        ]  # fmt: skip
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        return [row for row in json.loads(ran.stdout) if row["check"] == "relay"]


def name(server: Listeners, row: dict[str, Any]) -> str:
    """Which listener a finding is about."""
    port = row["text"].partition(" ")[0].rpartition(":")[2]
    return next((name for name, one in server.ports.items() if str(one) == port), "unix")


def test_doctor_says_what_listeners_do(tmp_path: Path) -> None:
    with Listeners(tmp_path) as server:
        rows = server.doctor(server.home / "all.toml")
        assert {row["level"] for row in rows} == {"ok"}, rows
        relays = [name(server, row) for row in rows if "does not relay" not in row["text"]]
        assert relays == ["default"], rows
        refused = {name(server, row) for row in rows if "does not relay" in row["text"]}
        assert {"nobody", "proxied", "xclient", "unix"} <= refused
        assert sum("named by" in row["text"] for row in rows) >= 2, "strangers, through proxies"

        stricter = server.home / "stricter.toml"
        first = f'listen = "127.0.0.1:{server.ports["default"]}"'
        text = (server.home / "all.toml").read_text()
        stricter.write_text(text.replace(first, f"{first}\nrelay_from = []"))
        (wrong,) = [row for row in server.doctor(stricter) if row["level"] != "ok"]
        assert wrong["level"] == "fail" and "relay_from does not name" in wrong["text"]
