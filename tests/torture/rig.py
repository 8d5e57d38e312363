"""Server and sink as processes of a run, what is done to them, and what is left to account for."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import smtplib
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from mta.testing.ports import free_port
from tests.torture import checker
from tests.torture.checker import Account, Evidence, Fault, Problem
from tests.torture.injector import Injector
from tests.torture.letters import EVERYTHING, RECEIVERS
from tests.torture.logfiles import LogFiles
from tests.waiting import PATIENCE, STEP

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from tests.torture.letters import Mix
    from tests.torture.logfiles import Record

ROOM = 6 << 30  # octets free in memory that a run's folder may use some of
INTERVAL = 0.05  # seconds: delivery.outcome_interval
SETTINGS = """\
[disk]
min_free = "1MB"
[delivery]
outcome_interval = "{interval:g}s"
idle_timeout = "1s"
[retry]
schedule = ["1s"]
jitter = 0.0
max_age = "1h"
[retry.brief]
schedule = ["1s"]
max_age = "4s"
"""
ROUTE = """\
[[route]]
match = {{ domain = "{domain}" }}
next_hop = ["[127.0.0.1]:{port}"]
retry = "{retry}"
"""


class StuckError(AssertionError):
    """The server did not do in time what it must do by itself."""


@contextlib.contextmanager
def suspended(process: subprocess.Popen[Any]) -> Iterator[None]:
    """A process is stopped meanwhile."""
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


@contextlib.contextmanager
def scratch(prefix: str = "mta-torture-") -> Iterator[Path]:
    """A folder in memory where there is room, so that no disk is waited for; it is removed."""
    shm = Path("/dev/shm")
    roomy = shm.is_dir() and shutil.disk_usage(shm).free > ROOM
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=shm if roomy else None))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Sink:
    """`tests.torture.sink`: a port per receiver; it outlives every fault."""

    def __init__(self, folder: Path, clock: Path | None = None) -> None:
        self.record = folder / "sink.jsonl"
        command = [sys.executable, "-m", "tests.torture.sink", "--record", str(self.record)]
        command += ["--clock", str(clock)] if clock is not None else []
        self._output = (folder / "sink.log").open("a")
        self.process = subprocess.Popen(
            [*command, *(receiver.manner for receiver in RECEIVERS)], text=True,
            stdout=subprocess.PIPE, stderr=self._output, start_new_session=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the sink did not start: {(folder / 'sink.log').read_text()}"
        numbers = json.loads(line)
        self.ports = {r.domain: port for r, port in zip(RECEIVERS, numbers, strict=True)}

    def arrivals(self) -> list[dict[str, Any]]:
        """All records so far."""
        return checker.load(self.record.read_text())

    def stop(self) -> None:
        """End it."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._output.close()


