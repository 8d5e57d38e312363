"""`/metrics`, `/healthz`, `/readyz` of a real server; no counter goes back over a kill -9."""

from __future__ import annotations

import os
import signal
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from mta.metrics import FIGURES
from mta.testing.ports import free_port
from mta.testing.remote import RemoteMX
from tests.scenarios.server import Server
from tests.waiting import PATIENCE, wait

NOT_FIGURES = {"number", "pid", "problem", "oldest", "alarms", "losses"}


class Monitored(Server):
    """A server with its pages for monitoring."""

    def __init__(self, home: Path, *flags: str, workers: int = 1) -> None:
        self.http = free_port()
        listen = f'http.listen="127.0.0.1:{self.http}"'
        super().__init__(home, *flags, "-o", listen, workers=workers)

    def page(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self.http}{path}", timeout=PATIENCE
            ) as page:
                return page.status, page.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def metrics(self) -> dict[str, float]:
        """name, or name{label value}: value."""
        status, text = self.page("/metrics")
        assert status == 200
        found = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                label = f"{{{','.join(sample.labels.values())}}}" if sample.labels else ""
                found[sample.name + label] = sample.value
        return found

    def wait_metric(self, name: str, value: float) -> dict[str, float]:
        found: dict[str, float] = {}

        def reached() -> bool:
            found.update(self.metrics())
            return found.get(name) == value

        wait(reached, lambda: (name, found.get(name), value, self.said()))
        return found


def counters(found: dict[str, float]) -> dict[str, float]:
    return {
        name: value
        for name, value in found.items()
        if name.endswith(("_total", "_count", "_sum")) or "_bucket" in name
    }


def not_ready(server: Monitored) -> bool:
    return server.page("/readyz")[0] == 503


def test_figures_and_health_over_a_killed_worker(tmp_path: Path) -> None:
    with RemoteMX() as remote:
        refused = "nobody@dest.example"
        remote.manners.rcpt = lambda r: "550 5.1.1 no" if r == refused else None
        server = Monitored(tmp_path, "--route", f"*=127.0.0.1:{remote.port}")
        with server:
            for _ in range(5):
                server.send("a@dest.example", "b@dest.example", sender="")
            server.send(refused, sender="")
            before = server.wait_metric("mailrace_delivered_recipients_total", 10)
            before = server.wait_metric("mailrace_bounced_recipients_total", 1)
            assert before["mailrace_accepted_recipients_total"] == 11
            assert before["mailrace_accepted_messages_total"] == 6
            assert before["mailrace_sessions_accepted_total"] == 6
            assert before["mailrace_commit_seconds_count"] > 0
            assert (
                before["mailrace_commit_seconds_bucket{+Inf}"]
                == (before["mailrace_commit_seconds_count"])
            )
            assert before["mailrace_workers"] == 1
            for name in ("supervisor", "worker 0"):
                pss = before[f"mailrace_memory_pss_bytes{{{name}}}"]
                assert 1e6 < pss <= before[f"mailrace_memory_rss_bytes{{{name}}}"]
            assert before["mailrace_disk_free_bytes{spool}"] > 0
            assert before["mailrace_log_offset_bytes{0}"] > 0
            assert server.page("/healthz") == (200, "ok\n")
            assert server.page("/readyz") == (200, "ok\n")
            assert server.page("/else")[0] == 404

            [worker] = server.status()["workers"]  # a report, behind everything above
            os.kill(worker["pid"], signal.SIGKILL)
            after = server.wait_metric("mailrace_worker_restarts_total", 1)
            for name, value in counters(before).items():
                assert after.get(name, 0) >= value, name
            after = server.wait_metric("mailrace_workers", 1)
            server.send("c@dest.example")
            after = server.wait_metric("mailrace_delivered_recipients_total", 11)
            for name, value in counters(before).items():
                assert after[name] >= value, name
            totals = server.status()["totals"]
            assert totals["received"] == 12 and totals["delivered"] == 11


def test_what_waits_by_state_over_a_restart(tmp_path: Path) -> None:
    with RemoteMX() as remote:
        remote.manners.rcpt = lambda r: "451 4.2.0 later" if "late" in r else None
        server = Monitored(tmp_path, "--route", f"*=127.0.0.1:{remote.port}", "--retry", "1h")
        with server:
            server.ask("act", verb="hold", select={"domain": "held.example"})
            for _ in range(3):
                server.send("late@dest.example")
            server.send("a@held.example", "b@held.example")
            name = "mailrace_queued_recipients"
            server.wait_metric(f"{name}{{deferred}}", 3)
            found = server.wait_metric(f"{name}{{held}}", 2)
            assert found[f"{name}{{ready}}"] == found[f"{name}{{in flight}}"] == 0
            assert 0 < found["mailrace_queue_oldest_seconds"] < PATIENCE
            server.kill()
            server.start()
            server.wait_metric("mailrace_queue_counting", 0)
            found = server.wait_metric(f"{name}{{held}}", 2)
            assert found[f"{name}{{deferred}}"] == 3
            server.ask("act", verb="delete", select={"all": True})
            server.wait_metric(f"{name}{{deferred}}", 0)
            found = server.wait_metric(f"{name}{{held}}", 0)
            assert found["mailrace_queue_oldest_seconds"] == 0
            assert found["mailrace_removed_recipients_total"] == 5


def test_not_ready_while_the_disk_is_short(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('disk.min_free = "900TB"\n')
    with Monitored(tmp_path, "--config", str(config)) as server:
        server.wait_metric("mailrace_workers", 1)
        wait(lambda: not_ready(server), "it is ready")
        status, text = server.page("/readyz")
        assert status == 503 and "free" in text
        assert server.page("/healthz")[0] == 200
        found = server.status()
        assert not found["ready"] and "free" in found["not_ready"][0]
        wait(lambda: "new mail is refused: " in server.said(), "nobody is told")
        config.write_text('disk.min_free = "1MB"\n')
        server.ask("reload")
        wait(lambda: not not_ready(server), "it is not ready again")
        wait(lambda: "new mail is taken again" in server.said(), "nobody is told of the end")
        server.send("a@b.example")


def test_every_figure_of_a_worker_is_a_metric(tmp_path: Path) -> None:
    with Server(tmp_path) as server:
        status: dict[str, Any] = server.status()
        names = {name.partition(":")[0] for name in status["workers"][0]} - NOT_FIGURES
        assert names <= FIGURES, f"declare these in mta/metrics.py: {sorted(names - FIGURES)}"
        gathered = {name.partition(":")[0] for name in status["totals"]}
        assert gathered == FIGURES


@pytest.mark.parametrize(
    ("listen", "said"),
    [
        ("nonsense", "http.listen"),
        ("192.0.2.1:1", "http.listen: cannot listen on 192.0.2.1:1: no interface"),
    ],
)
def test_addresses_that_cannot_be_used(tmp_path: Path, listen: str, said: str) -> None:
    server = Server(tmp_path, "-o", f'http.listen="{listen}"')
    with pytest.raises(AssertionError, match="did not start"):
        server.start()
    assert said in server.said()
    assert "Traceback" not in server.said()
