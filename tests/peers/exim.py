"""An Exim of its own: configuration, spool and log below one folder, mail into a maildir."""

from __future__ import annotations

import os

from bench.agents import exim
from tests.peers.process import MaildirPeer
from tests.peers.programs import require, require_user
from tests.peers.relay import Relay

DOMAIN = "exim.example"

BOX = """\
message_size_limit = 100M
accept_8bitmime = true
acl_smtp_rcpt = rcpt
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
  directory = {run}/mail/box
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
    config = exim.LOOPBACK + BOX

    def prepare(self) -> None:
        """Configuration, and folders that its user owns."""
        self._program = require("exim4")
        user = require_user(exim.USER)
        for part in ("spool", "log", "mail"):
            (self.folder / part).mkdir()
            os.chown(self.folder / part, user.pw_uid, user.pw_gid)
        (self.folder / "exim.conf").write_text(self.config.format(**self.values()))

    def values(self) -> dict[str, object]:
        """What stands in braces in the configuration."""
        return {
            "program": self._program, "run": self.folder, "port": self.port,
            "user": exim.USER, "domain": DOMAIN,
        }  # fmt: skip

    def command(self) -> list[str]:
        """The daemon in the foreground; each message is delivered at once."""
        return [self._program, "-C", str(self.folder / "exim.conf"), "-bdf", "-q1h"]


class EximRelay(Relay, Exim):
    """The same, but all mail goes on to the next hop."""

    config = exim.CONFIG

    def queued(self) -> int:
        """A message is header and data; either alone was left when it was killed."""
        parts = [path.name for path in self.folder.glob("spool/input/*/*-[HD]")]
        return len(parts) - len({name[:-2] for name in parts})

    def values(self) -> dict[str, object]:
        """The next hop, tried again after a second."""
        return super().values() | {"sink_port": self.next_hop, "retry": 1}

    def command(self) -> list[str]:
        """A queue run every second."""
        return [*super().command()[:-1], "-q1s"]
