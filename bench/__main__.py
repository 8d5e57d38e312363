"""`python -m bench`: measure, print, write the results."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from bench import handlers, report
from bench.agents import AGENTS
from bench.relay import Plan, missing, run

OWN_NETWORK = "MAILRACE_BENCH_NETWORK"


def own_network() -> None:
    """Start again in a network that holds loopback alone, where that is allowed."""
    if os.environ.get(OWN_NETWORK):
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        return
    can = not os.geteuid() and shutil.which("unshare") and shutil.which("ip")
    if can and not subprocess.run(["unshare", "--net", "true"], capture_output=True).returncode:
        os.environ[OWN_NETWORK] = "1"
        command = [sys.executable, "-m", "bench", *sys.argv[1:]]
        os.execvp("unshare", ["unshare", "--net", "--", *command])


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "scenario", nargs="?", choices=["relay", "aiosmtpd"], default="relay",
        help="relay: against other agents (default); aiosmtpd: a handler in both controllers",
    )  # fmt: skip
    parser.add_argument("--agent", action="append", choices=sorted(AGENTS), help="default: all")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10, help="aim of one run")
    parser.add_argument("--count", type=int, default=0, help="messages a run, instead of --seconds")
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp"), help="disk of the spools")
    parser.add_argument("--results", type=Path, default=report.RESULTS)
    return parser.parse_args()


def main() -> int:
    """Run all; 1 if something was incomplete."""
    options = arguments()
    if lines := missing():
        print("\n".join(lines))
        return 0
    own_network()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    folder = Path(tempfile.mkdtemp(prefix="mailrace-bench-", dir=options.folder))
    folder.chmod(0o755)
    if options.scenario == "aiosmtpd":
        try:
            handlers.scenario(folder, options.repeats, options.seconds, options.results)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return 0
    names = options.agent or list(AGENTS)
    plan = Plan(names, folder, options.repeats, options.seconds, options.count)
    try:
        rows, versions = run(plan, lambda line: print(line, flush=True))
        result = {"environment": report.environment(folder), "versions": versions, "rows": rows}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print("\n".join(["", *report.table(rows), "", report.ratio(rows)]))
    print(f"\n{report.write(result, options.results)}")
    return int(not all(row["complete"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
