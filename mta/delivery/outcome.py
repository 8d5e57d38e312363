"""What a result of the SMTP core means for its recipient: pure functions (compiled).

A 2xx delivers, a 4xx defers, a 5xx bounces, but for these:

- greeting, EHLO and HELO speak for the host, not for the recipient: 5xx defers, and the next
  host may take it (as Postfix does);
- 552 to RCPT is read as 452 (RFC 5321 4.5.3.1.10);
- where RCPT says "too many recipients" after it took others of the same transaction, the rest was
  not judged: it goes back at once (RFC 5321 4.5.3.1.10);
- no reply (code 0) defers, or is Unattempted if the core says that nothing was decided.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mta._speedups.values import named
from mta.model import Kind, Outcome
from mta.smtp.client import UNATTEMPTED

if TYPE_CHECKING:
    from mta.smtp.client import Result

_DELIVERED = Kind.DELIVERED
HOST_COMMANDS = frozenset({"connect", "EHLO", "HELO"})
TOO_MANY = frozenset({"", "4.5.3", "5.5.3"})  # RFC 3463 3.6: X.5.3 too many recipients


def kind_of(code: int, command: str) -> Kind:
    """The kind of one result, for itself."""
    if code == 0:
        return Kind.UNATTEMPTED if command == UNATTEMPTED else Kind.DEFERRED
    if 200 <= code <= 299:
        return _DELIVERED
    if 400 <= code <= 499 or command in HOST_COMMANDS:
        return Kind.DEFERRED
    if code == 552 and command == "RCPT":
        return Kind.DEFERRED
    return Kind.BOUNCED


def outcome(result: Result) -> Outcome:
    """The outcome of one result, for itself."""
    code, enhanced, text, command = result
    return named(Outcome, (kind_of(code, command), code, enhanced, text, command))


def outcomes(results: list[Result]) -> list[Outcome]:
    """The outcomes of one transaction's recipients, in order."""
    if len(results) == 1:
        return [outcome(results[0])]
    found = [outcome(result) for result in results]
    if not any(map(_was_taken, results)):
        return found
    return [
        one._replace(kind=Kind.UNATTEMPTED) if _too_many(result) else one
        for one, result in zip(found, results, strict=True)
    ]


def _was_taken(result: Result) -> bool:
    """Its RCPT was accepted: what decided it came later."""
    return result[3] in ("DATA", ".")


def _too_many(result: Result) -> bool:
    """It says that the transaction had too many recipients."""
    code, enhanced, _, command = result
    return command == "RCPT" and code in (452, 552) and enhanced in TOO_MANY
