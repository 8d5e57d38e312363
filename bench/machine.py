"""The machine: a network of one's own, how busy it is, and one measurement at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.group import Group

OWN_NETWORK = "MAILRACE_BENCH_NETWORK"
LOCK = "MAILRACE_BENCH_LOCK"  # a file that others who measure here lock too
QUIET = "MAILRACE_BENCH_QUIET"  # seconds to wait for a quiet machine


def own_network() -> None:
    """Start again in a network that holds loopback alone, where that is allowed."""
    if os.environ.get(OWN_NETWORK):
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        return
    can = not os.geteuid() and shutil.which("unshare") and shutil.which("ip")
    spaces = ["unshare", "--net", "--mount"]
    if can and not subprocess.run([*spaces, "true"], capture_output=True).returncode:
        os.environ[OWN_NETWORK] = "1"
        command = [sys.executable, "-m", "bench", *sys.argv[1:]]
        os.execvp("unshare", [*spaces, "--", *command])


def ticks() -> tuple[int, int]:
    """CPU ticks of the machine: busy, and all."""
    fields = [int(x) for x in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return sum(fields) - fields[3] - fields[4], sum(fields)


def quiet(limit: float | None = None, share: float = 0.1) -> float:
    """Wait, not for ever, for a second in which the machine is nearly idle; how busy it was."""
    deadline = time.monotonic() + (float(os.environ.get(QUIET, 10)) if limit is None else limit)
    while True:
        busy, total = ticks()
        time.sleep(1)
        busy_now, total_now = ticks()
        used = (busy_now - busy) / max(1, total_now - total)
        if used <= share or time.monotonic() > deadline:
            return used


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Hold the lock, if one is named, while something is timed."""
    name = os.environ.get(LOCK)
    with open(name, "a") if name else contextlib.nullcontext() as file:
        if file is not None:
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def kernel_memory() -> int:
    """Octets that the kernel holds in slabs and socket buffers."""
    text = Path("/proc/meminfo").read_text()
    slab = next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Slab:"))
    words = Path("/proc/net/sockstat").read_text().split("TCP:")[1].split("\n")[0].split()
    pages = int(words[words.index("mem") + 1])
    return slab * 1024 + pages * os.sysconf("SC_PAGE_SIZE")


def wait_for_greeting(port: int, group: Group, host: str = "127.0.0.1", limit: float = 60) -> None:
    """Until something says 220 on a port; RuntimeError if the program ends or the time does."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        if group.process.poll() is not None:
            raise RuntimeError(f"it ended with {group.process.returncode} before it listened")
        with contextlib.suppress(OSError), socket.create_connection((host, port), 2) as one:
            one.settimeout(5)
            if one.recv(512).startswith(b"220"):
                one.sendall(b"QUIT\r\n")
                one.recv(512)
                return
        time.sleep(0.02)
    raise RuntimeError(f"no greeting on {host}:{port}")
