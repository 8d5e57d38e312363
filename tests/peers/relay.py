"""What the relays have in common: any mail goes on to one port on loopback, soon again if lost."""

from __future__ import annotations

import contextlib
import shlex
from pathlib import Path

from tests.peers.process import PeerProcess


class Relay(PeerProcess):
    """Takes any mail from loopback and hands it to 127.0.0.1:`next_hop`."""

    queue: tuple[str, ...] = ()  # globs below the folder: a file for each message in its queue

    def __init__(self, next_hop: int) -> None:
        super().__init__()
        self.next_hop = next_hop

    def queued(self) -> int:
        """Messages that it still has; an empty file is one that it was killed over."""
        found = 0
        for path in (path for pattern in self.queue for path in self.folder.glob(pattern)):
            with contextlib.suppress(FileNotFoundError):  # it goes on delivering
                found += path.stat().st_size > 0
        return found

    def hurry(self) -> None:
        """Have it try again now; those whose retry times can be set need no telling."""


def with_mounts(mounts: list[tuple[Path | None, str]], command: list[str]) -> list[str]:
    """`command` in a mount namespace of its own, where our files stand at paths that it has fixed.

    None mounts an empty file system; the machine's own files stay as they are.
    """
    steps = []
    for path, at in mounts:
        where = shlex.quote(at)
        if path is None:
            steps.append(f"mount -t tmpfs none {where}")
        else:
            steps.append(f"{{ [ -e {where} ] || mkdir -p {where}; }}")
            steps.append(f"mount --bind {shlex.quote(str(path))} {where}")
    script = " && ".join([*steps, f"exec {shlex.join(command)}"])
    return ["unshare", "--mount", "--", "sh", "-c", script]
