from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta.queues.names import QueueName, format_name, parse_name


@pytest.mark.parametrize(
    ("parts", "name"),
    [
        (("", "", "example.com", ""), "example.com"),
        (("", "acme", "example.com", ""), "acme@example.com"),
        (("spring", "", "example.com", ""), "spring:@example.com"),
        (("spring", "acme", "example.com", ""), "spring:acme@example.com"),
        (("spring", "acme", "a.example", "mx.example"), "spring:acme@a.example!mx.example"),
        (("", "", "example.com", "[192.0.2.1]:25"), "example.com![192.0.2.1]:25"),
        (("", "", "[IPv6:2001:db8::1]", ""), "[IPv6:2001:db8::1]"),
        (("a:b", "c@d!e", "example.com", ""), "a%3Ab:c%40d%21e@example.com"),
        (("100%", "", "example.com", ""), "100%25:@example.com"),
    ],
)  # fmt: skip
def test_names(parts: tuple[str, str, str, str], name: str) -> None:
    assert format_name(*parts) == str(QueueName(*parts)) == name
    assert parse_name(name) == parts


text = st.text(st.characters(codec="utf-8"), max_size=12)


@given(text, text, text.filter(bool), text)
def test_every_name_reads_back(campaign: str, tenant: str, domain: str, route: str) -> None:
    name = format_name(campaign, tenant, domain, route)
    assert parse_name(name) == (campaign, tenant, domain, route)
    assert not any(c <= " " for c in name)
