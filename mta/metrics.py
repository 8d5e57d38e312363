"""Every metric, declared once: name, kind, meaning, and the figures that it shows.

A *figure* is a number that a worker or the supervisor reports under a short name; `mta status`
prints figures, `/metrics` prints the metrics made of them. docs/reference.md has this list.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from prometheus_client.core import Metric as Family

COMMIT_TIMES = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)  # seconds, upper bounds

Figures = Mapping[str, float]


class Metric(NamedTuple):
    """One metric; `figures` are by the value of its label where it has one."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    doc: str
    figures: dict[str, str]  # label value ("" without a label): figure
    label: str = ""  # its figures may also be reported by label: {figure}:{label value}


def _counter(name: str, figure: str, doc: str) -> Metric:
    return Metric(f"mailrace_{name}_total", "counter", doc, {"": figure})


def _gauge(name: str, figure: str, doc: str) -> Metric:
    return Metric(f"mailrace_{name}", "gauge", doc, {"": figure})


def _labelled(name: str, label: str, figures: dict[str, str], doc: str) -> Metric:
    return Metric(f"mailrace_{name}", "gauge", doc, figures, label)


METRICS: tuple[Metric, ...] = (
    _counter(
        "accepted_recipients",
        "received",
        "recipients that were promised delivery, those of our DSNs too",
    ),
    _counter(
        "accepted_messages", "messages", "messages taken and synced; DSNs come with their bounces"
    ),
    _counter("delivered_recipients", "delivered", "recipients that a server took"),
    _counter("deferred_attempts", "deferred", "attempts that failed for now"),
    _counter("bounced_recipients", "bounced", "recipients refused for good, or bounced by hand"),
    _counter("expired_recipients", "expired", "recipients whose time was over"),
    _counter("removed_recipients", "removed", "recipients removed by an operator or set aside"),
    _counter("lost_recipients", "lost", "recipients that the spool has lost, recorded as Lost"),
    _counter("refused_messages", "refused", "messages the spool could not take: 452"),
    _labelled(
        "queued_recipients",
        "state",
        {
            "fresh": "queued_fresh",
            "ready": "queued_ready",
            "in flight": "queued_in_flight",
            "deferred": "queued_deferred",
            "backlog": "queued_backlog",
            "held": "queued_held",
        },
        "recipients without a final record: fresh (of an earlier run, to be loaded), ready (in"
        " memory), in flight, deferred, backlog (due, on disk until memory has room), held",
    ),
    _gauge("queue_oldest_seconds", "oldest_age", "age of the oldest message, 0 without any"),
    _gauge("queue_counting", "counting", "workers that still count what an earlier run left"),
    _gauge("queues_ready", "ready_queues", "destinations that have mail in memory"),
    _gauge("queue_memory_recipients", "in_memory", "recipients in memory"),
    _gauge("queue_memory_bytes", "body_bytes", "contents in memory"),
    _gauge("sessions", "sessions", "SMTP sessions that are open, incoming"),
    _counter("sessions_accepted", "sessions_accepted", "SMTP sessions taken"),
    _counter("sessions_refused", "sessions_refused", "connections turned away by a limit"),
    _counter("sessions_timed_out", "sessions_timed_out", "sessions ended by a time-out"),
    _counter(
        "sessions_handed_over", "sessions_handed_over", "connections passed to another worker"
    ),
    _counter("content_waits", "content_waits", "times that content waited half-way for memory"),
    _counter("contents_dropped", "contents_dropped", "contents that had to give way: 421 4.3.1"),
    _counter("accept_pauses", "accept_pauses", "pauses of accepting for want of descriptors"),
    _counter("pickup_files", "pickup_files", "files of the pickup folder whose message was taken"),
    _counter("pickup_bad_files", "pickup_bad", "files of the pickup folder that went to bad/"),
    _labelled(
        "connections",
        "state",
        {"open": "connections", "idle": "idle_connections", "opening": "dialling"},
        "outgoing connections: open (those idle among them), idle, opening",
    ),
    _gauge("attempts", "in_flight", "messages being sent"),
    Metric(
        "mailrace_commit_seconds",
        "histogram",
        "time of a commit: log frame and spool, synced; its count is the number of commits",
        {"count": "commits", "sum": "commit_seconds"}
        | {str(bound): f"commit_time_{at}" for at, bound in enumerate(COMMIT_TIMES)}
        | {"+Inf": f"commit_time_{len(COMMIT_TIMES)}"},
    ),
    _gauge("commit_seconds_max", "commit_seconds_max", "longest commit of the workers that run"),
    _gauge("commit_group_max", "largest_group", "most messages in one commit"),
    _gauge("commit_pending", "pending", "messages and records that wait for a commit"),
    _counter("commit_failures", "failures", "commits that failed and were tried again"),
    _counter("corrupt_records", "corrupt", "records of the spool that were set aside"),
    _counter("content_read_failures", "read_failures", "readings of contents that gave none"),
    _counter("log_frames", "frames", "frames written to the log"),
    _counter("log_records", "records", "records written to the log"),
    _gauge("log_kept_bytes", "kept", "records in the spool that the log could not take yet"),
    _labelled("log_segment", "shard", {"": "log_segment"}, "the log's end: number of the segment"),
    _labelled("log_offset_bytes", "shard", {"": "log_offset"}, "the log's end: place in it"),
    _gauge("workers", "workers_ready", "workers that serve"),
    _counter("worker_restarts", "restarts", "workers that ended unasked and were started again"),
    _labelled(
        "alarm",
        "name",
        {"": "alarm"},
        "alarms: 0 while all is well, else how many recipients, files or processes it is about",
    ),
    _labelled(
        "shards",
        "state",
        {"serving": "shards_serving", "refused": "shards_refused"},
        "shards of the spool: serving, refused (they cannot be opened: `mta status` says why)",
    ),
    _gauge("uptime_seconds", "uptime", "since the start of the supervisor"),
    _labelled(
        "memory_pss_bytes", "process", {"": "pss"}, "memory, shared pages divided by their users"
    ),
    _labelled("memory_rss_bytes", "process", {"": "rss"}, "memory with all shared pages"),
    _labelled(
        "disk_free_bytes",
        "folder",
        {"spool": "spool_free", "log": "log_free"},
        "space left for the server's user",
    ),
)

