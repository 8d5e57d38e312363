"""What a recipient knows by itself."""

from __future__ import annotations

import pytest

from mta.model import Message, Recipient


@pytest.mark.parametrize(
    ("address", "domain"),
    [
        ("a@Example.ORG", "example.org"),
        ("a@[192.0.2.1]", "[192.0.2.1]"),
        ("jörg@Bücher.example", "xn--bcher-kva.example"),
        ("a@例え.テスト", "xn--r8jz45g.xn--zckzah"),
        ("a@bad\u200e.example", "bad\u200e.example"),
    ],
)
def test_a_domain_is_lower_case_and_in_a_labels(address: str, domain: str) -> None:
    recipient = Recipient(Message(bytes(16), ""), 0, address)
    assert (recipient.domain, recipient.address) == (domain, address)