class Server:
    """`mta serve` in a folder of its own, with routes to a sink."""

    def __init__(
        self,
        folder: Path,
        sink: Sink,
        *,
        home: Path | None = None,
        workers: int = 1,
        settings: str = "",
        flags: Sequence[str] = (),
        environment: Callable[[Path], Mapping[str, str]] = lambda home: {},
        tree: Path | None = None,
    ) -> None:
        """`tree` is another build of the server than the one that runs this."""
        self.home, self.port, self.workers = home or folder / "home", free_port(), workers
        self.flags, self.wrapper = list(flags), list[str]()
        self.config, self.output = folder / "mailrace.toml", folder / "output.log"
        self.config.write_text(SETTINGS.format(interval=INTERVAL) + settings + "".join(
            ROUTE.format(domain=r.domain, port=sink.ports[r.domain], retry=r.retry)
            for r in RECEIVERS
        ))  # fmt: skip
        self.environment, self.tree = environment(self.home), tree
        self.process: subprocess.Popen[bytes] | None = None
        self.faults: list[Fault] = []

    # -- its life

    def launch(self) -> None:
        """Start it, and wait for nothing."""
        self.home.mkdir(parents=True, exist_ok=True)
        with self.output.open("ab") as output:
            self._said = output.tell()
            self.process = subprocess.Popen(
                [*self.wrapper, sys.executable, "-m", "mta.cli.main", "serve",
                 "--config", str(self.config), "--home", str(self.home),
                 "--listen", f"127.0.0.1:{self.port}", "--workers", str(self.workers),
                 *self.flags],
                stdout=output, stderr=output, start_new_session=True,
                env={**os.environ, **self.environment}, cwd=self.tree,
            )  # fmt: skip

    def start(self, patience: float = PATIENCE) -> float:
        """Start it; the seconds until it greets. StuckError if it ends, or does not greet."""
        began = time.monotonic()
        self.launch()
        self.wait_greeting(patience)
        return time.monotonic() - began

    def wait_greeting(self, patience: float = PATIENCE) -> None:
        """Wait until a client is greeted; StuckError."""
        self.wait(self.greets, "does not greet", patience)

    def wait(self, true: Callable[[], object], what: str, patience: float = PATIENCE) -> None:
        """Wait for something of a server that lives; StuckError says what it printed."""
        deadline = time.monotonic() + patience
        while not true():
            if not self.alive():
                code = self.process.returncode if self.process else None
                raise StuckError(f"ended by itself with exit code {code}: {self.last_words()}")
            if time.monotonic() > deadline:
                raise StuckError(f"{what} within {patience:g} s: {self.last_words()}")
            time.sleep(STEP)

    def alive(self) -> bool:
        """Whether the supervisor is there."""
        return self.process is not None and self.process.poll() is None

    def greets(self) -> bool:
        """Whether a client gets its 220."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=2) as sock:
                return sock.recv(3) == b"220"
        except OSError:
            return False

    def accepts(self) -> bool:
        """Whether a client's MAIL gets its 250."""
        try:
            with smtplib.SMTP("127.0.0.1", self.port, timeout=5) as client:
                client.ehlo("client.example")
                return client.mail("probe@source.example")[0] == 250
        except (OSError, smtplib.SMTPException):
            return False

    def stop(self, patience: float = PATIENCE) -> int:
        """SIGTERM; the exit code. StuckError if it does not end."""
        if self.process is None:
            return 0
        self.process.terminate()
        try:
            code = self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.kill()
            raise StuckError(f"does not stop within {patience:g} s") from None
        self._reap()
        return code

    def kill(self, what: str = "kill -9 of everything") -> None:
        """SIGKILL to supervisor and workers; it is noted as a fault."""
        if self.process is None:
            return
        began, pids = time.time(), self.pids()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self._reap(pids)
        self.faults.append(Fault(what, began, time.time()))

    def kill_worker(self, number: int = 0) -> int | None:
        """SIGKILL to one worker; its process id, None if there is none now."""
        pids = self.pids()[1:]
        if not pids:
            return None
        began, pid = time.time(), pids[number % len(pids)]
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        while Path(f"/proc/{pid}/fd/0").exists():
            time.sleep(0.001)
        self.faults.append(Fault("kill -9 of a worker", began, time.time()))
        return pid

    def note_death(self, what: str, began: float, patience: float = 1.0) -> None:
        """Some of its processes have died by themselves since; whoever dies of it is waited for."""
        deadline = time.monotonic() + patience
        while self.alive() and "process" not in what and time.monotonic() < deadline:
            time.sleep(0.001)
        self.faults.append(Fault(what, began, time.time()))

    def gone(self) -> None:
        """The supervisor has died: wait until nothing of it is left."""
        assert self.process is not None
        group, deadline = self.process.pid, time.monotonic() + PATIENCE
        self._reap()
        while time.monotonic() < deadline:
            try:
                os.killpg(group, 0)
            except ProcessLookupError:
                return
            time.sleep(0.005)
        raise StuckError("workers outlive their supervisor")

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """No process of it does anything meanwhile; what they asked of the kernel goes on."""
        pids = self.pids()
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            while any(_runs(pid) for pid in pids):
                time.sleep(0.001)
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    def pids(self) -> list[int]:
        """Supervisor, then workers."""
        if self.process is None:
            return []
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        try:
            return [self.process.pid, *map(int, children.read_text().split())]
        except OSError:
            return [self.process.pid]

    def _reap(self, pids: list[int] | None = None) -> None:
        assert self.process is not None
        self.process.wait()
        for pid in (pids or [])[1:]:
            while Path(f"/proc/{pid}/fd/0").exists():
                time.sleep(0.001)
        self.process = None

    def descriptors(self, pid: int) -> int:
        """How many one of its processes has open."""
        return len(list(Path(f"/proc/{pid}/fd").iterdir()))

    def memory(self) -> int:
        """Octets of memory of all its processes, shared pages divided by their users."""
        total = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                found = re.search(
                    r"(?m)^Pss: +(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text()
                )
                total += int(found[1]) << 10 if found else 0
        return total

    # -- what it tells

    def said(self) -> str:
        """All that it printed."""
        return self.output.read_text() if self.output.exists() else ""

    def last_words(self, lines: int = 3) -> str:
        """The end of what it printed since it was started."""
        with contextlib.suppress(OSError):
            text = self.output.read_bytes()[self._said :].decode(errors="replace")
            return " | ".join(text.splitlines()[-lines:])
        return ""

    def tracebacks(self) -> list[str]:
        """Errors that nobody expected, a line each."""
        files = sorted((self.home / "log").glob("*.err"))
        text = self.said() + "".join(file.read_text() for file in files)
        found = re.findall(r"(?m)^Traceback[^\n]*\n(?:[ \t][^\n]*\n|\n)*([^\n]*)", text)
        return [f"{count} times {line}" for line, count in checker.Counter(found).items()]

    def ask(self, op: str, **args: Any) -> Any:
        """A control request's result; OSError or RuntimeError."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(30)
            sock.connect(str(self.home / "control.sock"))
            sock.sendall(json.dumps({"op": op, "args": args}).encode() + b"\n")
            with sock.makefile() as lines:
                for line in lines:
                    answer = json.loads(line)
                    if "error" in answer:
                        raise RuntimeError(answer["error"])
                    if "ok" in answer:
                        return answer["result"]
        raise RuntimeError("no answer")

    def queued(self, limit: int = 1_000_000) -> list[dict[str, Any]]:
        """The rows of `mta queue list --json`."""
        rows: list[dict[str, Any]] = self.ask("queue.list", limit=limit)
        return rows

    def whole(self) -> bool:
        """Whether all shards are served: lists show no mail of others."""
        ready = self.ask("status")["totals"]["workers_ready"]
        return bool(ready == self.workers and not self.ask("shards.refused"))

    def rows(self) -> list[dict[str, Any]] | None:
        """`queued`, None where it does not answer."""
        try:
            return self.queued() if self.whole() else None
        except (OSError, RuntimeError):
            return None

    def is_empty(self) -> bool:
        """Whether nothing is queued; False while it cannot be asked."""
        try:
            return self.whole() and not self.queued(1)
        except (OSError, RuntimeError):
            return False


def _runs(pid: int) -> bool:
    """Whether a thread of a process is neither stopped nor in the kernel for long."""
    for task in Path(f"/proc/{pid}/task").glob("*/stat"):
        with contextlib.suppress(OSError):
            if task.read_text().rpartition(")")[2].split()[0] in "RS":
                return True
    return False


class Before(NamedTuple):
    """What a home has behind it when a case begins."""

    journal: list[Record] = []
    arrivals: list[Record] = []
    faults: list[Fault] = []


class Rig:
    """Sink, server and injector of one run; `server` may be replaced by `new_server`."""

    def __init__(
        self,
        folder: Path,
        seed: int,
        *,
        mix: Mix = EVERYTHING,
        clock: Path | None = None,
        mark: Callable[[], int] = lambda: 0,
        **server: Any,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.journal = folder, folder / "promises.jsonl"
        self.sink = Sink(folder, clock)
        self._given = server
        self.server = Server(folder, self.sink, **server)
        self.injector = Injector(self.server.port, seed, self.journal, mix, mark)
        self.problems: list[Problem] = []  # beside those that the checker finds
        self.recoveries: list[float] = []  # seconds
        self.queue_known = True  # a server that has ended has an empty queue
        self.before = Before()
        self._since = [0, 0]  # octets of journal and arrivals that are not of this case

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.injector.close()
        if self.server.process is not None:
            self.server.kill()
        self.sink.stop()

    def new_server(self, home: Path, before: Before, **more: Any) -> Server:
        """A case of its own: a server on a home that has a past, and no other evidence."""
        assert self.server.process is None
        folder = home.parent
        self.server = Server(folder, self.sink, **self._given | {"home": home} | more)
        self.server.faults += before.faults
        self.injector.port = self.server.port
        self.before, self.problems, self._since = before, [], self._ends()
        self.queue_known = True
        return self.server

    def _ends(self) -> list[int]:
        return [self.journal.stat().st_size, self.sink.record.stat().st_size]

    def say(self, kind: str, text: str) -> None:
        """Note a problem."""
        self.problems.append(Problem(kind, None, text))

    def recover(self, patience: float = PATIENCE) -> float:
        """Wait until it takes mail again, by itself; the seconds since the call. StuckError.

        While the injector sends, that is a message with its 250.
        """
        began, promised = time.monotonic(), self.injector.promised
        self.server.wait(self.server.accepts, "takes no mail", patience)
        if self.injector.running:
            self.server.wait(lambda: self.injector.promised > promised, "takes no mail", patience)
        self.recoveries.append(time.monotonic() - began)
        return self.recoveries[-1]

    def drain(self, patience: float = PATIENCE) -> None:
        """Wait until nothing is queued; StuckError."""
        self.server.wait(self.server.is_empty, "does not empty its queue", patience)

    def finish(self, patience: float = PATIENCE) -> None:
        """Send all there is, and stop as an operator does; StuckError."""
        self.injector.finish()
        self.drain(patience)
        self.stop()

    def settle(self, patience: float = PATIENCE, **more: Any) -> Account:
        """The account of what is left when all is sent.

        What seems to be missing may have been queued by the last outcome, as a DSN is: then the
        server is started once more, and sends it.
        """
        try:
            self.finish(patience)
        except StuckError as error:
            self.blame(error)
        account = self.account(**more)
        if account.problems:
            try:
                if self.server.process is None:
                    self.server.launch()
                self.server.wait_greeting(patience)
                self.finish(patience)
            except StuckError as error:
                self.say("locked", f"started by a human, too: {error}")
                self.queue_known = False
                self.server.kill()
            account = self.account(**more)
        return account

    def blame(self, error: StuckError) -> None:
        """Note what it did not do by itself; then a human ends it, and starts it again."""
        self.say("stuck" if self.server.alive() else "ended", str(error))
        self.server.kill()
        self.server.launch()

    def stop(self) -> None:
        """Stop it; an exit code that is not 0 is a problem."""
        code = self.server.stop()
        if code:
            self.say("stop", f"ended with exit code {code}: {self.server.last_words()}")

    def evidence(self) -> tuple[list[Record], list[Record]]:
        """The injector's journal and the arrivals, of this case and what was before it."""
        texts = []
        for path, since in zip((self.journal, self.sink.record), self._since, strict=True):
            with path.open("rb") as file:
                file.seek(since)
                texts.append(file.read().decode())
        journal, arrivals = map(checker.load, texts)
        return self.before.journal + journal, self.before.arrivals + arrivals

    def read_log(self) -> LogFiles:
        """All that it has logged."""
        return LogFiles(self.server.home / "log")

    def account(self, **more: Any) -> Account:
        """What the checker finds, and what was noted."""
        log = self.read_log()
        journal, arrivals = self.evidence()
        queued = self.server.rows() if self.server.alive() else [] if self.queue_known else None
        evidence = Evidence(
            journal, arrivals, log.records, queued, log.damage, self.server.faults,
            interval=INTERVAL, **more,
        )  # fmt: skip
        account = checker.check(evidence)
        account.problems += self.problems
        account.problems += [Problem("traceback", None, t) for t in self.server.tracebacks()]
        return account
