"""The verdict on a long run, from samples of one that is steady and of some that are not."""

from __future__ import annotations

import pytest

from bench import steady


def course(
    rate: float = 0.0, cpu: float = 0.0, pss: float = 0.0, descriptors: float = 0.0
) -> list[dict[str, float]]:
    """61 samples of ten minutes; each figure changes by such a share from begin to end."""
    samples, received, used = [], 0.0, 0.0
    for n in range(61):
        samples.append({
            "seconds": 10.0 * n, "received": received, "cpu": used,
            "pss": 1e8 * (1 + pss * n / 60), "descriptors": 200 * (1 + descriptors * n / 60),
        })  # fmt: skip
        wave = 1 + 0.02 * (-1) ** n
        messages = 10_000 * (1 + rate * n / 60) * wave
        received += messages
        used += messages * 200e-6 * (1 + cpu * n / 60)
    return samples


def test_a_steady_run_has_ten_minutes_and_says_so() -> None:
    lines = steady.lines(course())
    assert len(lines) == 2 + 10 + 1
    assert lines[2].startswith("| 1.0 | 1,000 | 200 | 100 | 200 |")
    assert lines[-1].startswith("| steady | steady (+0.0%")


@pytest.mark.parametrize(
    ("figure", "by", "name", "word"),
    [
        ("rate", -0.2, "rate", "fell"),
        ("cpu", 0.2, "cpu_us", "rose"),
        ("pss", 0.2, "pss", "grew"),
        ("descriptors", 0.2, "descriptors", "grew"),
    ],
)
def test_what_changes_is_named(figure: str, by: float, name: str, word: str) -> None:
    verdicts = steady.judge(steady.parts(course(**{figure: by})))
    assert verdicts.pop(name).startswith(word)
    assert all(text.startswith("steady") for text in verdicts.values())
    assert steady.lines(course(**{figure: by}))[-1].startswith("| NOT steady |")


def test_better_figures_are_steady() -> None:
    verdicts = steady.judge(steady.parts(course(rate=0.3, cpu=-0.3, pss=-0.3)))
    assert all(text.startswith("steady") for text in verdicts.values())


def test_a_short_run_has_no_course() -> None:
    assert steady.lines(course()[:5]) == []
    assert steady.lines([]) == []
