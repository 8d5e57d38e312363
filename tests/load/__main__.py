"""Ten thousand sessions, half of them idle, while workers are replaced: `python -m tests.load`.

Exits with 1 if a connection was refused or lost, or an accepted message has not one Delivery.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from mta.testing.remote import RemoteMX
from tests.scenarios.server import Server

CLIENTS_PER_PROCESS = 2500


def start(port: int, clients: int, every: float) -> subprocess.Popen[str]:
    """A process with so many clients."""
    command = [sys.executable, "-m", "tests.load.crowd", str(port), str(clients), str(every)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)


def tell(process: subprocess.Popen[str], word: str) -> str:
    """Ask a process, and read its line."""
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(word + "\n")
    process.stdin.flush()
    return process.stdout.readline()


def wait_open(crowd: list[subprocess.Popen[str]], sessions: int, limit: float) -> float:
    """Wait until so many sessions are open; the seconds it took."""
    began = time.monotonic()
    while (count := sum(int(tell(process, "open")) for process in crowd)) < sessions:
        if time.monotonic() - began > limit:
            print(f"only {count} of {sessions} sessions are open after {limit:g} s")
            break
        time.sleep(0.2)
    return time.monotonic() - began


def run(sessions: int, rounds: int, every: float, folder: Path) -> bool:
    """One load; True when nothing was refused or lost."""
    flags = ["-o", f"smtpd.max_sessions={2 * sessions}"]
    with RemoteMX() as remote:
        flags += ["--route", f"*=127.0.0.1:{remote.port}"]
        with Server(folder, *flags, workers=2) as server:
            parts = -(-sessions // CLIENTS_PER_PROCESS)
            crowd = [start(server.port, sessions // parts, every) for _ in range(parts)]
            total = sessions // parts * parts
            print(f"{total} sessions open after {wait_open(crowd, total, 90):.1f} s", flush=True)
            for _ in range(rounds):
                began = time.monotonic()
                server.ask("worker.restart")
                took = time.monotonic() - began
                again = wait_open(crowd, total, 60)
                print(f"replaced in {took:.1f} s, all back {again:.1f} s later", flush=True)
            spread = [w["sessions"] for w in server.ask("status")["workers"]]
            seen: Counter[str] = Counter()
            ids: list[str] = []
            for process in crowd:
                account = json.loads(tell(process, "end"))
                seen.update(account["seen"])
                ids += account["ids"]
                process.wait(30)
            server.wait_empty(60)
            server.stop(60)
            delivered = Counter(record["id"] for record in server.records("Delivery"))
    lost = [id for id in ids if delivered[id] != 1]
    print(f"sessions by worker {spread}; {len(ids)} messages accepted, {len(lost)} lost or doubled")
    print("ends of sessions:", dict(seen))
    return not lost and set(seen) <= {"421"}


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.load", description=__doc__)
    parser.add_argument("--sessions", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=2, help="times that all workers are replaced")
    parser.add_argument("--every", type=float, default=20, help="seconds between a client's mails")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        fine = run(options.sessions, options.rounds, options.every, Path(folder) / "home")
    print("nothing refused, nothing lost" if fine else "FAILED")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
