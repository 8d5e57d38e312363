"""A Postfix of its own: configuration, queue and data below one folder, mail into a maildir."""

from __future__ import annotations

import os

from bench.agents.postfix import LOOPBACK
from tests.peers.process import MaildirPeer
from tests.peers.programs import require, require_user
from tests.peers.relay import Relay

DOMAIN = "postfix.example"
SIZE_LIMIT = 100_000_000

# virtual(8) stores what came in byte by byte, but for LF as line end. Lines above line_length_limit
# are cut up on the way in and put together again on delivery (postconf(5)).
MAIN = (
    LOOPBACK
    + """\
myhostname = mx.{domain}
virtual_mailbox_domains = {domain}
virtual_mailbox_base = {run}/mail
virtual_mailbox_maps = static:box/
virtual_mailbox_limit = 0
virtual_minimum_uid = 1
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
virtual_transport = virtual
virtual_destination_concurrency_limit = 50
default_transport = error:not from here
message_size_limit = {size_limit}
queue_minfree = 0
default_process_limit = 50
"""
)

MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
error unix - - n - - error
retry unix - - n - - error
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""

# As a relay: a lost mail server is tried again within a second.
RELAY_MAIN = """\
relayhost = [127.0.0.1]:{next_hop}
default_transport = smtp
smtp_connection_cache_on_demand = yes
minimal_backoff_time = 1s
maximal_backoff_time = 1s
queue_run_delay = 1s
"""
RELAY_MASTER = "smtp unix - - n - - smtp\nscache unix - - n - 1 scache\n"


class Postfix(MaildirPeer):
    """Takes mail for `DOMAIN` from loopback."""

    name = "postfix"

    def prepare(self) -> None:
        """Configuration and folders; root's, but for data and mail."""
        self._program = require("postfix")
        user = require_user("postfix")
        values = {
            "domain": DOMAIN, "run": self.folder, "port": self.port,
            "uid": user.pw_uid, "gid": user.pw_gid, "size_limit": SIZE_LIMIT,
        }  # fmt: skip
        etc = self.folder / "etc"
        for part in ("etc", "spool", "log", "data", "mail"):
            (self.folder / part).mkdir()
        for part in ("data", "mail"):
            os.chown(self.folder / part, user.pw_uid, user.pw_gid)
        (self.folder / "data").chmod(0o700)
        (etc / "main.cf").write_text(MAIN.format(**values))
        (etc / "master.cf").write_text(MASTER.format(**values))

    def command(self) -> list[str]:
        """The master daemon in the foreground."""
        return [self._program, "-c", str(self.folder / "etc"), "start-fg"]

    def leader(self, pid: int) -> int:
        """The master daemon: a child of the start script, in a session of its own."""
        file = self.folder / "spool" / "pid" / "master.pid"
        return int(file.read_text()) if file.exists() else pid


class PostfixRelay(Relay, Postfix):
    """The same, but all mail goes on to the next hop."""

    queue = tuple(f"spool/{part}/*" for part in ("incoming", "active", "deferred/*/*"))

    def prepare(self) -> None:
        """What is set last holds."""
        super().prepare()
        with (self.folder / "etc/main.cf").open("a") as file:
            file.write(RELAY_MAIN.format(next_hop=self.next_hop))
        with (self.folder / "etc/master.cf").open("a") as file:
            file.write(RELAY_MASTER)
