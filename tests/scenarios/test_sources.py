"""Mail leaves from the sources of its pool, with their names, by their weights."""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path

import pytest

from mta.testing.remote import RemoteMX
from tests.scenarios.server import Server

FILE = """\
[[listener]]
listen = "127.0.0.1:{port}"
control_headers = true

[[route]]
match = {{ domain = "plain.example" }}
next_hop = "[127.0.0.1]:{remote}"

[[route]]
match = {{ domain = "v6.example" }}
next_hop = "[::1]:{remote}"
pool = "v4"

[[route]]
next_hop = "[127.0.0.1]:{remote}"
pool = "{pool}"

[source.ip1]
address = "127.0.0.2"
ehlo = "one.source.example"

[source.ip2]
address = "{second}"
ehlo = "two.source.example"

[pool.bulk]
sources = {{ ip1 = 3, ip2 = 1 }}

[pool.v4]
sources = {{ ip1 = 1 }}

[retry]
schedule = ["1s"]
"""


class Configured(Server):
    """A server whose settings are in a file."""

    def write(self, remote: RemoteMX, pool: str = "bulk", second: str = "127.0.0.3") -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_text(
            FILE.format(port=self.port, remote=remote.port, pool=pool, second=second)
        )

    @property
    def file(self) -> Path:
        return self.home / "mailrace.toml"

    def command(self) -> list[str]:
        command = super().command()
        at = command.index("--listen")
        return [*command[:at], *command[at + 2 :], "--config", str(self.file)]


def send(server: Server, count: int, domain: str = "b.example", header: str = "") -> None:
    for number in range(count):
        server.send(f"r{number}@{domain}", body=f"{header}Subject: x\r\n\r\nhi\r\n")


def test_weights_names_and_records(tmp_path: Path) -> None:
    server = Configured(tmp_path / "home")
    with RemoteMX() as remote:
        server.write(remote)
        with server:
            send(server, 40)
            got = remote.wait(40)
            assert Counter((m.client, m.helo) for m in got) == {
                ("127.0.0.2", "one.source.example"): 30,
                ("127.0.0.3", "two.source.example"): 10,
            }
            records = server.wait_records(40, "Delivery")
            assert Counter(r["source"] for r in records) == {"ip1": 30, "ip2": 10}
            assert {r["site"] for r in records} == {f"127.0.0.1:{remote.port}"}


def test_the_message_names_a_pool_a_source_or_none(tmp_path: Path) -> None:
    server = Configured(tmp_path / "home")
    with RemoteMX() as remote:
        server.write(remote)
        with server:
            for header in ("X-Pool: v4\r\n", "X-virtual-MTA: ip2\r\n", "", "X-Pool: lost\r\n" * 2):
                send(server, 1, "plain.example", header)
            send(server, 1, "plain.example", "X-Pool: lost\r\n")
            remote.wait(5)
            records = server.wait_records(5, "Delivery")
            sources = Counter(r["source"] for r in records)
            assert sources == {"ip1": 1, "ip2": 1, "default": 3}
            assert server.said().count('there is no pool "lost"') == 1


def test_a_family_that_the_source_lacks_is_not_connected_to(tmp_path: Path) -> None:
    server = Configured(tmp_path / "home")
    with RemoteMX(host="::1") as remote:
        server.write(remote)
        with server:
            send(server, 1, "v6.example")
            [record] = server.wait_records(1, "TransientFailure")
            assert record["text"] == "source ip1 has no IPv6 address, and ::1 no other"
            assert record["source"] == "ip1"
            assert remote.sessions == 0


def test_ipv6_sources_are_bound_too(tmp_path: Path) -> None:
    server = Configured(tmp_path / "home")
    with RemoteMX(host="::1") as remote:
        server.write(remote, second="::1")
        text = server.file.read_text().replace('pool = "v4"', 'pool = "ip2"')
        server.file.write_text(text)
        with server:
            send(server, 1, "v6.example")
            [got] = remote.wait(1)
            assert got.helo == "two.source.example"


def test_an_address_of_another_machine_is_refused_at_start_and_at_a_reload(tmp_path: Path) -> None:
    server = Configured(tmp_path / "home")
    with RemoteMX() as remote:
        server.write(remote, second="192.0.2.7")
        with pytest.raises(AssertionError, match=r"ip2\.address\.0: 192\.0\.2\.7 cannot be sent"):
            server.start()
        server.write(remote)
        with server:
            server.write(remote, second="192.0.2.7")
            with pytest.raises(RuntimeError, match="this machine does not have it"):
                server.ask("reload")
            send(server, 4)
            assert {m.client for m in remote.wait(4)} == {"127.0.0.2", "127.0.0.3"}


def test_a_reload_moves_what_waits_to_the_new_sources(tmp_path: Path) -> None:
    server = Configured(tmp_path / "home")
    with RemoteMX() as remote:
        server.write(remote)
        with server:
            send(server, 4)
            remote.wait(4)
            server.write(remote, second="127.0.0.4")
            assert server.process is not None
            server.process.send_signal(signal.SIGHUP)
            server.wait_said("\nreloaded")
            send(server, 4)
            remote.wait(8)
            send(server, 8)
            clients = {m.client for m in remote.wait(16)[8:]}
            assert "127.0.0.4" in clients and "127.0.0.3" not in clients
