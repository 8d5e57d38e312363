"""`python -m tests.crash --rounds 50 --seed N`: exit code 1 and the folder kept on any problem."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.crash.run import KINDS, Plan, run
from tests.crash.verdict import Bounds

SHOWN = 20  # problems printed


def main() -> int:
    """Parse, run, report."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--rounds", type=int, default=50, help="kills [50]")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of all that is random")
    parser.add_argument("--workers", type=int, default=2, help="worker processes [2]")
    parser.add_argument("--rate", type=float, default=150, help="messages a second [150]")
    parser.add_argument("--interval", type=float, default=0.05, help="outcome_interval [0.05 s]")
    parser.add_argument("--slack", type=float, default=0.5, help="see tests/crash/verdict.py [0.5]")
    parser.add_argument("--only", choices=KINDS, default="", help="one kind of kill [all]")
    parser.add_argument("--folder", type=Path, help="a new folder [a temporary one]")
    args = parser.parse_args()
    folder = args.folder or Path(tempfile.mkdtemp(prefix="mta-crash-"))
    bounds = Bounds(args.interval, args.slack)
    print(f"seed {args.seed}, {args.rounds} rounds, files in {folder}", flush=True)
    plan = Plan(folder, args.rounds, args.seed, args.workers, args.rate, bounds, args.only)
    try:
        result = run(plan, lambda line: print(line, flush=True))
    except AssertionError as error:
        print(f"failed: {error}\nthe files stay in {folder}")
        return 1
    print("\n".join(result.lines()))
    problems = result.verdict.problems
    if problems:
        print("\n".join(f"  {problem}" for problem in problems[:SHOWN]))
        (folder / "problems").write_text("\n".join(problems))
        print(f"the files stay in {folder}")
        return 1
    if args.folder is None:
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
