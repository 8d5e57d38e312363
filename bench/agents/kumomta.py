"""KumoMTA. It is not on the reference machine: this configuration follows its manual, unrun."""

from __future__ import annotations

from bench.agents.base import Agent, output, program

POLICY = """
local kumo = require 'kumo'

kumo.on('init', function()
  for _, name in ipairs { 'data', 'meta' } do
    kumo.define_spool {
      name = name,
      path = '{run}/spool/' .. name,
      kind = 'RocksDB',
      flush = true, -- synced before the 250, as the others are
    }
  end
  kumo.configure_local_logs { log_dir = '{run}/log' }
  kumo.start_esmtp_listener {
    listen = '127.0.0.1:{port}',
    hostname = 'kumomta.bench.example',
    relay_hosts = { '127.0.0.0/8' },
  }
end)

kumo.on('get_queue_config', function(domain, tenant, campaign, routing_domain)
  return kumo.make_queue_config {
    protocol = { smtp = { mx_list = { { name = 'sink', addr = '127.0.0.1' } } } },
    retry_interval = '{retry} seconds',
  }
end)

kumo.on('get_egress_path_config', function(domain, source, site)
  return kumo.make_egress_path {
    smtp_port = {sink_port},
    enable_tls = 'Disabled',
    prohibited_hosts = {}, -- loopback is among them otherwise
    connection_limit = 200,
    max_deliveries_per_connection = 100000,
    max_ready = 50000,
  }
end)
"""


class KumoMTA(Agent):
    """kumod with a policy of ours."""

    name = "kumomta"
    settings = (
        "RocksDB spool with flush (synced before the 250), 200 connections, 100,000 deliveries a "
        "connection, max_ready 50,000, no TLS"
    )
    retries = True

    def _program(self) -> str:
        return str(program("kumod", "BENCH_KUMOMTA", "sbin/kumod") or "")

    def missing(self) -> str:
        return "" if self._program() else "KumoMTA is not installed (docs.kumomta.com)"

    def prepare(self) -> None:
        """Write the policy: what is in braces of one word is ours, the rest is Lua."""
        scene, text = self.scene, POLICY
        values = {
            "run": self.run, "port": scene.port, "sink_port": scene.sink_port,
            "retry": scene.retry or 1200,
        }  # fmt: skip
        for name, value in values.items():
            text = text.replace(f"{{{name}}}", str(value))
        (self.run / "init.lua").write_text(text)
        (self.run / "spool").mkdir()

    def command(self) -> list[str]:
        return [self._program(), "--policy", str(self.run / "init.lua"), "--user", "root"]

    def version(self) -> str:
        return output(self._program(), "--version")
