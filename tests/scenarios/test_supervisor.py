"""Processes that end, are ended, cannot begin; and who gets to know it."""

from __future__ import annotations

import os
import signal
import smtplib
import socket
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest

from mta.testing.ports import free_port
from mta.testing.remote import Manners, RemoteMX
from tests.scenarios.server import BODY, Server
from tests.waiting import PATIENCE, wait


def route(remote: RemoteMX) -> tuple[str, str]:
    return "--route", f"*=127.0.0.1:{remote.port}"


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def pids(server: Server) -> list[int]:
    return [w["pid"] for w in server.ask("status")["workers"] if "pid" in w]


def refused(home: Path, *flags: str, port: int = 0, code: int = 1) -> str:
    """What `mta serve` says when it cannot begin: one line, and its exit code."""
    listen = ("--listen", f"127.0.0.1:{port or free_port()}")
    run = subprocess.run(
        [sys.executable, "-m", "mta.cli.main", "serve", "--home", str(home), *listen,
         "--workers", "1", *flags],
        capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert run.returncode == code, run.stdout + run.stderr
    assert "Traceback" not in run.stderr
    lines = run.stderr.strip().splitlines()
    assert len(lines) == 1, run.stderr
    return lines[0]


# ---------------------------------------------------------------------- starts that fail


def test_a_second_server_on_the_same_home_is_told_who_holds_it(tmp_path: Path) -> None:
    with Server(tmp_path) as server:
        assert server.process is not None
        said = refused(tmp_path)
        assert f"another server (pid {server.process.pid}) uses {tmp_path}" in said
        assert "--home" in said
        said = refused(tmp_path / "other", "--log-dir", str(tmp_path / "log"))
        assert f"uses {tmp_path / 'log'}" in said


def test_a_home_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert refused(tmp_path / "file" / "home").endswith("choose another with --home DIR")
    spool = refused(tmp_path, "--spool", str(tmp_path / "file" / "spool"))
    assert spool.endswith("choose another with --spool DIR")


def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"127.0.0.1:{port}" in refused(tmp_path, port=port)


def test_a_control_socket_with_too_long_a_path(tmp_path: Path) -> None:
    said = refused(tmp_path, "-o", f"control.socket={tmp_path / ('x' * 120)}", code=2)
    assert "control.socket" in said and "107" in said


def test_a_unix_sockets_file_has_its_mode_and_goes_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "mail.sock"
    one = f"{{listen = 'unix:{path}', mode = '0600'}}"
    with Server(tmp_path, "-o", f"listener.+={one}"):
        assert path.stat().st_mode & 0o777 == 0o600
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            assert client.recv(100).startswith(b"220 ")
    assert not path.exists()


def test_state_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_bytes(b"this is no database " * 100)
    with Server(tmp_path, "--route", "*=127.0.0.1:1") as server:
        assert "not a database" in server.said()
        assert server.send("a@x.example")
        wait(lambda: [row["state"] for row in server.ask("queue.list", limit=9)] == ["held"])
        wait(lambda: "alarm all_held" in server.said())
        server.ask("act", verb="release", select={"all": True})
        wait(lambda: server.records("TransientFailure"))


def test_a_spool_of_a_newer_version(tmp_path: Path) -> None:
    with Server(tmp_path):
        pass
    from rocksdict import AccessType, Options, Rdict

    folder = str(tmp_path / "spool" / "shard-0000")
    options = Options(raw_mode=True)
    families = {name: Options(raw_mode=True) for name in Rdict.list_cf(folder, options)}
    db = Rdict(folder, options, families, AccessType.read_write())
    db[b"format"] = (99).to_bytes(4, "big")
    db.close()
    assert "99" in refused(tmp_path)


def test_a_handler_that_cannot_be_loaded(tmp_path: Path) -> None:
    config = tmp_path / "mailrace.toml"
    listener = f'[[listener]]\nlisten = "127.0.0.1:{free_port()}"\nhandler = "no.such:Handler"\n'
    config.write_text(listener)
    run = subprocess.run(
        [sys.executable, "-m", "mta.cli.main", "serve", "--home", str(tmp_path / "home"),
         "--config", str(config), "--workers", "2"],
        capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert run.returncode == 1 and "no.such:Handler" in run.stderr


def test_what_hinders_a_start_and_may_pass_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "shard-0000").write_text("a file where a folder should be")
    server = Server(tmp_path)
    server.launch()
    server.wait_said("shard 0 is refused: ")
    assert "shard-0000: File exists" in server.said()
    (tmp_path / "log" / "shard-0000").unlink()
    server.wait_said("ready, 1 workers")
    server.send("r@b.example")
    assert server.stop() == 0
    assert not server.surprises()


# ---------------------------------------------------------------------- crashes


def test_a_killed_worker_comes_back_with_its_mail_and_its_leases(tmp_path: Path) -> None:
    stop = threading.Event()

    def dot(received: object) -> str | None:
        stop.wait(0.2)  # the remote's thread: everybody waits
        return None

    flags = ("-o", "limits.site.default.connections=2", "-o", 'retry.schedule=["1s"]')
    with RemoteMX(Manners(dot=dot)) as remote, Server(tmp_path, *route(remote), *flags) as server:
        [first] = pids(server)
        for number in range(8):
            server.send(f"r{number}@b.example")
        remote.wait(1)
        os.kill(first, signal.SIGKILL)
        stop.set()
        server.wait_records(8, "Delivery")
        assert server.status()["workers"][0]["pid"] != first
        assert server.status()["totals"]["connections"] <= 2
        assert "worker 0 ended (signal 9), starts again in 0.1 s" in server.said()
        got = Counter(r.recipients[0] for r in remote.received)
        assert set(got) == {f"r{number}@b.example" for number in range(8)}
        delivered = Counter((r["id"], r["rno"]) for r in server.records("Delivery"))
        assert set(delivered.values()) == {1}


def test_acts_reach_a_worker_that_is_starting(tmp_path: Path) -> None:
    with RemoteMX() as remote, Server(tmp_path, *route(remote), workers=2) as server:
        os.kill(pids(server)[0], signal.SIGKILL)
        answer = server.ask("act", verb="hold", select={"domain": "b.example"})
        assert answer["act"] == 1
        wait(lambda: _status_works(server), "the worker does not come back")
        for number in range(8):
            server.send(f"r{number}@b.example")
        server.send("r@c.example")
        remote.wait(1)

        def states() -> list[str]:
            return [row["state"] for row in server.ask("queue.list", limit=100)]

        wait(lambda: states() == ["held"] * 8, states)  # the other one has left
        assert "Error" not in server.said()


def _status_works(server: Server) -> bool:
    try:
        return len(pids(server)) == 2
    except RuntimeError:
        return False


def test_a_stop_does_not_wait_for_a_worker_that_is_starting(tmp_path: Path) -> None:
    with Server(tmp_path, "-o", "grace=1h", workers=2) as server:
        assert server.process is not None
        supervisor, killed = server.process.pid, pids(server)[0]
        os.kill(killed, signal.SIGKILL)
        wait(lambda: len(_children(supervisor) - {killed}) == 2, "the worker is not started")
        assert server.stop() == 0  # in far less than `grace`


def _children(pid: int) -> set[int]:
    return {int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def test_workers_end_with_their_supervisor(tmp_path: Path) -> None:
    with Server(tmp_path, workers=2) as server:
        workers = pids(server)
        assert server.process is not None
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()
        wait(lambda: not any(map(alive, workers)), "a worker outlives its supervisor")
    with Server(tmp_path, workers=2) as server:
        server.send("r@b.example")


# ---------------------------------------------------------------------- stopping


def test_a_stop_lets_sessions_and_attempts_end(tmp_path: Path) -> None:
    asked, go = threading.Event(), threading.Event()

    def dot(received: object) -> str | None:
        asked.set()
        go.wait(PATIENCE)
        return None

    with RemoteMX(Manners(dot=dot)) as remote:
        server = Server(tmp_path, *route(remote), "-o", "grace=1h")
        server.start()
        assert server.process is not None
        server.send("r@b.example")
        assert asked.wait(PATIENCE)
        with smtplib.SMTP("127.0.0.1", server.port, timeout=PATIENCE) as client:
            client.ehlo("client.example")
            client.mail("s@a.example")
            client.rcpt("late@b.example")
            client.putcmd("data")
            assert client.getreply()[0] == 354
            server.process.send_signal(signal.SIGTERM)
            server.wait_said("stopping")
            client.send(BODY.encode() + b".\r\n")
            assert client.getreply()[0] == 250  # in the middle of content: taken
            assert client.noop()[0] == 421
            client.close()
        go.set()
        assert server.process.wait(PATIENCE) == 0
        assert [r["recipient"] for r in server.records("Delivery")] == ["r@b.example"]
        assert server.records("TransientFailure") == []
        server.start()
        server.wait_records(2, "Delivery")
        server.stop()
        got = Counter(r.recipients[0] for r in remote.received)
        assert got == {"r@b.example": 1, "late@b.example": 1}


def test_a_stop_says_nothing_of_hosts_that_are_being_dialled(tmp_path: Path) -> None:
    with socket.socket() as deaf:  # accepts no connection and refuses none
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        fill = [socket.socket() for _ in range(4)]
        for sock in fill:
            sock.setblocking(False)
            sock.connect_ex(deaf.getsockname())
        server = Server(tmp_path, "--route", f"*=127.0.0.1:{deaf.getsockname()[1]}",
                        "-o", "grace=0.2s")  # fmt: skip
        server.start()
        server.send("r@b.example")
        wait(lambda: server.status()["totals"].get("dialling"), "it does not dial")
        assert server.stop() == 0
        for sock in fill:
            sock.close()
    assert server.records("TransientFailure") == []


def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    go = threading.Event()
    manners = Manners(dot=lambda received: go.wait(PATIENCE) and None)
    flags = ("-o", "grace=1h")
    with RemoteMX(manners) as remote:
        server = Server(tmp_path, *route(remote), *flags)
        server.start()
        server.send("r@b.example")
        wait(lambda: server.status()["totals"].get("in_flight"), "it does not send")
        assert server.process is not None
        server.process.send_signal(signal.SIGTERM)
        server.wait_said("stopping")
        server.stop()  # the second one
        go.set()


# ---------------------------------------------------------------------- requests


@pytest.mark.parametrize(
    ("op", "args", "said"),
    [
        ("queue.top", {"by": "nonsense"}, "no counts by"),
        ("queue.list", {"limit": "many"}, "limit"),
        ("queue.show", {"id": "zz"}, "not a message id"),
        ("act", {"verb": "delete", "select": {"id": "zz"}}, "not a message id"),
        ("act", {"verb": "delete"}, "say which mail"),
        ("act", {"verb": "reroute", "select": {"all": True}, "next_hop": "a b"}, "a b"),
        ("act", {"verb": "explode", "select": {"all": True}}, "an act is one of"),
        ("queue.list", {"select": {"domian": "x"}}, "select"),
        ("nonsense", {}, "there is no request"),
    ],
)
def test_a_bad_request_is_answered(running: Server, op: str, args: dict, said: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(RuntimeError, match=said):
        running.ask(op, **args)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    with Server(tmp_path_factory.mktemp("running")) as server:
        yield server


def test_sessions_are_counted_over_all_workers(tmp_path: Path) -> None:
    with Server(tmp_path, "-o", "smtpd.max_sessions=5", workers=2) as server:
        clients = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(12)]
        codes = Counter(client.recv(200)[:3] for client in clients)
        assert codes == {b"220": 5, b"421": 7}
        for client in clients:
            client.close()
        wait(lambda: _greeting(server) == b"220", "no place is given back")
        busy = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(5)]
        for worker in pids(server):
            os.kill(worker, signal.SIGKILL)
        wait(lambda: _status_works(server), "the workers do not come back")
        assert _greeting(server) == b"220"
        for client in busy:
            client.close()


def _greeting(server: Server) -> bytes:
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        return client.recv(200)[:3]
