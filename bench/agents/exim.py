"""Exim 4."""

from __future__ import annotations

import os
import re

from bench.agents.base import Agent, output, owned, program

USER = "Debian-exim"

# On loopback below one folder: no look-ups, no TLS, no limit of sessions.
LOOPBACK = """\
primary_hostname = exim.bench.example
exim_path = {program}
exim_user = Debian-exim
exim_group = Debian-exim
spool_directory = {run}/spool
log_file_path = {run}/log/%slog
pid_file_path = {run}/exim.pid
local_interfaces = 127.0.0.1
daemon_smtp_ports = {port}
disable_ipv6
host_lookup =
rfc1413_query_timeout = 0s
dns_dnssec_ok = 0
tls_advertise_hosts =
smtp_accept_max = 0
smtp_accept_max_per_connection = 0
smtp_accept_queue = 0
smtp_accept_queue_per_connection = 0
smtp_accept_max_nonmail = 0
smtp_connect_backlog = 4096
check_spool_space = 0
check_spool_inodes = 0
keep_environment =
"""
# All mail to one port. A queue runner, started anew with -C, would lose root and fail.
CONFIG = (
    LOOPBACK
    + """\
split_spool_directory
deliver_drop_privilege
remote_max_parallel = 4
message_size_limit = 20M
acl_smtp_rcpt = accept
begin acl
begin routers
sink:
  driver = manualroute
  transport = sink
  route_list = * 127.0.0.1
  host_find_failed = defer
  self = send
  no_more
begin transports
sink:
  driver = smtp
  port = {sink_port}
  allow_localhost
  hosts_try_chunking =
  hosts_try_prdr =
  hosts_try_fastopen =
  hosts_avoid_tls = *
  connection_max_messages = 1
  message_linelength_limit = 10000
begin retry
* * F,1h,{retry}s
"""
)


class Exim(Agent):
    """Exim with immediate delivery; BENCH_EXIM names a folder where its package was unpacked."""

    name = "exim"
    settings = (
        "immediate delivery, no limits of sessions, deliver_drop_privilege (no re-exec for each "
        "delivery), split spool, no DNS or ident look-ups, connection_max_messages 1"
    )
    retries = True

    def _program(self) -> str:
        return str(program("exim4", "BENCH_EXIM", "usr/sbin/exim4") or "")

    def missing(self) -> str:
        if os.geteuid():
            return "Exim has to be started by root"
        return "" if self._program() else "Exim is not installed (apt-get install exim4)"

    def prepare(self) -> None:
        for name in ("spool", "log"):
            owned(self.run / name, USER, 0o750)
        scene = self.scene
        text = CONFIG.format(
            program=self._program(), run=self.run, port=scene.port, sink_port=scene.sink_port,
            retry=scene.retry or 60,
        )  # fmt: skip
        (self.run / "exim.conf").write_text(text)

    def command(self) -> list[str]:
        interval = f"-q{self.scene.retry}s" if self.scene.retry else "-q1h"
        return [self._program(), "-C", str(self.run / "exim.conf"), "-bdf", interval]

    def version(self) -> str:
        text = output(self._program(), "-C", str(self.run / "exim.conf"), "-bV")
        found = re.search(r"^Exim version \S+", text, re.M)
        return found[0] if found else "Exim"
