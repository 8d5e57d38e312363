"""Programs and libraries of others as senders; all have the same signature."""

from __future__ import annotations

import asyncio
import smtplib
import subprocess
from typing import TYPE_CHECKING

import aiosmtplib

from tests.peers.programs import require
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path

SENDER = "s@source.example"


def by_smtplib(port: int, recipients: list[str], content: bytes, folder: Path) -> None:
    """The standard library."""
    with smtplib.SMTP("127.0.0.1", port, "client.example", timeout=PATIENCE) as client:
        refused = client.sendmail(SENDER, recipients, content, mail_options=["BODY=8BITMIME"])
    assert not refused


def by_aiosmtplib(port: int, recipients: list[str], content: bytes, folder: Path) -> None:
    """aiosmtplib."""
    refused, reply = asyncio.run(aiosmtplib.send(
        content, sender=SENDER, recipients=recipients, mail_options=["BODY=8BITMIME"],
        hostname="127.0.0.1", port=port, local_hostname="client.example", start_tls=False,
        timeout=PATIENCE,
    ))  # fmt: skip
    assert not refused, reply


def by_curl(port: int, recipients: list[str], content: bytes, folder: Path) -> None:
    """curl, which sends RCPT one by one and stuffs dots on its own."""
    path = folder / "content"
    path.write_bytes(content)
    rcpts = [part for address in recipients for part in ("--mail-rcpt", address)]
    _run(
        require("curl"), "--silent", "--show-error", "--max-time", f"{PATIENCE:g}",
        "--url", f"smtp://127.0.0.1:{port}/client.example",
        "--mail-from", SENDER, *rcpts, "--upload-file", str(path),
    )  # fmt: skip


def by_swaks(port: int, recipients: list[str], content: bytes, folder: Path) -> None:
    """swaks with pipelining; of its files it wants LF, and it ends the last line itself."""
    path = folder / "content"
    path.write_bytes(content.removesuffix(b"\r\n").replace(b"\r\n", b"\n"))
    _run(
        require("swaks"), "--server", f"127.0.0.1:{port}", "--helo", "client.example",
        "--from", SENDER, "--to", ",".join(recipients), "--pipeline", "--timeout", f"{PATIENCE:g}",
        "--data", f"@{path}",
    )  # fmt: skip


CLIENTS = {
    "smtplib": by_smtplib,
    "aiosmtplib": by_aiosmtplib,
    "curl": by_curl,
    "swaks": by_swaks,
}


def smtp_source(
    port: int, count: int, recipient: str, content: Path, sessions: int = 20, *, reuse: bool = False
) -> None:
    """Postfix's load tool: `count` messages, to 1recipient, 2recipient and so on.

    Of its file it wants LF, and it puts an empty line behind it.
    """
    _run(
        require("smtp-source"), "-N", "-c", *(["-d"] if reuse else []),
        "-m", str(count), "-s", str(sessions), "-M", "source.example",
        "-f", SENDER, "-t", recipient, "-F", str(content), f"inet:127.0.0.1:{port}",
    )  # fmt: skip


def _run(*command: str) -> None:
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stdout.decode(errors="replace")
