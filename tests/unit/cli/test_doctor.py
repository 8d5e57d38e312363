"""`mta doctor`, on loopback alone."""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mta.cli import checks, reaching, relaying
from mta.cli.checks import Finding, Probe
from mta.config.load import load
from tests.unit.cli.conftest import Run
from tests.waiting import PATIENCE

HOST = "mail1.example.com"
ZONE = {
    (HOST, "A"): ["192.0.2.10"],
    (HOST, "AAAA"): ["2001:db8::10"],
    ("10.2.0.192.in-addr.arpa", "PTR"): [f"{HOST}."],
    ("11.2.0.192.in-addr.arpa", "PTR"): ["other.example.com."],
    ("12.2.0.192.in-addr.arpa", "PTR"): ["astray.example.com."],
    ("astray.example.com", "A"): ["192.0.2.99"],
    ("other.example.com", "A"): ["192.0.2.11"],
}


def probe(
    home: Path, *overrides: tuple[str, str], timeout: float = PATIENCE, **options: Any
) -> Probe:
    """A probe of a configuration."""
    return Probe(load(None, [("hostname", HOST), *overrides], home), timeout=timeout, **options)


def only(found: Iterator[Finding]) -> Finding:
    """The single finding."""
    (finding,) = found
    return finding


@contextmanager
def mail_server(greeting: bytes) -> Iterator[str]:
    """Greets one client; yields host:port."""

    def serve() -> None:
        client, _ = listener.accept()
        with client:
            client.sendall(greeting)
            client.recv(100)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        thread.join()


class Relay:
    """A server that answers RCPT by the address it judges; "" stands for the greeting."""

    def __init__(self, answers: dict[str, bytes]) -> None:
        self.answers, self.heard = answers, [b""]

    def serve(self, client: socket.socket, source: str) -> None:
        with client, client.makefile("rb") as lines:
            if "PROXY" in self.answers:
                source = lines.readline().split()[2].decode()
            client.sendall(self.answers.get("", b"220 mx") + b"\r\n")
            for line in lines:
                self.heard.append(line)
                verb = line[:4].upper()
                if verb == b"XCLI":
                    source = line.strip().decode().partition("=")[2]
                told = (
                    self.answers.get(source, b"554 5.7.1 no")
                    if verb == b"RCPT"
                    else b"250-x\r\n250 x"
                )
                client.sendall(told + b"\r\n")


@contextmanager
def relay(answers: dict[str, bytes]) -> Iterator[tuple[str, Relay]]:
    """A listener on loopback; its address."""
    server = Relay(answers)

    def accept() -> None:
        while True:
            client, (source, _) = listener.accept()
            if ended:
                client.close()
                return
            server.serve(client, source)

    ended: list[bool] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}", server
        finally:
            ended.append(True)
            socket.create_connection(listener.getsockname()).close()
            thread.join()


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine has no address but loopback's."""
    monkeypatch.setattr("mta.cli.relaying.own_addresses", list)


YES, NO = b"250 2.1.5 Ok", b"554 5.7.1 relaying denied"
RELAY_FROM, PROXY, XCLIENT = (f"listener.0.{key}_from" for key in ("relay", "proxy", "xclient"))
HOME, STRANGER = "127.0.0.1", "198.51.100.1"


