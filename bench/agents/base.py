"""What every agent has: where it takes mail, where it sends it, how it is started."""

from __future__ import annotations

import ipaddress
import os
import pwd
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

FIRST_HOP = int(ipaddress.IPv4Address("127.0.1.1"))


class Scene(NamedTuple):
    """What an agent is configured for."""

    port: int = 2625
    sink_port: int = 2526
    hops: int = 1  # next hops; more than one: domain d<i>.example goes to its own 127.0.x.y
    retry: int = 0  # seconds between attempts, where the receiver puts off; 0: it never does
    silent: bool = False  # the next hop never greets: accepting alone
    connections: int = 0  # that one next hop takes; 0: the agent's own limit holds

    def hop(self, index: int) -> str:
        """Address of a next hop, without the port."""
        return "127.0.0.1" if self.hops == 1 else str(ipaddress.IPv4Address(FIRST_HOP + index))

    @property
    def listen(self) -> str:
        """Where the sink listens: an address or a range."""
        last = "" if self.hops == 1 else f"-{self.hop(self.hops - 1)}"
        return f"{self.hop(0)}{last}:{self.sink_port}"


class Agent:
    """One agent; `run` is an empty folder of its own."""

    name = ""
    settings = ""  # for the reader: what was set and why
    spreads = False  # whether it is configured for many next hops
    retries = False  # whether it is configured for short retries
    waits = False  # whether it is configured to keep what it accepts
    late = False  # whether it begins to deliver seconds after it accepted
    pipelining = True  # whether our source may send the next envelope behind the dot
    mounts: tuple[tuple[str, str], ...] = ()  # (in the run folder, fixed path)

    def __init__(self, run: Path, scene: Scene) -> None:
        self.run, self.scene = run, scene

    def missing(self) -> str:
        """Why it cannot run here; empty if it can."""
        return ""

    def unfit(self) -> str:
        """Why it cannot show this scene; empty if it can."""
        if self.scene.hops > 1 and not self.spreads:
            return "its adapter knows one next hop only"
        if self.scene.retry and not self.retries:
            return "its adapter sets no short retries"
        if self.scene.silent and not self.waits:
            return "its adapter does not keep it from delivering"
        return ""

    def prepare(self) -> None:
        """Write the configuration."""

    def command(self) -> list[str]:
        """What runs the whole agent in the foreground."""
        raise NotImplementedError

    def version(self) -> str:
        """Name and version."""
        raise NotImplementedError


def output(*command: str) -> str:
    """What a command prints."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.stdout.strip()


def program(name: str, variable: str, *below: str) -> Path | None:
    """A program: below the folder that a variable names, else where it is installed."""
    if root := os.environ.get(variable):
        found = Path(root, *below)
        return found if found.exists() else None
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin:/opt/kumomta/sbin"
    where = shutil.which(name, path=path)
    return Path(where) if where else None


def owned(folder: Path, user: str, mode: int = 0o755) -> Path:
    """Make a folder that belongs to a user."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(mode)
    owner = pwd.getpwnam(user)
    os.chown(folder, owner.pw_uid, owner.pw_gid)
    return folder


def fresh(folder: Path) -> Path:
    """The folder, empty, readable by the users that agents run as."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    folder.chmod(0o755)
    return folder
