"""Settings of all tests."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# No bound on time: a machine may be slow. The same examples in every run: what is red stays red.
settings.register_profile(
    "tests",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("random", settings.get_profile("tests"), derandomize=False)
settings.load_profile("tests")
