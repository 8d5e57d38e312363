"""A real DNS server (nsd) on loopback with test zones, over UDP and TCP."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Collection
from pathlib import Path
from types import TracebackType

import dns.exception
import dns.message
import dns.query
import dns.rcode

from mta.errors import MailraceError
from mta.testing.ports import HOST, free_port
from mta.testing.zones import TTL, Records, zone_texts

START_TIME = 120.0  # seconds until it must answer

CONFIG = """\
server:
  ip-address: {host}@{port}
  server-count: 1
  rrl-ratelimit: 0
  rrl-whitelist-ratelimit: 0
  username: ""
  zonesdir: "{folder}"
  pidfile: "{folder}/nsd.pid"
  database: ""
  xfrdfile: "{folder}/xfrd.state"
  xfrdir: "{folder}"
  zonelistfile: "{folder}/zone.list"
  logfile: "{folder}/nsd.log"
remote-control:
  control-enable: no
"""
ZONE = 'zone:\n  name: "{origin}"\n  zonefile: "{file}"\n'


class DnsServer:
    """nsd with these records; a context manager. Names in `broken` are zones that get SERVFAIL."""

    def __init__(
        self,
        records: Records,
        *,
        program: str = "nsd",
        broken: Collection[str] = (),
        ttl: int = TTL,
    ) -> None:
        self.port = free_port()
        self.address = f"{HOST}:{self.port}"  # as `dns.nameservers` takes it
        self._program, self._broken = program, broken
        self._zones = zone_texts(records, ttl)
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        state = "up" if self._process else "down"
        return f"<DnsServer {self.address} {len(self._zones)} zones, {state}>"

    def __enter__(self) -> DnsServer:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Write the zones and wait until the server answers."""
        self._folder = Path(tempfile.mkdtemp(prefix="mta-dns-"))
        config = self._folder / "nsd.conf"
        config.write_text(self._configuration(self._folder))
        self._process = subprocess.Popen(
            [self._program, "-d", "-c", str(config)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the server and remove its folder."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _configuration(self, folder: Path) -> str:
        parts = [CONFIG.format(host=HOST, port=self.port, folder=folder)]
        for number, (origin, text) in enumerate(self._zones.items()):
            (folder / f"{number}.zone").write_text(text)
            parts.append(ZONE.format(origin=origin, file=f"{number}.zone"))
        parts += [ZONE.format(origin=origin, file="missing.zone") for origin in self._broken]
        return "".join(parts)

    def _wait(self) -> None:
        query = dns.message.make_query(".", "SOA")
        end = time.monotonic() + START_TIME
        while time.monotonic() < end and self._process and self._process.poll() is None:
            try:
                reply = dns.query.udp(query, HOST, port=self.port, timeout=0.2)
            except (OSError, dns.exception.DNSException):
                time.sleep(0.02)
                continue
            if reply.rcode() == dns.rcode.NOERROR:
                return
        raise MailraceError(f"{self._program} does not answer on {self.address}:\n{self._log()}")

    def _log(self) -> str:
        log = self._folder / "nsd.log" if self._folder else None
        return log.read_text(errors="replace")[-2000:] if log and log.exists() else "no log"
