"""The mail transfer agents that are compared: how each is configured and started.

Each takes mail for any domain on 127.0.0.1 and relays all of it to one sink, also on 127.0.0.1,
with a durable queue between.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import sys
from pathlib import Path

MAIN_CF = """
compatibility_level = 3.6
myhostname = postfix.bench.example
mydestination =
local_recipient_maps =
alias_maps =
alias_database =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
smtpd_relay_restrictions = permit_mynetworks, reject
relayhost = [127.0.0.1]:{sink_port}
queue_directory = {run}/spool
data_directory = {run}/data
command_directory = {sbin}
daemon_directory = {libexec}
mail_owner = postfix
setgid_group = postdrop
biff = no
smtp_tls_security_level = none
smtpd_tls_security_level = none
maillog_file_prefixes = {run}
maillog_file = {run}/log/mail.log
message_size_limit = 20480000
default_process_limit = 400
initial_destination_concurrency = 50
smtp_destination_concurrency_limit = 200
smtp_connection_cache_destinations = static:all
smtp_connection_cache_on_demand = yes
smtp_connection_reuse_time_limit = 3600s
in_flow_delay = 0
qmgr_message_active_limit = 50000
qmgr_message_recipient_limit = 50000
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
smtpd_peername_lookup = no
smtp_dns_support_level = disabled
local_header_rewrite_clients =
max_use = 10000
smtpd_error_sleep_time = 0
"""


def output(*command: str) -> str:
    """What a command prints."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.stdout.strip()


class Agent:
    """One agent; `run` is an empty folder of its own."""

    name = ""
    settings = ""  # for the reader: what was set and why

    def __init__(self, run: Path, port: int, sink_port: int) -> None:
        self.run, self.port, self.sink_port = run, port, sink_port

    def missing(self) -> str:
        """Why it cannot run here; empty if it can."""
        return ""

    def prepare(self) -> None:
        """Write the configuration."""

    def command(self) -> list[str]:
        """What runs the whole agent in the foreground."""
        raise NotImplementedError

    def version(self) -> str:
        """Name and version."""
        raise NotImplementedError


class Mailrace(Agent):
    """The server of this tree, as `mta serve` starts it."""

    name = "mailrace"
    settings = "mta serve --listen --route --spool --log-dir --home, nothing else"

    def command(self) -> list[str]:
        return [
            sys.executable, "-m", "mta.cli.main", "serve",
            "--listen", f"127.0.0.1:{self.port}",
            "--route", f"*=127.0.0.1:{self.sink_port}",
            "--home", str(self.run), "--spool", str(self.run / "spool"),
            "--log-dir", str(self.run / "log"),
        ]  # fmt: skip

    def version(self) -> str:
        from importlib.metadata import version

        return f"Mailrace {version('mailrace')}"


class Postfix(Agent):
    """Postfix with every limit raised that would hold it back here."""

    name = "postfix"
    settings = (
        "default_process_limit 400, destination concurrency 50 to 200, connections reused, "
        "in_flow_delay 0, active queue 50,000, client limits off, no name look-ups"
    )
    sbin, libexec = "/usr/sbin", "/usr/lib/postfix/sbin"

    def missing(self) -> str:
        if os.geteuid():
            return "Postfix has to be started by root"
        if not Path(self.sbin, "postfix").exists():
            return "Postfix is not installed (apt-get install postfix)"
        return ""

    def prepare(self) -> None:
        config = self.run / "etc"
        for folder in ("etc", "spool", "log", "data"):
            (self.run / folder).mkdir()
        text = MAIN_CF.format(
            run=self.run, sink_port=self.sink_port, sbin=self.sbin, libexec=self.libexec
        )
        (config / "main.cf").write_text(text)
        master = Path("/usr/share/postfix/master.cf.dist").read_text()
        lines = [self._service(line) for line in master.splitlines()]
        (config / "master.cf").write_text("\n".join(lines) + "\n")
        owner = pwd.getpwnam("postfix")
        os.chown(self.run / "data", owner.pw_uid, owner.pw_gid)

    def _service(self, line: str) -> str:
        """One line of master.cf: our port, and no chroot, which needs copies of system files."""
        if line.startswith("smtp ") and " inet " in line:
            return f"127.0.0.1:{self.port} inet n - n - - smtpd"
        if line.startswith("#") or not re.match(r"[a-z].*\s(unix|inet|fifo|unix-dgram)\s", line):
            return line
        fields = line.split(None, 7)
        fields[4] = "n"
        return " ".join(fields)

    def command(self) -> list[str]:
        return [f"{self.sbin}/postfix", "-c", str(self.run / "etc"), "start-fg"]

    def version(self) -> str:
        return "Postfix " + output(f"{self.sbin}/postconf", "-dh", "mail_version")


AGENTS: dict[str, type[Agent]] = {kind.name: kind for kind in (Mailrace, Postfix)}


def fresh(folder: Path) -> Path:
    """The folder, empty, readable by the users that agents run as."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    folder.chmod(0o755)
    return folder
