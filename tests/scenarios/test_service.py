"""`mta serve` as a service: privileges, inherited sockets, readiness, the journal."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import smtplib
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import mta
from mta.testing.ports import free_port
from mta.testing.remote import RemoteMX
from tests.scenarios.server import Server, stopped
from tests.waiting import PATIENCE, wait

NOBODY = pwd.getpwnam("nobody")
root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give it up")


IS_READABLE = (
    "import os, sys, decimal;"
    "sys.exit(not all(os.access(path, os.R_OK) for path in (sys.executable, *sys.argv[1:])))"
)


def readable_python() -> str:
    """An interpreter of our version that everybody may run, or nothing."""
    become = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
    for path in (sys.executable, f"/usr/bin/python3.{sys.version_info[1]}"):
        command = [*become, path, "-c", IS_READABLE, mta.__file__]
        if Path(path).exists() and not subprocess.run(command, capture_output=True).returncode:
            return path
    return ""


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder that everybody may enter."""
    made = Path(tempfile.mkdtemp(prefix="mailrace-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


class AsNobody(Server):
    """Started as root, with an interpreter that `nobody` may run."""

    python = sys.executable

    def command(self) -> list[str]:
        return [self.python, *super().command()[1:]]


def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another interpreter finds our packages."""
    package = Path(mta.__file__).parent.parent
    paths = [str(package), *(p for p in sys.path if p.endswith("site-packages"))]
    monkeypatch.setenv("PYTHONPATH", ":".join(paths))


def uids(pid: int) -> list[int]:
    [line] = [li for li in Path(f"/proc/{pid}/status").read_text().splitlines() if "Uid" in li]
    return [int(word) for word in line.split()[1:]]


def effective_capabilities(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return sum(int(li.split()[1], 16) for li in lines if li.startswith(("CapEff", "CapPrm")))


@root
def test_privileges_are_dropped_after_binding(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = readable_python()
    if not python:
        pytest.skip("user nobody may run no Python of this version: install Debian's python3")
    environment(monkeypatch)
    with RemoteMX() as remote, socket.socket() as probe:
        host = f"127.9.{os.getpid() >> 8 & 255}.{os.getpid() & 255}"
        probe.bind((host, 0))  # the address is there; port 25 of it needs a privilege
        flags = ("-o", "user=nobody", "--route", f"*=127.0.0.1:{remote.port}")
        server = AsNobody(home / "data", "--listen", f"{host}:25", *flags, workers=2)
        server.python = python
        (home / "data").mkdir()
        os.chown(home / "data", NOBODY.pw_uid, NOBODY.pw_gid)
        with server:
            assert server.process is not None
            status = server.status()
            pids = [server.process.pid, *(w["pid"] for w in status["workers"])]
            for pid in pids:
                assert uids(pid) == [NOBODY.pw_uid] * 4
                assert effective_capabilities(pid) == 0
            with smtplib.SMTP(host, 25, timeout=PATIENCE) as client:
                client.sendmail("a@b.example", ["c@d.example"], "Subject: x\r\n\r\nx\r\n")
            server.wait_records(1, "Delivery")
            os.kill(pids[1], signal.SIGKILL)  # its successor serves the same sockets
            server.wait_said("starts again")
            for number in range(4):
                server.send(f"e{number}@d.example")
            server.wait_records(5, "Delivery")
            assert status["totals"]["pss:supervisor"] > 0
        files = [home / "data", *(p for p in (home / "data").rglob("*") if p.name != "output.log")]
        assert len(files) > 10
        assert {path.lstat().st_uid for path in files} == {NOBODY.pw_uid}


@root
@pytest.mark.parametrize("what", ["folder", "interpreter"])
def test_what_the_user_may_not_use_is_told(
    home: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    python = readable_python() if what == "folder" else sys.executable
    if what == "interpreter" and readable_python() == sys.executable or not python:
        pytest.skip("user nobody may run this interpreter")
    environment(monkeypatch)
    server = AsNobody(home / "data", "-o", "user=nobody")
    server.python = python
    (home / "data" / "spool" / "shard-0000").mkdir(parents=True)
    with pytest.raises(AssertionError, match="did not start"):
        server.start()
    said = server.said()
    assert "Traceback" not in said
    where = home / "data" if what == "folder" else sys.executable
    verb = "write in" if what == "folder" else "read"
    assert f"mta: user nobody may not {verb} {where}" in said


class Activated(Server):
    """Gets its listening socket as systemd would pass it."""

    def __init__(self, home: Path, *flags: str, workers: int = 1) -> None:
        super().__init__(home, *flags, workers=workers)
        self.sock = socket.create_server(("127.0.0.1", self.port))
        self.sock.set_inheritable(True)

    def command(self) -> list[str]:
        code = (
            f"import os, sys; os.dup2({self.sock.fileno()}, 3); "
            "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1', LISTEN_FDNAMES='smtp');"
            "os.execv(sys.argv[1], sys.argv[1:])"
        )
        return [sys.executable, "-c", code, *super().command()]

    def start(self, timeout: float = PATIENCE) -> None:
        original = subprocess.Popen

        def popen(*args: object, **options: object) -> subprocess.Popen[str]:
            return original(*args, close_fds=False, **options)  # type: ignore[call-overload,no-any-return]

        subprocess.Popen = popen  # type: ignore[assignment,misc]
        try:
            super().start(timeout)
        finally:
            subprocess.Popen = original  # type: ignore[misc]


def test_an_inherited_socket_is_shared_by_all_workers(tmp_path: Path) -> None:
    with RemoteMX() as remote:
        server = Activated(tmp_path, "--route", f"*=127.0.0.1:{remote.port}", workers=2)
        with server.sock, server:
            for number in range(6):
                server.send(f"a{number}@b.example")
            server.wait_records(6, "Delivery")
            found = server.status()["workers"]
            assert sum(worker["sessions_accepted"] for worker in found) == 6
            [hangs, other] = found
            with stopped(hangs["pid"]):  # the other one takes what it leaves, and keeps it
                for _ in range(3):
                    server.send("c@b.example")
            server.wait_records(9, "Delivery")
            variables = Path(f"/proc/{other['pid']}/environ").read_bytes()
            assert b"LISTEN_" not in variables


def test_systemd_socket_activate_starts_us(tmp_path: Path) -> None:
    """The first connection starts the server and is served by it."""
    tool = shutil.which("systemd-socket-activate")
    if tool is None:
        pytest.skip("systemd-socket-activate is not installed (Debian package systemd)")
    port = free_port()
    command = [
        tool, "-l", f"127.0.0.1:{port}", "-E", "PYTHONPATH", "-E", "PATH", "--fdname=listener.0",
        *Server(tmp_path / "home").command(),
    ]  # fmt: skip
    with (tmp_path / "out").open("w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True)
    try:
        said = (tmp_path / "out").read_text
        wait(lambda: "Listening on" in said() or process.poll() is not None, said)
        with smtplib.SMTP("127.0.0.1", port, timeout=PATIENCE) as client:
            assert client.noop()[0] == 250
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)
    assert "ready, 1 workers" in (tmp_path / "out").read_text()


STARTING = "EXTEND_TIMEOUT_USEC=30000000\nSTATUS=worker 0 is not ready"


def test_the_service_manager_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(PATIENCE)
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        monkeypatch.setenv("WATCHDOG_USEC", "400000")
        config = tmp_path / "m.toml"
        config.write_text('grace = "2s"\n')
        with Server(tmp_path / "home", "--config", str(config)) as server:

            def heard(state: str) -> str:
                while state not in (said := manager.recv(4096).decode()):
                    assert said in {"WATCHDOG=1", STARTING}, said
                return said

            assert "STATUS=taking mail, 1 workers" in heard("READY=1")
            heard("WATCHDOG=1")
            assert server.process is not None
            server.process.send_signal(signal.SIGHUP)
            assert "MONOTONIC_USEC=" in heard("RELOADING=1")
            heard("READY=1")
            [worker] = server.status()["workers"]
            assert b"NOTIFY_SOCKET" not in Path(f"/proc/{worker['pid']}/environ").read_bytes()
            server.stop()
            heard("STOPPING=1")


def test_lines_for_the_journal_have_priorities(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server(tmp_path)
    log = tmp_path / "output.log"
    log.touch()
    found = log.stat()
    monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
    assert server.process is None
    process = subprocess.Popen(server.command(), stdout=log.open("a"), stderr=subprocess.STDOUT)
    try:
        said = log.read_text
        wait(lambda: "<6>ready, 1 workers" in said() or process.poll() is not None, said)
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    assert all(line.startswith("<6>") for line in log.read_text().splitlines())
