"""An Exim of its own: configuration, spool and log below one folder, mail into a maildir."""

from __future__ import annotations

import os

from tests.peers.process import MaildirPeer
from tests.peers.programs import require, require_user
from tests.peers.relay import Relay

DOMAIN = "exim.example"
USER = "Debian-exim"

CONFIG = """\
primary_hostname = mx.{domain}
exim_path = {program}
exim_user = {user}
exim_group = {user}
spool_directory = {folder}/spool
log_file_path = {folder}/log/%slog
pid_file_path = {folder}/exim.pid
local_interfaces = 127.0.0.1
daemon_smtp_ports = {port}
disable_ipv6
host_lookup =
rfc1413_query_timeout = 0s
tls_advertise_hosts =
smtp_accept_max = 100
smtp_accept_queue_per_connection = 0
smtp_accept_max_per_connection = 0
check_spool_space = 0
check_spool_inodes = 0
message_size_limit = 100M
accept_8bitmime = true
acl_smtp_rcpt = rcpt
keep_environment =
begin acl
rcpt:
  deny domains = !{domain}
       message = not from here
  deny local_parts = unknown
       message = no such user
  accept
begin routers
mine:
  driver = accept
  domains = {domain}
  transport = box
begin transports
box:
  driver = appendfile
  maildir_format
  directory = {folder}/mail/box
  create_directory
  user = {user}
  envelope_to_add
  return_path_add
begin retry
* * F,1h,1m
"""


class Exim(MaildirPeer):
    """Takes mail for `DOMAIN`, refuses its local part `unknown`."""

    name = "exim"

    def prepare(self) -> None:
        """Configuration, and folders that its user owns."""
        self._program = require("exim4")
        user = require_user(USER)
        for part in ("spool", "log", "mail"):
            (self.folder / part).mkdir()
            os.chown(self.folder / part, user.pw_uid, user.pw_gid)
        (self.folder / "exim.conf").write_text(CONFIG.format(
            domain=DOMAIN, folder=self.folder, port=self.port, user=USER, program=self._program,
        ))  # fmt: skip

    def command(self) -> list[str]:
        """The daemon in the foreground; each message is delivered at once."""
        return [self._program, "-C", str(self.folder / "exim.conf"), "-bdf", "-q1h"]


RELAY_ROUTER = """\
begin routers
on:
  driver = manualroute
  transport = on
  route_list = * 127.0.0.1
  host_find_failed = defer
  self = send
  no_more
begin transports
on:
  driver = smtp
  port = {next_hop}
  allow_localhost
  hosts_avoid_tls = *
  connection_max_messages = 1
  message_linelength_limit = 10000
begin retry
* * F,1h,1s
"""


class EximRelay(Relay, Exim):
    """The same, but all mail goes on to the next hop."""

    def queued(self) -> int:
        """A message is header and data; either alone was left when it was killed."""
        parts = [path.name for path in self.folder.glob("spool/input/*-[HD]")]
        return len(parts) - len({name[:-2] for name in parts})

    def prepare(self) -> None:
        """Any recipient, one router, and its retry rule."""
        super().prepare()
        path = self.folder / "exim.conf"
        config = path.read_text().partition("begin acl\n")[0]
        # A queue runner, started anew with -C, would lose root and fail.
        config += "deliver_drop_privilege\nbegin acl\nrcpt:\n  accept\n"
        path.write_text(config + RELAY_ROUTER.format(next_hop=self.next_hop))

    def command(self) -> list[str]:
        """A queue run every second."""
        return [*super().command()[:-1], "-q1s"]
