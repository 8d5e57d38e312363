"""What each result means."""

from __future__ import annotations

import pytest

from mta.delivery.outcome import outcome, outcomes
from mta.model import Kind, Outcome

D, L, B, U = Kind.DELIVERED, Kind.DEFERRED, Kind.BOUNCED, Kind.UNATTEMPTED

TABLE = [
    ((250, "2.0.0", "ok", "."), D),
    ((299, "", "", "."), D),
    ((400, "", "", "MAIL"), L),
    ((451, "4.3.0", "later", "."), L),
    ((452, "4.2.2", "full", "RCPT"), L),
    ((421, "4.3.2", "bye", "connect"), L),
    ((421, "", "bye", "."), L),
    ((450, "4.7.1", "greylisted", "RCPT"), L),
    ((550, "5.1.1", "unknown", "RCPT"), B),
    ((550, "5.7.1", "not you", "MAIL"), B),
    ((554, "5.7.1", "spam", "."), B),
    ((554, "5.6.3", "8-bit", "MAIL"), B),
    ((552, "5.3.4", "too large", "MAIL"), B),
    ((552, "", "too large", "."), B),
    ((552, "", "too many", "RCPT"), L),
    ((500, "", "what", "DATA"), B),
    ((599, "", "", "RCPT"), B),
    ((554, "5.7.1", "go away", "connect"), L),
    ((521, "", "no mail here", "connect"), L),
    ((550, "", "bad name", "EHLO"), L),
    ((550, "", "bad name", "HELO"), L),
    ((0, "", "lost", "."), L),
    ((0, "", "refused", "connect"), L),
    ((0, "", "malformed", "RCPT"), L),
    ((0, "", "", "unattempted"), U),
]


@pytest.mark.parametrize(("result", "kind"), TABLE)
def test_outcome(result: tuple[int, str, str, str], kind: Kind) -> None:
    assert outcome(result) == Outcome(kind, *result)
    assert outcomes([result]) == [Outcome(kind, *result)]


OK = (250, "2.0.0", "ok", ".")
SEVERAL = [
    ([OK, (452, "4.5.3", "too many", "RCPT")], [D, U]),
    ([OK, (452, "", "too many", "RCPT")], [D, U]),
    ([OK, (552, "5.5.3", "too many", "RCPT")], [D, U]),
    ([OK, (452, "4.2.2", "mailbox full", "RCPT")], [D, L]),
    ([OK, (550, "5.1.1", "no", "RCPT"), (452, "", "too many", "RCPT")], [D, B, U]),
    ([(451, "", "later", "."), (452, "", "too many", "RCPT")], [L, U]),
    ([(452, "4.5.3", "no", "RCPT"), (452, "4.5.3", "no", "RCPT")], [L, L]),
    ([(550, "", "no", "RCPT"), (452, "4.5.3", "no", "RCPT")], [B, L]),
    ([(452, "", "no", "MAIL"), (452, "", "no", "MAIL")], [L, L]),
]


@pytest.mark.parametrize(("results", "kinds"), SEVERAL)
def test_too_many_recipients(results: list[tuple[int, str, str, str]], kinds: list[Kind]) -> None:
    found = outcomes(results)
    assert [one.kind for one in found] == kinds
    assert [one[1:] for one in found] == results
