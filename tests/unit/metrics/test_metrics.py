"""The declared metrics, and the text that Prometheus reads."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from mta import metrics
from mta.metrics import COMMIT_TIMES, METRICS

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples(figures: dict[str, float]) -> Samples:
    """Every sample of the rendered text, by name and labels."""
    text = metrics.render(figures).decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_names_and_figures_are_declared_once() -> None:
    names = [m.name.removesuffix("_total") for m in METRICS]
    assert len(set(names)) == len(names)
    figures = [figure for m in METRICS for figure in m.figures.values()]
    assert len(set(figures)) == len(figures)
    assert all(m.name.endswith("_total") == (m.kind == "counter") for m in METRICS)


def test_every_metric_is_rendered_from_its_figures() -> None:
    given = {
        figure: number
        for number, figure in enumerate(sorted(metrics.FIGURES), 1)
        if not figure.startswith("commit_time_")
    }
    found = samples(given)
    for metric in METRICS:
        for label, figure in metric.figures.items():
            if metric.kind != "histogram" and (label or not metric.label):
                key = ((metric.label, label),) if metric.label else ()
                assert found[metric.name, key] == given[figure], metric.name


def test_figures_with_a_label_of_their_own() -> None:
    found = samples({"pss:worker 1": 7, "pss:supervisor": 5, "log_segment:3": 2})
    assert found["mailrace_memory_pss_bytes", (("process", "worker 1"),)] == 7
    assert found["mailrace_memory_pss_bytes", (("process", "supervisor"),)] == 5
    assert found["mailrace_log_segment", (("shard", "3"),)] == 2


def test_the_histogram_is_cumulative() -> None:
    times: dict[str, float] = {f"commit_time_{at}": at + 1 for at in range(len(COMMIT_TIMES) + 1)}
    found = samples({"commit_seconds": 2.5, **times})
    name = "mailrace_commit_seconds"
    assert found[f"{name}_bucket", (("le", "0.001"),)] == 1
    assert found[f"{name}_bucket", (("le", "0.0025"),)] == 3
    assert found[f"{name}_count", ()] == found[f"{name}_bucket", (("le", "+Inf"),)] == 55
    assert found[f"{name}_sum", ()] == 2.5
