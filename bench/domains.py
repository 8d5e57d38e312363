"""Scenario `domains`: a message to each of many domains, each looked up, then the same again.

A real nsd has the zone, a real unbound asks it for us; neither's CPU is counted. The first run
meets an empty cache, the second finds every answer in it. One worker, as each has its own cache.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dns.exception
import dns.message
import dns.query

from bench import machine, report
from bench.agents import Mailrace, Scene
from bench.group import Group
from bench.relay import Plan, Workload, running, timed
from bench.traffic import OwnSink
from mta.testing.dns import HOST, DnsServer, free_port

TTL = 86_400  # seconds: nothing is looked up again
START_TIME = 10.0  # seconds until unbound must answer
UNBOUND = """\
server:
  interface: {host}@{port}
  access-control: 127.0.0.0/8 allow
  do-not-query-localhost: no
  module-config: "iterator"
  num-threads: 1
  outgoing-range: 4096
  num-queries-per-thread: 2048
  msg-cache-size: 128m
  rrset-cache-size: 256m
  username: ""
  chroot: ""
  directory: "{folder}"
  pidfile: "{folder}/unbound.pid"
  use-syslog: no
forward-zone:
  name: "."
  forward-addr: {host}@{upstream}
remote-control:
  control-enable: no
"""


class Server(Mailrace):
    """Mailrace with one worker that delivers by MX."""

    nameserver = ""
    names = 0

    def command(self) -> list[str]:
        return [
            *super().command(), "--workers", "1",
            "-o", f'dns.nameservers=["{self.nameserver}"]',
            "-o", f"dns.cache_size={2 * self.names}",
        ]  # fmt: skip

    def prepare(self) -> None:
        route = f"[[route]]\nmatch = {{}}\nport = {self.scene.sink_port}\n"
        (self.run / "mailrace.toml").write_text(route)


def options(parser: argparse.ArgumentParser) -> None:
    """The command line."""
    parser.add_argument("--domains", type=int, default=100_000)
    parser.add_argument("--hosts", type=int, default=100, help="mail servers they share")
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp"), help="disk of the spools")
    parser.add_argument("--results", type=Path, default=report.RESULTS)
    parser.add_argument("--repeats", type=int, default=1)


def records(scene: Scene, domains: int) -> dict[str, dict[str, str]]:
    """The zone: an MX for each domain, an address for each host."""
    hosts = {f"mx{index}.hosts.example": {"A": scene.hop(index)} for index in range(scene.hops)}
    mx = {f"d{n}.example": {"MX": f"10 mx{n % scene.hops}.hosts.example"} for n in range(domains)}
    return hosts | mx


@contextlib.contextmanager
def unbound(folder: Path, upstream: int) -> Iterator[str]:
    """A cache in front of a server's port; its address as `dns.nameservers` takes it."""
    port, config = free_port(), folder / "unbound.conf"
    config.write_text(UNBOUND.format(host=HOST, port=port, folder=folder, upstream=upstream))
    with (folder / "unbound.log").open("wb") as output:
        group = Group("unbound", ["unbound", "-d", "-c", str(config)], output, folder)
    try:
        query, deadline = dns.message.make_query("mx0.hosts.example", "A"), time.monotonic()
        while not _answers(query, port):
            if time.monotonic() - deadline > START_TIME:
                raise RuntimeError((folder / "unbound.log").read_text()[-500:])
        yield f"{HOST}:{port}"
    finally:
        group.end(5)


def _answers(query: dns.message.Message, port: int) -> bool:
    try:
        return bool(dns.query.udp(query, HOST, port=port, timeout=0.2).answer)
    except (OSError, dns.exception.DNSException):
        time.sleep(0.05)
        return False


def course(folder: Path, args: argparse.Namespace, nameserver: str) -> dict[str, Any]:
    """Both runs over one server."""
    count, scene = args.domains, Scene(hops=args.hosts)
    work = Workload("domains", hops=args.hosts, domains=count, seconds=max(30.0, count / 500))
    plan = Plan([], folder, work)
    sink = OwnSink(folder, scene, "accept", 1, capacity=2 * count + 1000)
    server = Server(folder / "server", scene)
    server.nameserver, server.names = nameserver, count
    try:
        with running(server) as group:
            return {
                name: one_run(plan, first, count, sink, group)
                for name, first in (("cold", 0), ("warm", count))
            }
    finally:
        sink.end()


def one_run(plan: Plan, first: int, count: int, sink: OwnSink, group: Group) -> dict[str, Any]:
    """A message to each domain."""
    busy = machine.quiet()
    result = {"busy_before": round(busy, 3), **timed(plan, count, sink, group, first)}
    print(f"{count:,} messages, {result['rate']:,.0f}/s, {result['cpu_us']:,.0f} us", flush=True)
    return result


def page(result: dict[str, Any]) -> str:
    """The page of results."""
    cold, warm = result["cold"], result["warm"]
    rows = [
        ("messages/s", "rate", 1, 0), ("CPU us a message", "cpu_us", 1, 0),
        ("delivered p50 ms", "deliver_p50_us", 1e-3, 1), ("p99", "deliver_p99_us", 1e-3, 1),
        ("memory MB", "pss", 1e-6, 0), ("lost", "lost", 1, 0), ("twice", "duplicates", 1, 0),
    ]  # fmt: skip
    lines = [
        f"# A message to each of {result['domains']:,} domains",
        "",
        *report.preamble(result["environment"], "mta bench domains"),
        "",
        "| | cold cache | warm |",
        "|---|---|---|",
    ]
    for name, key, scale, digits in rows:
        one, two = (f"{run[key] * scale:,.{digits}f}" for run in (cold, warm))
        lines.append(f"| {name} | {one} | {two} |")
    lines += [
        "",
        f"Cold is {cold['cpu_us'] / warm['cpu_us']:.2f} times warm. 10 kB, 20 sessions, durable,",
        f"one worker, {result['hosts']:,} mail servers. nsd and unbound are on the same cores,",
        "their CPU is not counted.",
        "",
    ]
    return "\n".join(lines)


def main(args: argparse.Namespace) -> int:
    """Cold and warm look-ups: CPU of both for a message."""
    if missing := [name for name in ("nsd", "unbound") if not shutil.which(name)]:
        print(f"domains: skipped, {' and '.join(missing)} not installed (apt-get install)")
        return 0
    folder = Path(tempfile.mkdtemp(prefix="mailrace-bench-", dir=args.folder))
    folder.chmod(0o755)
    zone = records(Scene(hops=args.hosts), args.domains)
    try:
        with (
            DnsServer(zone, ttl=TTL) as authority,
            unbound(folder, authority.port) as address,
            machine.alone(),
        ):
            result = {
                "scenario": "domains", "environment": report.environment(folder),
                "domains": args.domains, "hosts": args.hosts, **course(folder, args, address),
            }  # fmt: skip
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps({name: result[name]["cpu_us"] for name in ("cold", "warm")}))
    print(report.write(result, args.results, "domains", page(result)))
    return int(not (result["cold"]["complete"] and result["warm"]["complete"]))
