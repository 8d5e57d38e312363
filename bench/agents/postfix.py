"""Postfix."""

from __future__ import annotations

import os
import re
from pathlib import Path

from bench.agents.base import Agent, output, owned

# On loopback below one folder: no look-ups, no TLS, no limits of clients.
LOOPBACK = """\
compatibility_level = 3.6
mydestination =
local_recipient_maps =
alias_maps =
alias_database =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
smtpd_relay_restrictions = permit_mynetworks, reject
queue_directory = {run}/spool
data_directory = {run}/data
maillog_file_prefixes = {run}
maillog_file = {run}/log/mail.log
biff = no
in_flow_delay = 0
initial_destination_concurrency = 50
local_header_rewrite_clients =
smtpd_peername_lookup = no
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
smtpd_tls_security_level = none
smtp_tls_security_level = none
smtp_dns_support_level = disabled
"""
MAIN_CF = (
    LOOPBACK
    + """\
myhostname = postfix.bench.example
relayhost = [127.0.0.1]:{sink_port}
command_directory = {sbin}
daemon_directory = {libexec}
mail_owner = postfix
setgid_group = postdrop
message_size_limit = 20480000
default_process_limit = 400
smtp_destination_concurrency_limit = 200
smtp_connection_cache_destinations = static:all
smtp_connection_cache_on_demand = yes
smtp_connection_reuse_time_limit = 3600s
qmgr_message_active_limit = 50000
qmgr_message_recipient_limit = 50000
max_use = 10000
smtpd_error_sleep_time = 0
{more}"""
)


class Postfix(Agent):
    """Postfix with every limit raised that would hold it back here."""

    name = "postfix"
    settings = (
        "default_process_limit 400, destination concurrency 50 to 200, connections reused, "
        "in_flow_delay 0, active queue 50,000, client limits off, no name look-ups"
    )
    spreads = retries = waits = True
    sbin, libexec = "/usr/sbin", "/usr/lib/postfix/sbin"

    def missing(self) -> str:
        if os.geteuid():
            return "Postfix has to be started by root"
        if not Path(self.sbin, "postfix").exists():
            return "Postfix is not installed (apt-get install postfix)"
        return ""

    def prepare(self) -> None:
        config = self.run / "etc"
        for folder in ("etc", "spool", "log"):
            (self.run / folder).mkdir()
        port = self.scene.sink_port
        text = MAIN_CF.format(
            run=self.run, sink_port=port, sbin=self.sbin, libexec=self.libexec, more=self._more()
        )
        (config / "main.cf").write_text(text)
        if self.scene.hops > 1:
            lines = (
                f"d{index}.example smtp:[{self.scene.hop(index)}]:{port}\n"
                for index in range(self.scene.hops)
            )
            (config / "transport").write_text("".join(lines))
        master = Path("/usr/share/postfix/master.cf.dist").read_text()
        lines = [self._service(line) for line in master.splitlines()]
        (config / "master.cf").write_text("\n".join(lines) + "\n")
        owned(self.run / "data", "postfix", 0o700)

    def _more(self) -> str:
        """Settings of the scene: short retries, a map of next hops."""
        scene, more = self.scene, ""
        if scene.retry:
            more += f"queue_run_delay = {scene.retry}s\nminimal_backoff_time = {scene.retry}s\n"
            more += f"maximal_backoff_time = {scene.retry}s\n"
        if scene.silent:
            more += "defer_transports = smtp\n"
        if scene.hops > 1:
            more += f"transport_maps = texthash:{self.run}/etc/transport\n"
        return more

    def _service(self, line: str) -> str:
        """One line of master.cf: our port, and no chroot, which needs copies of system files."""
        if line.startswith("smtp ") and " inet " in line:
            return f"127.0.0.1:{self.scene.port} inet n - n - - smtpd"
        if line.startswith("#") or not re.match(r"[a-z].*\s(unix|inet|fifo|unix-dgram)\s", line):
            return line
        fields = line.split(None, 7)
        fields[4] = "n"
        return " ".join(fields)

    def command(self) -> list[str]:
        return [f"{self.sbin}/postfix", "-c", str(self.run / "etc"), "start-fg"]

    def version(self) -> str:
        return "Postfix " + output(f"{self.sbin}/postconf", "-dh", "mail_version")
