"""The node's figures: what all workers count, those that are gone included, and what the OS tells.

Workers report once a second, so a worker that is killed takes at most its last second with it and
no counter goes back.
"""

from __future__ import annotations

import math
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mta.alarms import ALARMS
from mta.metrics import COUNTERS, FIGURES, MAXIMA

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mta.supervisor.master import Supervisor

REPORT_EVERY = 1.0  # seconds between a worker's reports
GONE = 64  # ended processes whose last report may still be on its way
SILENT_AFTER = 30.0  # seconds without a report: the worker hangs


class Ledger:
    """The last report of every process, by its id."""

    def __init__(self) -> None:
        self._live: dict[int, tuple[float, dict[str, Any]]] = {}  # when, what
        self._gone: dict[int, dict[str, float]] = {}  # counters of processes that ended
        self._past: dict[str, float] = {}  # of those long gone

    def take(self, pid: int, figures: dict[str, Any], now: float) -> None:
        """A report; one that was under way when its process ended counts too."""
        if pid in self._gone:
            self._gone[pid] = _counters(figures)
        elif pid in self._live:
            self._live[pid] = now, figures

    def ended(self, pid: int) -> None:
        """A process is gone: its counters stay; a last report of it may still be read."""
        _, figures = self._live.pop(pid, (0.0, {}))
        self._gone[pid] = _counters(figures)
        if len(self._gone) > GONE:
            _add(self._past, self._gone.pop(next(iter(self._gone))))

    def began(self, pid: int) -> None:
        """A process starts; one of the same id that is gone was another."""
        _add(self._past, self._gone.pop(pid, {}))
        self._live[pid] = math.inf, {}

    def past(self) -> dict[str, float]:
        """Counters of the processes that have ended."""
        counters = dict(self._past)
        for one in self._gone.values():
            _add(counters, one)
        return counters

    def totals(self) -> dict[str, float]:
        """Sums over the workers; counters over all there ever were."""
        totals = self.past()
        for _, figures in self._live.values():
            for name, value in figures.items():
                if name in MAXIMA:
                    totals[name] = max(totals.get(name, 0), value)
                elif _is_figure(name):
                    totals[name] = totals.get(name, 0) + value
        return totals

    def oldest_us(self) -> int:
        """When the oldest queued message was accepted, 0 if nothing is queued."""
        times = [figures.get("oldest") or 0 for _, figures in self._live.values()]
        return min((us for us in times if us), default=0)

    def silent(self, now: float) -> list[int]:
        """Processes that live and have not reported for too long."""
        return [pid for pid, (when, _) in self._live.items() if now - when > SILENT_AFTER]

    def alarms(self) -> list[dict[str, Any]]:
        """The alarms of the workers."""
        return [
            {"worker": figures["number"], **alarm}
            for _, figures in self._live.values()
            for alarm in figures.get("alarms") or ()
        ]

    def losses(self) -> list[str]:
        """What shards have lost, and nobody has accepted."""
        return [line for _, figures in self._live.values() for line in figures.get("losses") or ()]

    def problems(self) -> list[str]:
        """Why workers refuse mail."""
        return [f["problem"] for _, f in self._live.values() if f.get("problem")]


def _is_figure(name: str) -> bool:
    return name in FIGURES or name.partition(":")[0] in FIGURES


def _counters(figures: dict[str, Any]) -> dict[str, float]:
    return {name: value for name, value in figures.items() if name in COUNTERS}


def _add(to: dict[str, float], more: dict[str, float]) -> None:
    for name, value in more.items():
        to[name] = to.get(name, 0) + value


def gather(master: Supervisor) -> dict[str, float]:
    """All figures of the node; reads /proc and asks the disks, so call it in a thread."""
    now = time.time()
    totals = master.ledger.totals()
    oldest = master.ledger.oldest_us()
    totals["oldest_age"] = round(max(0.0, now - oldest / 1e6), 3) if oldest else 0
    totals["workers_ready"] = sum(worker.ready.is_set() for worker in master.workers)
    totals["restarts"] = sum(worker.restarts for worker in master.workers)
    totals["uptime"] = round(time.monotonic() - master.started, 1)
    for alarm in ALARMS:
        totals.setdefault(f"alarm:{alarm}", 0)
    for raised in master.health.alarms.report():
        totals[f"alarm:{raised.alarm}"] += raised.count
    totals |= _memory(master.processes())
    for name, folder in (("spool_free", master.home.spool), ("log_free", master.home.log)):
        totals[name] = _free(folder)
    return totals


def _memory(processes: Iterable[tuple[str, int]]) -> dict[str, float]:
    """pss:NAME and rss:NAME of each process, octets."""
    found: dict[str, float] = {}
    for name, pid in processes:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
        except OSError:  # it has just ended
            continue
        sizes = {line.partition(":")[0]: int(line.split()[1]) * 1024 for line in lines}
        found[f"pss:{name}"], found[f"rss:{name}"] = sizes["Pss"], sizes["Rss"]
    return found


def _free(folder: Path) -> int:
    try:
        disk = os.statvfs(folder)
    except OSError:
        return 0
    return disk.f_bavail * disk.f_frsize
