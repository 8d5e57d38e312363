"""`mta status`: how the running server does."""

from __future__ import annotations

from typing import Any

import typer

from mta.cli import common
from mta.cli.common import Home, Json, Socket, Wide
from mta.metrics import COMMIT_TIMES


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(status)


def status(
    wide: Wide = False, home: Home = None, socket: Socket = None, as_json: Json = False
) -> None:
    """Show the state of the running server. Figures are those of `/metrics`, by worker."""
    from mta.cli import control

    path = common.control_socket(home, socket)
    with common.waiting("asking all workers"):
        found = control.ask(path, "status")
    if as_json:
        common.print_json(found)
        return
    totals, workers = found.pop("totals", {}), found.pop("workers", [])
    ended = found.pop("ended_workers", {})
    reasons = found.pop("not_ready", [])
    reasons += found.pop("degraded", [])
    problems = reasons + [worker["problem"] for worker in workers if worker.get("problem")]
    found["alarms"] = raised(found.get("alarms", []))
    common.print_facts(found | ({"problems": problems} if problems else {}))
    sums = {name: value for name, value in totals.items() if ":" not in name}
    times = [sums.pop(f"commit_time_{at}", 0) for at in range(len(COMMIT_TIMES) + 1)]
    names = [f"worker {n}" for n in range(len(workers))]
    if any(ended.values()):  # without them the columns do not add up to the total
        names, workers = [*names, "ended workers"], [*workers, ended]
    common.print_figures(sums, workers, names, wide=wide)
    if sum(times):
        common.print_facts({"commits by time": commits(times)})
    if rows := parts(totals):
        common.print_facts({"by part": rows})


def raised(alarms: list[dict[str, Any]]) -> list[dict[str, Any]] | str:
    """The alarms in rows, in the order of their columns."""
    columns = {"alarm": "alarm", "worker": "worker", "seconds": "for (s)", "count": "count"}
    rows = [{title: one.get(name) for name, title in columns.items()} for one in alarms]
    return [
        row | {"reason": one["reason"]} for row, one in zip(rows, alarms, strict=True)
    ] or "none"


def commits(times: list[float]) -> list[dict[str, Any]]:
    """The histogram of commits, in rows."""
    bounds = [f"{bound * 1000:g} ms" for bound in COMMIT_TIMES]
    names = [f"up to {bound}" for bound in bounds] + [f"over {bounds[-1]}"]
    return [
        {"commits": name, "number": int(count)}
        for name, count in zip(names, times, strict=True)
        if count
    ]


def parts(totals: dict[str, Any]) -> list[dict[str, Any]]:
    """Memory of each process and the log's end in each shard, in rows."""
    rows: dict[str, dict[str, Any]] = {}
    for name, value in totals.items():
        figure, colon, part = name.partition(":")
        if colon and figure != "alarm":
            part = part if figure in ("pss", "rss") else f"shard {part}"
            rows.setdefault(part, {"part": part})[figure] = int(value)
    return list(rows.values())
