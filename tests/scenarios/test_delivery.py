"""A message's way through a real server to a remote one."""

from __future__ import annotations

import smtplib
import threading
from pathlib import Path

import pytest

from mta.testing.ports import free_port
from mta.testing.remote import Manners, Received, RemoteMX
from tests.scenarios.server import Server
from tests.waiting import PATIENCE, wait

BRIEF = '[retry.brief]\nschedule = ["1s"]\nmax_age = "2s"\n'
SOON = ("-o", 'retry.schedule=["1s"]', "-o", "retry.jitter=0")


def route(remote: RemoteMX, pattern: str = "*") -> tuple[str, str]:
    return "--route", f"{pattern}=127.0.0.1:{remote.port}"


def test_a_message_arrives_as_it_was_with_a_received_line(tmp_path: Path) -> None:
    body = b"Subject: dots\r\n\r\n.\r\n..two\r\n.x\r\n" + b"\xc3\xa9" * 10 + b"\r\n"
    with RemoteMX() as remote, Server(tmp_path, *route(remote)) as server:
        id = server.send("r@b.example", body=body)
        [got] = remote.wait(1)
        assert (got.sender, got.recipients) == ("sender@source.example", ["r@b.example"])
        received, _, rest = got.content.partition(b"Subject:")
        assert b"Subject:" + rest == body
        assert received.startswith(b"Received: from client.example")
        assert id.encode() in received
        [reception] = server.wait_records(1, "Reception")
        [delivery] = server.wait_records(1, "Delivery")
        assert reception["id"] == delivery["id"] == id
        assert (delivery["recipient"], delivery["code"]) == ("r@b.example", 250)
        server.wait_empty()


def test_recipients_of_one_destination_share_a_transaction_and_end_apart(tmp_path: Path) -> None:
    def rcpt(address: str) -> str | None:
        return "550 5.1.1 no such user" if address.startswith("unknown") else None

    with RemoteMX(Manners(rcpt=rcpt)) as remote, Server(tmp_path, *route(remote)) as server:
        server.send("a@b.example", "unknown@b.example", "c@b.example")
        [first, dsn] = remote.wait(2)
        assert first.recipients == ["a@b.example", "c@b.example"]
        assert (dsn.sender, dsn.recipients) == ("", ["sender@source.example"])
        assert b"unknown@b.example" in dsn.content
        assert b"no such user" in dsn.content
        assert len(server.wait_records(3, "Delivery")) == 3
        [bounce] = server.records("Bounce")
        assert (bounce["recipient"], bounce["enhanced"]) == ("unknown@b.example", "5.1.1")
        server.wait_empty()


def test_a_deferral_is_tried_again_and_each_attempt_is_logged(tmp_path: Path) -> None:
    tries = iter(["451 4.7.1 later", "451 4.7.1 later"])
    manners = Manners(rcpt=lambda address: next(tries, None))
    with RemoteMX(manners) as remote, Server(tmp_path, *route(remote), *SOON) as server:
        server.send("r@b.example")
        remote.wait(1)
        [delivery] = server.wait_records(1, "Delivery")
        failures = server.records("TransientFailure")
        assert [f["attempts"] for f in failures] == [1, 2]
        assert [f["text"] for f in failures] == ["4.7.1 later"] * 2 or failures[0][
            "text"
        ] == "later"
        assert delivery["attempts"] == 3


def test_what_is_too_old_expires_with_a_dsn(tmp_path: Path) -> None:
    def rcpt(address: str) -> str | None:
        return "451 4.7.1 never" if address == "r@b.example" else None

    config = tmp_path / "mailrace.toml"
    with RemoteMX(Manners(rcpt=rcpt)) as remote:
        hop = f'next_hop = "127.0.0.1:{remote.port}"\n'
        config.write_text(f'{BRIEF}[[route]]\nmatch.domain = "b.example"\nretry = "brief"\n{hop}'
                          f"[[route]]\n{hop}")  # fmt: skip
        with Server(tmp_path, "--config", str(config)) as server:
            server.send("r@b.example")
            [dsn] = remote.wait(1)
            assert dsn.recipients == ["sender@source.example"]
            [expiration] = server.wait_records(1, "Expiration")
            assert expiration["recipient"] == "r@b.example"
            server.wait_empty()