@pytest.mark.parametrize(
    ("settings", "answers", "found"),
    [
        ([], {HOME: YES}, [("ok", "relays for 127.0.0.1, as listener.0.relay_from says")]),
        ([], {HOME: NO}, [("warn", "says to 127.0.0.1: 554 5.7.1 relaying denied")]),
        ([(RELAY_FROM, "")], {HOME: NO}, [("ok", "does not relay for 127.0.0.1: 554 5.7.1")]),
        ([(RELAY_FROM, "")], {HOME: YES}, [("fail", "whom listener.0.relay_from does not name")]),
        ([(RELAY_FROM, "")], {"": b"421 4.3.2 busy"}, [("warn", "says to 127.0.0.1: 421 4.3.2")]),
        ([(RELAY_FROM, "0.0.0.0/0")], {HOME: YES},
         [("fail", "relays for 0.0.0.0/0: an open relay"), ("ok", "relays for 127.0.0.1")]),
        ([(PROXY, HOME)], {"PROXY": b""},
         [("ok", "does not relay for 198.51.100.1, named by PROXY")]),
        ([(PROXY, HOME)], {"PROXY": b"", STRANGER: YES},
         [("fail", "named by PROXY: an open relay")]),
        ([(XCLIENT, HOME)], {HOME: NO, STRANGER: NO},
         [("ok", "does not relay for 127.0.0.1"), ("ok", "198.51.100.1, named by XCLIENT")]),
        ([(XCLIENT, HOME)], {HOME: YES, STRANGER: YES},
         [("fail", "does not name"), ("fail", "named by XCLIENT: an open relay")]),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("alone")
def test_relaying_is_tried(
    tmp_path: Path,
    settings: list[tuple[str, str]],
    answers: dict[str, bytes],
    found: list[tuple[str, str]],
) -> None:
    with relay(answers) as (listen, server):
        seen = list(probe(tmp_path, ("listener.0.listen", listen), *settings).relay())
    assert [one.level for one in seen] == [level for level, _ in found]
    for finding, (_, text) in zip(seen, found, strict=True):
        assert text in finding.text
        assert finding.advice or finding.level == "ok"
    assert not any(line.startswith(b"DATA") for line in server.heard)
    assert server.heard[-1] == b"QUIT\r\n"


@pytest.mark.usefixtures("alone")
def test_relaying_that_cannot_be_tried(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listen = f"127.0.0.1:{listener.getsockname()[1]}"
    found = only(probe(tmp_path, ("listener.0.listen", listen)).relay())
    assert found.level == "warn" and "not tried for 127.0.0.1: Connection refused" in found.text
    listen = f"unix:{tmp_path}/none.sock"
    found = only(probe(tmp_path, ("listener.0.listen", listen)).relay())
    assert found.level == "warn" and "not tried for unix: No such file" in found.text


@pytest.mark.parametrize(
    ("listen", "own", "places"),
    [
        ("0.0.0.0:25", ["192.0.2.9"], [(HOME, HOME), (HOME, "192.0.2.9")]),
        ("192.0.2.9:25", ["192.0.2.9"], [("192.0.2.9", HOME), ("192.0.2.9", "192.0.2.9")]),
        ("[::]:25", ["192.0.2.9", "2001:db8::9"],
         [("::1", "::1"), ("::1", "2001:db8::9"), (HOME, HOME), (HOME, "192.0.2.9")]),
        ("[::1]:25", ["192.0.2.9"], [("::1", "::1")]),
        ("unix:/run/x.sock", ["192.0.2.9"], [("", "unix")]),
    ],
)  # fmt: skip
def test_where_sessions_come_from(
    tmp_path: Path, listen: str, own: list[str], places: list[tuple[str, str]]
) -> None:
    (listener,) = probe(tmp_path, ("listener.0.listen", listen)).config.listener
    assert [(one.endpoint.host, one.source) for one in relaying.tries(listener, own)] == places


@pytest.mark.parametrize(
    ("uid", "user", "level"), [(0, "", "warn"), (0, "nobody", "ok"), (65534, "", "ok")]
)
def test_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uid: int, user: str, level: str
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: uid)
    found = only(probe(tmp_path, ("user", user)).user())
    assert found.level == level
    assert ("root" in found.text) == (level == "warn")


@pytest.mark.parametrize(
    ("hard", "level"),
    [(100_000, "ok"), (-1, "ok"), (1024, "warn"), (31_499, "warn"), (31_500, "ok")],
)
def test_descriptors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hard: int, level: str
) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda _: (1024, hard))
    found = only(probe(tmp_path, ("workers", "1")).descriptors())
    assert found.level == level
    assert ("LimitNOFILE=31500" in found.advice) == (level == "warn")


