"""What `mta doctor` looks at: each check gives findings, each says what to change and how."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import pwd
import resource
import socket
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mta.cli import reaching, relaying
from mta.config.values import Endpoint, duration_text, size_text

if TYPE_CHECKING:
    import dns.message
    import dns.rdatatype

    from mta.config.schema import Config

PROC = Path("/proc")
SYNCS = 24
SPARE_DESCRIPTORS = 1500  # a worker's RocksDB files, logs, DNS and control sockets
OUTSIDE = "198.51.100.1"  # RFC 5737: never sent to, it only tells the way out


class Finding(NamedTuple):
    """One thing that was looked at."""

    check: str
    level: str  # "ok", "warn" or "fail"
    text: str
    advice: str = ""  # what to change, and how


class Probe:
    """What is asked, and of whom; `target` is where port 25 is tried, if anywhere."""

    def __init__(
        self, config: Config, *, target: str = "", address: str = "", timeout: float = 5.0
    ) -> None:
        self.config, self.target, self.address, self.timeout = config, target, address, timeout

    def checks(self) -> list[tuple[str, Callable[[], Iterator[Finding]]]]:
        """All checks by name, in order."""
        return [
            ("relay", self.relay),
            ("user", self.user),
            ("descriptors", self.descriptors),
            ("ports", self.ports),
            ("memory", self.memory),
            ("disk", self.disk),
            ("sync", self.sync),
            ("dns", self.resolving),
            ("name", self.naming),
            ("ptr", self.ptr),
            ("port 25", self.port25),
        ]

    def relay(self) -> Iterator[Finding]:
        """Whom the listeners relay for: what they say to sessions of ours, and what is set."""
        own = relaying.own_addresses()
        for number, listener in enumerate(self.config.listener):
            for text in listener.relay_from:
                network = None if text == "unix" else ipaddress.ip_network(text)
                if network is not None and network.prefixlen < 8 and not network.is_private:
                    yield Finding(
                        "relay", "fail", f"{listener.listen} relays for {text}: an open relay",
                        f"name your own networks in listener.{number}.relay_from",
                    )  # fmt: skip
            for one in relaying.tries(listener, own):
                finding = self.tried(number, one)
                yield finding
                if finding.level == "warn" and "not tried" in finding.text:
                    break

    def tried(self, number: int, one: relaying.Try) -> Finding:
        """What a listener says to one session that wants to relay."""
        listener, rule = self.config.listener[number], f"listener.{number}.relay_from"
        who = f"{one.judged}, named by {one.by}" if one.by else one.judged
        try:
            answer = relaying.attempt(one, self.timeout)
        except OSError as error:
            text = f"{listener.listen}: not tried for {who}: {error.strerror or error}"
            return Finding("relay", "warn", text, "start the server, then run `mta doctor` again")
        named = relaying.expected(listener, one)
        if answer[:1] == "2" and (one.by or not named):
            text = f"{listener.listen} relays for {who}"
            text += ": an open relay" if one.by else f", whom {rule} does not name"
            advice = f"check {rule}, relay_domains and handler; reload a server with older ones"
            return Finding("relay", "fail", text, advice)
        if answer[:1] == "2":
            return Finding("relay", "ok", f"{listener.listen} relays for {who}, as {rule} says")
        if answer[:1] == "5" and not named:
            return Finding("relay", "ok", f"{listener.listen} does not relay for {who}: {answer}")
        text = f"{listener.listen} says to {who}: {answer}"
        advice = "check its handler and limits, and that the server runs with these settings"
        return Finding("relay", "warn", text, advice)

    def user(self) -> Iterator[Finding]:
        """Whom the server would run as."""
        if os.geteuid() or self.config.user:
            name = self.config.user or pwd.getpwuid(os.geteuid()).pw_name
            yield Finding("user", "ok", f"the server runs as {name}")
            return
        advice = 'set `user = "mailrace"`: the server switches to it after binding'
        yield Finding("user", "warn", "the server would run as root", advice)

    def descriptors(self) -> Iterator[Finding]:
        """The limit of open files against what the settings allow."""
        config = self.config
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        per_worker = (config.smtpd.max_sessions + config.delivery.max_connections) // config.workers
        needed = per_worker + SPARE_DESCRIPTORS
        text = f"{hard} open files allowed per process, at most {needed} needed"
        if hard in (-1, resource.RLIM_INFINITY) or hard >= needed:
            yield Finding("descriptors", "ok", text)
            return
        advice = (
            f"LimitNOFILE={needed} in the systemd unit (or `ulimit -Hn {needed}`), or lower"
            " smtpd.max_sessions or delivery.max_connections"
        )
        yield Finding("descriptors", "warn", text, advice)

    def ports(self) -> Iterator[Finding]:
        """The range of local ports, which bounds connections to one address."""
        try:
            text = (PROC / "sys/net/ipv4/ip_local_port_range").read_text()
            low, high = map(int, text.split())
        except (OSError, ValueError):
            yield Finding("ports", "warn", "cannot read the range of local ports")
            return
        count, wanted = high - low + 1, min(self.config.delivery.max_connections, 60_000)
        said = f"{count} local ports ({low} to {high}) for connections to one address"
        if count >= wanted:
            yield Finding("ports", "ok", said)
        else:
            advice = 'sysctl -w net.ipv4.ip_local_port_range="1024 65535"'
            yield Finding("ports", "warn", f"{said}, {wanted} are allowed", advice)

    def memory(self) -> Iterator[Finding]:
        """The cap against what the machine has to give."""
        try:
            lines = (PROC / "meminfo").read_text().splitlines()
            facts = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if line}
            free = facts["MemAvailable"]
        except (OSError, ValueError, KeyError, IndexError):
            yield Finding("memory", "warn", "cannot read how much memory is free")
            return
        cap = self.config.memory.cap
        text = f"{free / 1e9:.1f} GB are free, memory.cap is {size_text(cap)}"
        advice = f"set memory.cap to {size_text(free // 2 // 10**6 * 10**6)} or less"
        yield Finding("memory", *(("ok", text) if cap <= free else ("warn", text, advice)))

    def disk(self) -> Iterator[Finding]:
        """Space and rights on the spool's disk."""
        folder = existing(Path(self.config.spool))
        if not os.access(folder, os.W_OK | os.X_OK):
            advice = "chown it to the user that runs mta, or choose another with --home or spool"
            yield Finding("disk", "fail", f"{folder} cannot be written to", advice)
            return
        stat = os.statvfs(folder)
        free, least = stat.f_bavail * stat.f_frsize, self.config.disk.min_free
        text = f"{free / 1e9:.1f} GB are free in {folder}, disk.min_free is {size_text(least)}"
        if free < least:
            yield Finding("disk", "fail", text, "free some space or lower disk.min_free")
        elif free < 4 * least:
            yield Finding("disk", "warn", text, "new mail will soon get 452: free some space")
        else:
            yield Finding("disk", "ok", text)
        if mount_type(folder) in ("tmpfs", "ramfs"):
            advice = "set spool to a folder on a disk"
            yield Finding("disk", "fail", f"{folder} is in memory: a reboot loses its mail", advice)

    def sync(self) -> Iterator[Finding]:
        """How long the spool's disk takes to make a write durable."""
        folder = existing(Path(self.config.spool))
        try:
            times = sorted(sync_times(folder))
        except OSError as error:
            yield Finding(
                "sync", "fail", f"{folder}: {error.strerror}", "see the check of the disk"
            )
            return
        middle, worst = statistics.median(times), times[-1]
        text = f"a sync takes {middle * 1000:.2f} ms, {worst * 1000:.2f} ms at worst"
        if middle < 0.01:
            yield Finding("sync", "ok", text)
        else:
            advice = (
                "put the spool on a local SSD; commits are grouped, but each waits for one sync"
            )
            yield Finding("sync", "warn" if middle < 0.1 else "fail", text, advice)

    def resolving(self) -> Iterator[Finding]:
        """Whether every name server answers, and how fast."""
        servers = nameservers(self.config)
        if not servers:
            advice = "set dns.nameservers, or name one in /etc/resolv.conf"
            yield Finding("dns", "fail", "there is no name server", advice)
        for server in servers:
            started = time.monotonic()
            answer = self.query(server, ".", "NS")
            took = duration_text(round(time.monotonic() - started, 3))
            if isinstance(answer, str):
                advice = "set dns.nameservers to servers that answer this machine"
                yield Finding("dns", "fail", f"{server}: {answer}", advice)
            elif answer.rcode() not in (0, 3):
                advice = "let it resolve for this machine, or set dns.nameservers to one that does"
                yield Finding("dns", "fail", f"{server} answers {rcode(answer)}", advice)
            else:
                yield Finding("dns", "ok", f"{server} answers in {took}")

    def query(self, server: Endpoint, name: str, kind: str) -> dns.message.Message | str:
        """One question to one server; a text says why there is no answer."""
        import dns.exception
        import dns.message
        import dns.query

        question = dns.message.make_query(name, kind)
        try:
            answer, _ = dns.query.udp_with_fallback(
                question, server.host, port=server.port, timeout=self.timeout
            )
        except dns.exception.Timeout:
            return f"no answer in {duration_text(self.timeout)}"
        except (OSError, dns.exception.DNSException) as error:
            return str(error) or type(error).__name__
        return answer

    def look_up(self, name: str, kind: str) -> list[str]:
        """The values of the first server that answers; empty if there are none."""
        for server in nameservers(self.config):
            answer = self.query(server, name, kind)
            if not isinstance(answer, str):
                return [
                    record.to_text().rstrip(".")
                    for group in answer.answer
                    if group.rdtype == rdatatype(kind)
                    for record in group
                ]
        return []

    def naming(self) -> Iterator[Finding]:
        """The name that is said in EHLO: full, and known to DNS."""
        name = self.config.hostname
        advice = "set hostname to the full name of this machine, as mail1.example.com"
        if "." not in name or name.endswith((".local", ".localdomain", ".internal")):
            text = f"{name} is not fully qualified: many servers refuse it in EHLO (RFC 5321 2.3.5)"
            yield Finding("name", "warn", text, advice)
            return
        found = self.look_up(name, "A") + self.look_up(name, "AAAA")
        if found:
            yield Finding("name", "ok", f"EHLO name {name} is {', '.join(found)}")
        else:
            text = f"EHLO name {name} has no address in DNS"
            yield Finding("name", "warn", text, f"add an A or AAAA record for {name}, or {advice}")

    def ptr(self) -> Iterator[Finding]:
        """The name of the address we send from, and whether that name leads back."""
        import dns.reversename

        towards = self.servers()[0][1] if self.target and not self.address else ""
        address = self.address or outgoing_address(towards)
        if not address:
            yield Finding(
                "ptr", "warn", "this machine has no route to the internet", "check its routes"
            )
            return
        if not ipaddress.ip_address(address).is_global and not self.address:
            text = f"mail leaves from {address}, which is not public: receivers see another address"
            yield Finding("ptr", "warn", text, "say which: mta doctor --address PUBLIC-ADDRESS")
            return
        names = self.look_up(dns.reversename.from_address(address).to_text(), "PTR")
        if not names:
            advice = f"ask the owner of {address} to set its PTR to {self.config.hostname}"
            yield Finding("ptr", "fail", f"{address} has no PTR record", advice)
        for name in names:
            yield self.forward(name, address)

    def forward(self, name: str, address: str) -> Finding:
        """Whether a PTR name leads back to the address (RFC 1912 2.1) and is our EHLO name."""
        kind = "AAAA" if ":" in address else "A"
        if not same_address(address, self.look_up(name, kind)):
            text = f"{address} is {name}, which does not lead back to it"
            return Finding("ptr", "fail", text, f"add: {name} {kind} {address}")
        if name.lower() != self.config.hostname.lower():
            text = f"{address} is {name}, but EHLO says {self.config.hostname}"
            return Finding("ptr", "warn", text, f"set hostname to {name}, or the PTR to our name")
        return Finding("ptr", "ok", f"{address} is {name} and back")

    def port25(self) -> Iterator[Finding]:
        """Whether a mail server can be reached; only a server that was named is tried."""
        if not self.target:
            text = "not tried: no --target given"
            advice = "name a domain or server to try: mta doctor --target example.com"
            yield Finding("port 25", "warn", text, advice)
            return
        host, port = target_address(self.target)
        found = self.servers()
        if not found:
            text = f"{host} takes no mail: its MX is null (RFC 7505)"
            yield Finding("port 25", "fail", text, "name another domain or mail server")
        last: Finding | None = None
        for name, address in found:
            label = name if name == address else f"{name} ({address})"
            last = self.greeted(f"{label}:{port}" if port != 25 else label, address, port)
            if last.level == "ok":
                break
        if last is not None:
            yield last

    def servers(self) -> list[tuple[str, str]]:
        """(name, address) of what stands behind the target: a port makes it a server, no domain."""
        host, _ = target_address(self.target)
        with_port = host != self.target.strip("[]")
        names = [host] if with_port else reaching.servers(host, self.look_up)
        return [(name, one) for name in names for one in reaching.addresses(name, self.look_up)]

    def greeted(self, label: str, address: str, port: int) -> Finding:
        """What one server says when we connect."""
        try:
            with socket.create_connection((address, port), self.timeout) as connection:
                greeting = connection.recv(512).split(b"\n")[0].decode("ascii", "replace").strip()
                with contextlib.suppress(OSError):
                    connection.sendall(b"QUIT\r\n")
        except OSError as error:
            reason = error.strerror or str(error)
            text = f"{label} cannot be reached: {reason}"
            return Finding("port 25", "fail", text, reaching.advice(error))
        if greeting.startswith("220"):
            return Finding("port 25", "ok", f"{label} says {greeting}")
        text = f"{label} says {greeting or 'nothing'}"
        return Finding("port 25", "fail", text, reaching.refusal(greeting))


def existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    return folder


def mount_type(folder: Path) -> str:
    """The kind of file system that a folder is on, or ""."""
    best, kind = -1, ""
    try:
        lines = (PROC / "self/mounts").read_text().splitlines()
    except OSError:
        return ""
    for line in lines:
        _, mount, name, *_ = line.split()
        inside = folder.is_relative_to(mount.replace("\\040", " "))
        if inside and len(mount) >= best:
            best, kind = len(mount), name
    return kind


def sync_times(folder: Path) -> Iterator[float]:
    """Seconds of some small durable writes in a folder; leaves nothing behind."""
    path = folder / f".mta-doctor-{os.getpid()}"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        for _ in range(SYNCS):
            os.write(descriptor, b"\0" * 4096)
            started = time.perf_counter()
            os.fdatasync(descriptor)
            yield time.perf_counter() - started
    finally:
        os.close(descriptor)
        path.unlink()


def nameservers(config: Config) -> list[Endpoint]:
    """The configured name servers, or those of the system."""
    texts = list(config.dns.nameservers)
    if not texts:
        import dns.exception
        import dns.resolver

        with contextlib.suppress(dns.exception.DNSException, OSError):
            texts = [str(server) for server in dns.resolver.Resolver().nameservers]
    found = []
    for text in texts:
        try:
            found.append(Endpoint(str(ipaddress.ip_address(text)), 53))
        except ValueError:
            found.append(Endpoint.parse(text))
    return found


