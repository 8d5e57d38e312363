"""An OpenSMTPD of its own as a relay: its fixed paths are mounts that only it sees."""

from __future__ import annotations

import re
import subprocess

from bench.agents.opensmtpd import CONFIG
from tests.peers.programs import require, require_user
from tests.peers.relay import Relay, with_mounts
from tests.waiting import PATIENCE


class OpenSmtpd(Relay):
    """Its retry times are built in (minutes), so `hurry` is what makes it try again."""

    name = "opensmtpd"
    queue = ("spool/queue/*/*/????????????????",)

    def prepare(self) -> None:
        """Configuration, an empty spool, and a resolver that asks no DNS."""
        self._program, self._control = require("smtpd"), require("smtpctl")
        require_user("opensmtpd")
        self._group = require_user("opensmtpq").pw_gid  # what smtpctl wants to run as
        (self.folder / "spool").mkdir()
        (self.folder / "spool").chmod(0o711)
        (self.folder / "resolv.conf").write_text("lookup file\n")
        config = self.folder / "smtpd.conf"
        config.write_text(CONFIG.format(port=self.port, sink_port=self.next_hop))
        config.chmod(0o600)
        empty = self.folder / "empty"
        empty.mkdir()
        empty.chmod(0o711)

    def command(self) -> list[str]:
        """The daemon in the foreground."""
        return with_mounts(
            [
                (None, "/run"), (None, "/var/spool"), (None, "/var/lib"),
                (self.folder / "spool", "/var/spool/smtpd"),
                (self.folder / "empty", "/var/lib/opensmtpd/empty"),
                (self.folder / "resolv.conf", "/etc/resolv.conf"),
            ],
            [self._program, "-d", "-f", str(self.folder / "smtpd.conf")],
        )  # fmt: skip

    def hurry(self) -> None:
        """Open the routes that it closed and schedule all mail now."""
        for route in re.findall(r"^(\d+)\.", self._ask("show", "routes"), re.M):
            self._ask("resume", "route", route)
        self._ask("schedule", "all")

    def _ask(self, *words: str) -> str:
        assert self._process is not None
        enter = ["nsenter", "--target", str(self._process.pid), "--mount", "--setgid"]
        return subprocess.run(
            [*enter, str(self._group), self._control, *words],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        ).stdout
