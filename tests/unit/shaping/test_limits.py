from __future__ import annotations

import pytest

from mta.shaping.limits import UNLIMITED, Limits, LimitSpec, Rate, Resolved

SLOW, FAST = Rate(10), Rate(100, burst=5)
LIMITS = Limits(
    default=LimitSpec(20, FAST),
    sites={
        "example.com": LimitSpec(connections=2),
        "*.example.org": LimitSpec(5, SLOW),
        "*.mail.example.org": LimitSpec(rate=Rate(50)),
        "*": LimitSpec(connections=15),
    },
    tenants={"acme": SLOW},
)
DEFAULT, ORG = "limits.site.default", 'limits.site."*.example.org"'
MAIL = 'limits.site."*.mail.example.org".rate'
COM, ANY = 'limits.site."example.com".connections', 'limits.site."*".connections'


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["example.com"], Resolved(2, COM, FAST, DEFAULT + ".rate")),
        (["Example.COM"], Resolved(2, COM, FAST, DEFAULT + ".rate")),
        (["x.example.com"], Resolved(15, ANY, FAST, DEFAULT + ".rate")),
        (["x.example.org"], Resolved(5, ORG + ".connections", SLOW, ORG + ".rate")),
        (["example.org"], Resolved(15, ANY, FAST, DEFAULT + ".rate")),
        (["x.mail.example.org"], Resolved(5, ORG + ".connections", Rate(50), MAIL)),
        (["google", "example.com", "x.example.org"], Resolved(2, COM, SLOW, ORG + ".rate")),
        (["google", "y.mail.example.org"], Resolved(5, ORG + ".connections", Rate(50), MAIL)),
    ],
)
def test_the_most_particular_name_gives_each_limit(names: list[str], found: Resolved) -> None:
    assert LIMITS.site(names) == found


def test_none_lifts_a_limit_that_is_more_general() -> None:
    limits = Limits(
        default=LimitSpec(20, FAST),
        sites={
            "fast.example": LimitSpec("none", "none"),
            "*.slow.example": LimitSpec(2, SLOW),
            "mx.slow.example": LimitSpec(rate="none"),
        },
    )
    free = Resolved(UNLIMITED, "", None, "")
    slow = 'limits.site."*.slow.example".connections'
    assert limits.site(["fast.example"]) == free
    assert limits.site(["mx.fast.example", "fast.example"]) == free  # a site that has a domain
    assert limits.site(["mx.slow.example"]) == Resolved(2, slow, None, "")
    assert limits.site(["mx.slow.example", "y.slow.example"]).rate == SLOW
    assert limits.site(["other.example"]).rate == FAST


def test_without_settings_nothing_is_limited() -> None:
    assert Limits().site(["example.com"]) == Resolved(UNLIMITED, "", None, "")
    assert Limits().tenant("acme") == (None, "")


def test_a_tenants_rate_names_its_setting() -> None:
    assert LIMITS.tenant("acme") == (SLOW, "tenant.acme.rate")


def test_a_rate_is_rounded_to_the_strict_side() -> None:
    assert (Rate(3).interval_ns, Rate(5000, 3600).interval_ns) == (333_333_334, 720_000_000)
    assert (str(Rate(200, burst=400)), str(Rate(5, 60))) == ("200/s, burst=400", "5/60s, burst=1")


def test_no_connections_at_all_is_no_limit_to_set() -> None:
    with pytest.raises(ValueError, match="connections = 0"):
        LimitSpec(connections=0)
