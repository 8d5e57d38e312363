"""`mta bench`: the benchmark suite of the checkout that this program was built in."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from mta.errors import MailraceError

ROOT = Path(__file__).parent.parent.parent


def register(app: typer.Typer) -> None:
    """Add `bench` to the application."""
    context = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
    app.command("bench", context_settings=context)(bench)


def bench(
    context: typer.Context,
    scenario: Annotated[
        str,
        typer.Argument(
            help="relay, sessions, queue, kernels, aiosmtpd, compare or chart; default: all"
        ),
    ] = "all",
) -> None:
    """Run the benchmarks of the source tree. `mta bench relay --help` shows the options of one."""
    if not (ROOT / "bench" / "__main__.py").exists():
        raise MailraceError(f"the scenarios come with the source, and {ROOT} has no bench folder")
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "bench", scenario, *context.args]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, check=False)
    raise typer.Exit(done.returncode)
