"""`python -m bench`, `mta bench`: measure, print, write the results."""

from __future__ import annotations

import argparse
import importlib
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import report
from bench.agents import AGENTS
from bench.machine import own_network

SCENARIOS = (
    "relay", "receivers", "sessions", "domains", "queue", "kernels", "instructions", "aiosmtpd",
)  # fmt: skip
TOOLS = ("compare", "chart", "readme")
ELSEWHERE = {"queue": "bench.backlog", "all": "bench.suite"}


def say(line: str) -> None:
    """A line of progress."""
    print(line, flush=True)


@contextmanager
def scratch(options: argparse.Namespace) -> Iterator[Path]:
    """A folder on the disk of the spools."""
    folder = Path(tempfile.mkdtemp(prefix="mailrace-bench-", dir=options.folder))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def common(parser: argparse.ArgumentParser) -> None:
    """Options that every scenario has."""
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp"), help="disk of the spools")
    parser.add_argument("--results", type=Path, default=report.RESULTS)
    parser.add_argument("--repeats", type=int, default=3)


def relay_options(parser: argparse.ArgumentParser) -> None:
    """Options of `relay`."""
    from bench.relay import WORKLOADS

    common(parser)
    parser.add_argument("--agent", action="append", choices=sorted(AGENTS), help="default: all")
    parser.add_argument(
        "--workload", action="append", choices=[*WORKLOADS, "all"], help="default: standard"
    )
    parser.add_argument("--seconds", type=float, help="aim of one run")
    parser.add_argument("--count", type=int, default=0, help="messages a run, for --seconds")
    parser.add_argument("--size", type=int, help="octets of a message")
    parser.add_argument("--sessions", type=int)
    parser.add_argument("--hops", type=int, help="next hops, each with its domain and address")
    parser.add_argument("--manner", help="of the receivers, as for `mta sink --profile`")
    parser.add_argument("--tools", choices=["own", "postfix"], help="source and sink")
    parser.add_argument("--processes", type=int, help="sink processes")
    parser.add_argument("--rate", type=float, help="messages/s that are offered")
    parser.add_argument("--name", help="of the result")


def relay(options: argparse.Namespace) -> int:
    """Us and the others, workload by workload."""
    from bench import traffic
    from bench.relay import WORKLOADS, Plan, run

    names = options.workload or ["standard"]
    names = [name for name in WORKLOADS if name != "steady"] if "all" in names else names
    keys = ("seconds", "size", "sessions", "hops", "manner", "tools", "processes", "rate", "name")
    changes = {k: v for k in keys if (v := getattr(options, k)) is not None}
    complete = True
    for name in names:
        work = WORKLOADS[name]._replace(**changes)
        if work.tools == "postfix" and (lines := traffic.missing()):
            say("\n".join(f"relay {name}: skipped, {line}" for line in lines))
            continue
        say(f"\n{work.name}: {work.title()}")
        with scratch(options) as folder:
            plan = Plan(options.agent or list(AGENTS), folder, work, options.repeats, options.count)
            rows, versions, skipped = run(plan, say)
            result = {
                "scenario": "relay", "workload": work._asdict(), "title": work.title(),
                "environment": report.environment(folder), "versions": versions,
                "skipped": skipped, "rows": rows,
            }  # fmt: skip
        page = report.write(result, options.results, f"relay-{work.name}", report.markdown(result))
        shown = [*report.table(rows), "", *report.ratios(rows), "", *report.courses(rows)]
        say("\n".join(["", *shown, str(page)]))
        complete = complete and all(row["complete"] for row in rows)
    return int(not complete)


def aiosmtpd_options(parser: argparse.ArgumentParser) -> None:
    """Options of `aiosmtpd`."""
    common(parser)
    parser.add_argument("--seconds", type=float, default=10.0, help="aim of one run")


def aiosmtpd(options: argparse.Namespace) -> int:
    """A handler in both controllers."""
    from bench import handlers, traffic

    if lines := traffic.missing():
        say("\n".join(f"aiosmtpd: skipped, {line}" for line in lines))
        return 0
    with scratch(options) as folder:
        handlers.scenario(folder, options.repeats, options.seconds, options.results)
    return 0


def module(name: str) -> tuple[Callable[..., None], Callable[..., int]]:
    """How a scenario's options are read, and how it runs."""
    if name in ("relay", "aiosmtpd"):
        here = globals()
        return here[f"{name}_options"], here[name]
    found = importlib.import_module(ELSEWHERE.get(name, f"bench.{name}"))
    return found.options, found.main


def main() -> int:
    """Run what is asked for; 1 if something was incomplete or worse than before."""
    parser = argparse.ArgumentParser(prog="mta bench", description=__doc__)
    parser.add_argument("scenario", nargs="?", choices=["all", *SCENARIOS, *TOOLS], default="all")
    chosen, rest = parser.parse_known_args(sys.argv[1:2])
    if chosen.scenario not in TOOLS and not {"-h", "--help"} & set(sys.argv):
        own_network()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    configure, call = module(chosen.scenario)
    own = argparse.ArgumentParser(prog=f"mta bench {chosen.scenario}", description=call.__doc__)
    configure(own)
    return call(own.parse_args([*rest, *sys.argv[2:]]))


if __name__ == "__main__":
    sys.exit(main())