def rcode(answer: dns.message.Message) -> str:
    """The name of an answer's code."""
    import dns.rcode

    return dns.rcode.to_text(answer.rcode())


def rdatatype(kind: str) -> dns.rdatatype.RdataType:
    """The record type of a name."""
    import dns.rdatatype

    return dns.rdatatype.from_text(kind)


def outgoing_address(target: str) -> str:
    """The address that packets to a host (or the world) leave from; nothing is sent."""
    host = target or OUTSIDE
    with contextlib.suppress(OSError):
        for family, kind, _, _, where in socket.getaddrinfo(host, 25, type=socket.SOCK_DGRAM):
            with socket.socket(family, kind) as probe, contextlib.suppress(OSError):
                probe.connect(where)
                return str(probe.getsockname()[0])
    return ""


def target_address(target: str) -> tuple[str, int]:
    """(host, port) of host, host:port, [v6] or [v6]:port; port 25 if none is given."""
    with contextlib.suppress(ValueError):
        endpoint = Endpoint.parse(target)
        return endpoint.host, endpoint.port
    return target.strip("[]"), 25


def same_address(address: str, others: list[str]) -> bool:
    """Whether one of the others is this address, however it is written."""
    wanted = ipaddress.ip_address(address)
    return any(ipaddress.ip_address(other) == wanted for other in others)