def test_a_bounce_of_a_bounce_is_a_dead_letter(tmp_path: Path) -> None:
    manners = Manners(rcpt=lambda address: "550 5.1.1 nobody")
    with RemoteMX(manners) as remote, Server(tmp_path, *route(remote)) as server:
        server.send("r@b.example")
        server.wait_records(2, "Bounce")
        [letter] = server.ask("dead.list")
        assert letter["recipient"] == "sender@source.example"
        remote.manners = Manners()
        server.ask("dead.requeue", id=letter["id"])
        [again] = remote.wait(1)
        assert again.recipients == ["sender@source.example"]
        assert server.ask("dead.list") == []


def test_connections_are_reused_and_the_dot_travels_with_the_next_envelope(tmp_path: Path) -> None:
    flags = ("-o", "limits.site.default.connections=1", "-o", "delivery.idle_timeout=1h")
    with RemoteMX() as remote, Server(tmp_path, *route(remote), *flags) as server:
        with smtplib.SMTP("127.0.0.1", server.port, timeout=PATIENCE) as client:
            for number in range(50):
                client.sendmail("s@a.example", [f"r{number}@b.example"], "Subject: x\r\n\r\nhi\r\n")
        remote.wait(50)
        assert remote.sessions == 1


@pytest.mark.parametrize("where", ["mail", "rcpt", "data", "dot"])
def test_a_connection_lost_anywhere_costs_one_attempt(tmp_path: Path, where: str) -> None:
    drops = iter([""])
    manners = Manners(**{where: lambda *args: next(drops, None)})
    with RemoteMX(manners) as remote, Server(tmp_path, *route(remote), *SOON) as server:
        server.send("r@b.example")
        remote.wait(1)
        server.wait_records(1, "Delivery")
        assert len(server.records("TransientFailure")) == 1


def test_nobody_listens_and_then_somebody_does(tmp_path: Path) -> None:
    port = free_port()
    flags = ("--route", f"*=127.0.0.1:{port}", *SOON)
    with Server(tmp_path, *flags) as server:
        server.send("r@b.example")
        server.wait_records(1, "TransientFailure")
        with RemoteMX(port=port) as again:
            again.wait(1)


def test_mail_survives_a_stop_and_a_kill(tmp_path: Path) -> None:
    port = free_port()
    server = Server(tmp_path, "--route", f"*=127.0.0.1:{port}", "-o", 'retry.schedule=["2s"]')
    server.start()
    first = server.send("a@b.example")
    assert server.stop() == 0
    server.start()
    second = server.send("b@b.example")
    server.kill()
    with RemoteMX(port=port) as remote:
        server.start()
        try:
            remote.wait(2)
            ended = server.wait_records(2, "Delivery")
            assert {r["id"] for r in ended} == {first, second}
            assert len(server.records("Reception")) == 2
        finally:
            server.stop()


def test_a_slow_dot_does_not_lose_the_order_of_outcomes(tmp_path: Path) -> None:
    def dot(received: Received) -> str | None:
        return "452 4.2.2 full" if received.recipients == ["full@b.example"] else None

    with RemoteMX(Manners(dot=dot)) as remote, Server(tmp_path, *route(remote)) as server:
        for number in range(20):
            server.send("full@b.example" if number % 5 == 0 else f"r{number}@b.example")
        remote.wait(16)
        server.wait_records(16, "Delivery")
        failed = server.wait_records(4, "TransientFailure")
        assert {f["recipient"] for f in failed} == {"full@b.example"}


@pytest.mark.parametrize("size", [100, 100_000])
def test_content_leaves_memory_while_its_dot_waits_and_is_read_back(
    tmp_path: Path, size: int
) -> None:
    answer, answers = threading.Semaphore(0), iter(["452 4.2.2 full", "550 5.7.1 spam"])

    contents: list[bytes] = []

    def dot(received: Received) -> str | None:
        contents.append(received.content)
        answer.acquire(timeout=PATIENCE)
        return next(answers, None)

    body = b"Subject: long\r\n\r\n" + b"." * (size % 70) + b"0123456789\r\n" * (size // 12)
    with RemoteMX(Manners(dot=dot)) as remote, Server(tmp_path, *route(remote), *SOON) as server:

        def in_memory() -> int:
            return sum(worker["body_bytes"] for worker in server.status()["workers"])

        server.send("r@b.example", body=body)
        for _ in range(2):  # put off, then refused
            wait(lambda: remote.commands[-1:] == ["DATA"] and not in_memory(), in_memory)
            remote.commands.clear()
            answer.release()
        server.wait_records(1, "TransientFailure")
        [bounce] = server.wait_records(1, "Bounce")
        assert bounce["attempts"] == 2
        answer.release()
        [dsn] = remote.wait(1)
        assert b"Subject: long" in dsn.content
        assert contents[0].endswith(body)
        assert contents[1] == contents[0]
