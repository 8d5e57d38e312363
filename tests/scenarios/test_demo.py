"""The demo as CI runs it: a server, receivers of every manner, and an account without a problem."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.waiting import PATIENCE

MESSAGES = 2000


def test_every_recipient_is_accounted_for(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    done = subprocess.run(
        [sys.executable, "-m", "mta.cli.main", "demo", "--json",
         "--messages", str(MESSAGES), "--folder", str(folder)],
        capture_output=True, text=True, timeout=PATIENCE * 2,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    result = json.loads(done.stdout)
    account = result["account"]
    assert result["problems"] == []
    assert account["accepted"] == MESSAGES
    assert account["delivered"] + account["bounced"] + account["expired"] == MESSAGES
    assert account["dsns"] == account["bounced"] + account["expired"]
    assert min(account["retried"], account["bounced"], account["expired"]) > 0
    assert account["duplicates"] == 0
    assert 0 < account["time_to_deliver"][0] <= account["time_to_deliver"][1]
    assert result["cpu_us"] > 0
    assert list(folder.glob("log/shard-*/*.zst"))
    assert not (folder / "spool").exists()
