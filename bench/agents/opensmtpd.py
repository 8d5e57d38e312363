"""OpenSMTPD."""

from __future__ import annotations

import os

from bench.agents.base import Agent, output, program

# Without `max-mails` a session ends after 100 messages; the `mta limit`s take out its pauses.
CONFIG = """\
listen on 127.0.0.1 port {port} hostname opensmtpd.bench.example
smtp limit max-mails 1000000
mta limit max-conn-per-host 100 max-conn-per-route 100 max-conn-per-source 100 \\
    max-conn-per-connector 100 max-conn-per-relay 100 max-conn-per-domain 100 \\
    conn-delay-host 0 conn-delay-route 0 conn-delay-source 0 conn-delay-connector 0 \\
    conn-delay-relay 0 conn-delay-domain 0 reconn-delay-route 0 \\
    session-mail-max 1000000 session-transaction-delay 0 session-keepalive 0 \\
    task-hiwat 10000 task-lowat 5000 task-release 1000
scheduler limit max-inflight 50000
action "sink" relay host smtp://127.0.0.1:{sink_port}
match from any for any action "sink"
"""


class OpenSMTPD(Agent):
    """OpenSMTPD; BENCH_OPENSMTPD names a folder where its package was unpacked."""

    name = "opensmtpd"
    settings = (
        "max-mails 1,000,000, `mta limit` raised to 100 connections without delays, max-inflight "
        "50,000; it does not sync what it accepts"
    )
    late = True
    # The spool's place is compiled in; its resolver asks DNS before the hosts file unless told.
    mounts = (("spool", "/var/spool/smtpd"), ("resolv.conf", "/etc/resolv.conf"))

    def _program(self) -> str:
        return str(program("smtpd", "BENCH_OPENSMTPD", "usr/sbin/smtpd") or "")

    def missing(self) -> str:
        if os.geteuid():
            return "OpenSMTPD has to be started by root"
        return "" if self._program() else "OpenSMTPD is not installed (apt-get install opensmtpd)"

    def prepare(self) -> None:
        (self.run / "spool").mkdir(mode=0o711)
        (self.run / "resolv.conf").write_text("lookup file\n")
        config = self.run / "smtpd.conf"
        config.write_text(CONFIG.format(port=self.scene.port, sink_port=self.scene.sink_port))
        config.chmod(0o600)

    def command(self) -> list[str]:
        return [self._program(), "-d", "-f", str(self.run / "smtpd.conf")]

    def version(self) -> str:
        return output(self._program(), "-h").splitlines()[0].removeprefix("version: ")