COUNTERS = frozenset(
    figure for m in METRICS if m.kind in ("counter", "histogram") for figure in m.figures.values()
)
MAXIMA = frozenset(("commit_seconds_max", "largest_group"))  # of workers; others are summed
FIGURES = frozenset(figure for metric in METRICS for figure in metric.figures.values())


def families(figures: Figures) -> Iterator[Family]:
    """The metrics of a set of figures, as prometheus-client has them."""
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
    )

    for metric in METRICS:
        if metric.kind == "histogram":
            family = HistogramMetricFamily(metric.name, metric.doc)
            family.add_metric([], list(_buckets(metric, figures)), figures.get("commit_seconds", 0))
            yield family
            continue
        kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
        simple = kind(metric.name, metric.doc, labels=[metric.label] if metric.label else None)
        for label, value in _values(metric, figures):
            simple.add_metric([label] if metric.label else [], value)
        yield simple


def _values(metric: Metric, figures: Figures) -> Iterator[tuple[str, float]]:
    """(label value, value) of a metric."""
    for label, figure in metric.figures.items():
        if label or not metric.label:
            yield label, figures.get(figure, 0)
            continue
        prefix = f"{figure}:"
        for name in sorted(name for name in figures if name.startswith(prefix)):
            yield name.removeprefix(prefix), figures[name]


def _buckets(metric: Metric, figures: Figures) -> Iterator[tuple[str, float]]:
    """(upper bound, how many at or below it) of a histogram."""
    total = 0.0
    for bound, figure in metric.figures.items():
        if bound not in ("count", "sum"):
            total += figures.get(figure, 0)
            yield bound, total


def render(figures: Figures) -> bytes:
    """The text that Prometheus reads (exposition format 0.0.4)."""
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.registry import Collector

    class Once(Collector):
        def collect(self) -> Iterator[Family]:
            return families(figures)

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Once())
    return generate_latest(registry)
