"""A sendmail of its own as a relay: its configuration is made from m4 files, /etc/hosts is ours."""

from __future__ import annotations

import socket
import subprocess

from tests.peers.programs import require, require_path, require_user
from tests.peers.relay import Relay, with_mounts
from tests.waiting import PATIENCE

# No DNS, no ident, no limits of load; background delivery, and a queue run every second.
SOURCE = """\
include(`{macros}/m4/cf.m4')dnl
OSTYPE(`linux')dnl
define(`confDELIVERY_MODE', `background')dnl
define(`QUEUE_DIR', `{folder}/spool')dnl
define(`confPID_FILE', `{folder}/sendmail.pid')dnl
define(`STATUS_FILE', `{folder}/statistics')dnl
define(`ALIAS_FILE', `')dnl
define(`confTO_IDENT', `0')dnl
define(`confQUEUE_LA', `1000')dnl
define(`confREFUSE_LA', `1000')dnl
define(`confSERVICE_SWITCH_FILE', `{folder}/service.switch')dnl
define(`confDOMAIN_NAME', `mx.sendmail.example')dnl
define(`SMART_HOST', `relay:[127.0.0.1]')dnl
define(`RELAY_MAILER_ARGS', `TCP $h {next_hop}')dnl
FEATURE(`promiscuous_relay')dnl
FEATURE(`accept_unresolvable_domains')dnl
FEATURE(`accept_unqualified_senders')dnl
FEATURE(`nocanonify')dnl
FEATURE(`no_default_msa')dnl
DAEMON_OPTIONS(`Name=MTA, Addr=127.0.0.1, Port={port}')dnl
MAILER(`smtp')dnl
"""


class Sendmail(Relay):
    """Delivers in the background; what is refused waits for the next queue run."""

    name = "sendmail"
    queue = ("spool/qf*",)

    def prepare(self) -> None:
        """Configuration; a hosts file in which this machine has a full name, else it sleeps."""
        self._program = require_path("usr/libexec/sendmail/sendmail")
        require_user("smmta")
        require_user("smmsp")
        host = socket.gethostname()
        (self.folder / "hosts").write_text(f"127.0.0.1 {host}.sendmail.example {host} localhost\n")
        (self.folder / "service.switch").write_text("hosts files\naliases files\n")
        (self.folder / "spool").mkdir(mode=0o700)
        macros = require_path("usr/share/sendmail/cf/m4/cf.m4").parents[1]
        source = self.folder / "sendmail.mc"
        source.write_text(SOURCE.format(
            macros=macros, folder=self.folder, port=self.port, next_hop=self.next_hop
        ))  # fmt: skip
        made = subprocess.run(
            [require("m4"), f"-D_CF_DIR_={macros}/", str(source)],
            check=True, capture_output=True, timeout=PATIENCE,
        )  # fmt: skip
        (self.folder / "sendmail.cf").write_bytes(made.stdout)

    def command(self) -> list[str]:
        """The daemon in the foreground."""
        config = str(self.folder / "sendmail.cf")
        return with_mounts(
            [(self.folder / "hosts", "/etc/hosts")],
            [str(self._program), "-C", config, "-bD", "-q1s"],
        )
