"""Telling systemd how we are (sd_notify(3)): one datagram a state, nothing where nobody asked."""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import MutableMapping

VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class Notifier:
    """Tells systemd, if it asked; `watchdog` is how often `alive` is expected, seconds, or 0."""

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        """Takes the variables away: our children are not to speak for us."""
        path, period, pid = (environ.pop(name, "") for name in VARIABLES)
        # A leading @ stands for the NUL of an abstract address.
        self._path = f"\0{path[1:]}" if path[:1] == "@" else path
        mine = pid in ("", str(os.getpid()))
        self.watchdog = int(period) / 2e6 if path and mine and period.isdecimal() else 0.0

    def _tell(self, *lines: str) -> None:
        if not self._path:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            try:
                sock.sendto("\n".join(lines).encode(), self._path)
            except OSError:
                pass  # the service manager is restarting: it will see us by other means

    def starting(self, status: str, seconds: float) -> None:
        """Not yet; more is heard within so many seconds, which the start may take longer."""
        self._tell(f"EXTEND_TIMEOUT_USEC={round(seconds * 1e6)}", f"STATUS={status}")

    def ready(self, status: str) -> None:
        """Mail is taken from now on (also after `reloading`)."""
        self._tell("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """Settings are being read again; `ready` follows."""
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._tell("RELOADING=1", f"MONOTONIC_USEC={now}")

    def status(self, text: str) -> None:
        """A line for `systemctl status`."""
        self._tell(f"STATUS={text}")

    def stopping(self) -> None:
        """The end has begun."""
        self._tell("STOPPING=1", "STATUS=ending what is in flight")

    def alive(self) -> None:
        """All is well: the watchdog waits anew."""
        self._tell("WATCHDOG=1")