@pytest.mark.parametrize(
    ("text", "level"),
    [("32768\t60999\n", "ok"), ("50000 51000", "warn"), ("nonsense", "warn"), (None, "warn")],
)
def test_ports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, level: str
) -> None:
    folder = tmp_path / "sys/net/ipv4"
    folder.mkdir(parents=True)
    if text is not None:
        (folder / "ip_local_port_range").write_text(text)
    monkeypatch.setattr(checks, "PROC", tmp_path)
    assert only(probe(tmp_path).ports()).level == level


@pytest.mark.parametrize(
    ("text", "level"),
    [("MemTotal: 9 kB\nMemAvailable: 4000000 kB\n", "ok"), ("MemAvailable: 900000 kB", "warn"),
     ("", "warn")],
)  # fmt: skip
def test_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, level: str) -> None:
    (tmp_path / "meminfo").write_text(text)
    monkeypatch.setattr(checks, "PROC", tmp_path)
    found = only(probe(tmp_path).memory())
    assert found.level == level
    if "900000" in text:
        assert found.advice == "set memory.cap to 460MB or less"


def test_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "PROC", tmp_path)
    assert only(probe(tmp_path, ("disk.min_free", "1MB")).disk()).level == "ok"
    assert only(probe(tmp_path, ("disk.min_free", "900TB")).disk()).level == "fail"
    monkeypatch.setattr("os.access", lambda *_: False)
    assert "cannot be written" in only(probe(tmp_path).disk()).text


def test_a_spool_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "self").mkdir()
    mounts = f"/dev/x / ext4 rw 0 0\ntmpfs {tmp_path} tmpfs rw 0 0\n"
    (tmp_path / "self/mounts").write_text(mounts)
    monkeypatch.setattr(checks, "PROC", tmp_path)
    found = list(probe(tmp_path, ("disk.min_free", "0")).disk())
    assert [finding.level for finding in found] == ["ok", "fail"]
    assert "loses its mail" in found[1].text


@pytest.mark.parametrize(("seconds", "level"), [(0.001, "ok"), (0.05, "warn"), (0.5, "fail")])
def test_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, level: str) -> None:
    monkeypatch.setattr(checks, "sync_times", lambda _: [seconds] * 5)
    assert only(probe(tmp_path).sync()).level == level


def test_sync_measures_and_leaves_nothing(tmp_path: Path) -> None:
    times = list(checks.sync_times(tmp_path))
    assert len(times) == checks.SYNCS and min(times) > 0
    assert list(tmp_path.iterdir()) == []


def test_dns(tmp_path: Path, resolving: Callable[..., Any]) -> None:
    with resolving({}) as server:
        found = only(probe(tmp_path, ("dns.nameservers", server)).resolving())
        assert found.level == "ok" and server in found.text
    with resolving({}, 2) as server:
        found = only(probe(tmp_path, ("dns.nameservers", server)).resolving())
        assert found.level == "fail" and "SERVFAIL" in found.text


