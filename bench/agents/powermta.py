"""PowerMTA. It is not on the reference machine: this configuration follows its manual, unrun."""

from __future__ import annotations

from bench.agents.base import Agent, output, program

CONFIG = """
host-name powermta.bench.example
run-as-root yes
smtp-listener 127.0.0.1:{port}
http-mgmt-port 0
spool {run}/spool
log-file {run}/log/pmta.log
sync-msg-create yes
sync-msg-update yes
total-max-smtp-in 2000
total-max-smtp-out 2000
<source 127.0.0.0/8>
    always-allow-relaying yes
    smtp-service yes
    max-message-size unlimited
    add-received-header yes
</source>
<domain *>
    route [127.0.0.1]:{sink_port}
    max-smtp-out 200
    max-msg-per-connection 100000
    retry-after {retry}s
    use-starttls no
</domain>
<acct-file {run}/log/acct.csv>
    records d,b
</acct-file>
"""


class PowerMTA(Agent):
    """pmtad; a licence is needed."""

    name = "powermta"
    settings = "sync-msg-create (synced before the 250), 200 connections, no TLS, accounting on"
    retries = True

    def _program(self) -> str:
        return str(program("pmtad", "BENCH_POWERMTA", "usr/sbin/pmtad") or "")

    def missing(self) -> str:
        return "" if self._program() else "PowerMTA is not installed (commercial)"

    def prepare(self) -> None:
        scene = self.scene
        for name in ("spool", "log"):
            (self.run / name).mkdir()
        text = CONFIG.format(
            run=self.run, port=scene.port, sink_port=scene.sink_port, retry=scene.retry or 600
        )
        (self.run / "config").write_text(text)

    def command(self) -> list[str]:
        return [self._program(), "--dontSpawn", "--config", str(self.run / "config")]

    def version(self) -> str:
        return output(self._program(), "--version")