def test_a_dead_name_server(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        server = f"127.0.0.1:{silent.getsockname()[1]}"
        found = only(probe(tmp_path, ("dns.nameservers", server), timeout=0.2).resolving())
    assert found.level == "fail" and "no answer in 200ms" in found.text


@pytest.mark.parametrize(
    ("hostname", "level"), [(HOST, "ok"), ("localhost", "warn"), ("none.example.com", "warn")]
)
def test_name(tmp_path: Path, resolving: Callable[..., Any], hostname: str, level: str) -> None:
    with resolving(ZONE) as server:
        overrides = (("dns.nameservers", server), ("hostname", hostname))
        assert only(probe(tmp_path, *overrides).naming()).level == level


@pytest.mark.parametrize(
    ("address", "level", "said"),
    [
        ("192.0.2.10", "ok", "and back"),
        ("192.0.2.11", "warn", "but EHLO says"),
        ("192.0.2.12", "fail", "does not lead back"),
        ("192.0.2.13", "fail", "has no PTR record"),
        ("", "warn", "is not public"),
    ],
)
def test_ptr(
    tmp_path: Path, resolving: Callable[..., Any], address: str, level: str, said: str
) -> None:
    with resolving(ZONE) as server:
        asked = probe(tmp_path, ("dns.nameservers", server), address=address, target="127.0.0.1:25")
        found = only(asked.ptr())
    assert found.level == level and said in found.text


@pytest.mark.parametrize(
    ("greeting", "level"),
    [(b"220 mx ESMTP\r\n", "ok"), (b"554 go away\r\n", "fail"), (b"", "fail")],
)
def test_port25(tmp_path: Path, greeting: bytes, level: str) -> None:
    with mail_server(greeting or b"\n") as target:
        found = only(probe(tmp_path, target=target).port25())
    assert found.level == level


def test_port25_that_is_closed_or_not_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        target = f"127.0.0.1:{listener.getsockname()[1]}"
    found = only(probe(tmp_path, target=target).port25())
    assert found.level == "fail" and "refused" in found.text
    assert only(probe(tmp_path).port25()).level == "warn"


@pytest.mark.parametrize(
    ("text", "found"),
    [("mx", ("mx", 25)), ("mx:26", ("mx", 26)), ("[::1]", ("::1", 25)), ("[::1]:2", ("::1", 2))],
)
def test_target(text: str, found: tuple[str, int]) -> None:
    assert checks.target_address(text) == found


def test_command(
    run: Run, tmp_path: Path, resolving: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "mount_type", lambda folder: "ext4")
    with resolving(ZONE) as server, mail_server(b"220 mx\r\n") as target:
        ran = run(
            "doctor", "--json", "--home", tmp_path, "--target", target, "--address", "192.0.2.10",
            "-o", f"dns.nameservers={server}", "-o", f"hostname={HOST}",
        )  # fmt: skip
    rows = ran.json
    assert [row["check"] for row in rows] == [
        "relay", "user", "descriptors", "ports", "memory", "disk", "sync", "dns", "name", "ptr",
        "port 25",
    ]  # fmt: skip
    assert ran.code == int(any(row["level"] == "fail" for row in rows))
    assert all(row["advice"] for row in rows if row["level"] != "ok")
    assert all(row["level"] == "ok" for row in rows[6:])


def test_command_for_people(run: Run, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        target = f"127.0.0.1:{listener.getsockname()[1]}"
    ran = run("doctor", "--home", tmp_path, "--target", target, "--timeout", "0.1",
              "-o", "dns.nameservers=127.0.0.1:1")  # fmt: skip
    assert ran.code == 1
    assert "✗ port 25" in ran.out and "nothing listens there" in ran.out
    assert run("doctor", "--address", "nonsense").code == 2


DOMAIN = {
    ("example.net", "MX"): ["20 mx2.example.net.", "10 mx1.example.net."],
    ("mx1.example.net", "A"): ["127.0.0.1"],
    ("null.example", "MX"): ["0 ."],
}


def test_a_domain_s_target_is_its_mx(tmp_path: Path, resolving: Callable[..., Any]) -> None:
    with resolving(DOMAIN) as server:
        asked = probe(tmp_path, ("dns.nameservers", server), target="example.net")
        assert asked.servers()[0] == ("mx1.example.net", "127.0.0.1")
        asked.target = "null.example"
        assert "takes no mail" in only(asked.port25()).text
        asked.target = "example.net:26"  # a port is a server's
        assert asked.servers() == [("example.net", "example.net")]
        asked.target = "[::1]"
        assert asked.servers() == [("::1", "::1")]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), "nothing listens there"),
        (TimeoutError("timed out"), "outbound port 25 is blocked"),
        (OSError(errno.ENETUNREACH, "unreachable"), "no route"),
        (socket.gaierror(-2, "Name or service not known"), "check its spelling"),
    ],
)
def test_advice_fits_the_failure(error: OSError, said: str) -> None:
    assert said in reaching.advice(error)


def test_advice_fits_the_greeting() -> None:
    assert "try again later" in reaching.refusal("421 busy")
    assert "blocklist" in reaching.refusal("554 go away")
    assert "no mail server" in reaching.refusal("SSH-2.0")
