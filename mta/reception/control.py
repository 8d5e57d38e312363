"""Control headers: what a trusted client says about tenant, campaign, pool and class."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from mta._speedups.verdict import Reason, Verdict
from mta.model import Class

LONGEST = 64  # characters of a control value
CLASSES = {klass.name.lower(): klass for klass in Class}


class ControlNames(msgspec.Struct, frozen=True):
    """The header names of each value; where a message has several, the first name here counts."""

    tenant: tuple[str, ...] = ("X-Tenant",)
    campaign: tuple[str, ...] = ("X-Campaign", "X-job")
    pool: tuple[str, ...] = ("X-Pool", "X-virtual-MTA")
    klass: tuple[str, ...] = ("X-Class",)

    def all(self) -> frozenset[bytes]:
        """Every name, lower case, as the header scan wants them."""
        names = self.tenant + self.campaign + self.pool + self.klass
        return frozenset(name.lower().encode("ascii") for name in names)


class Control(NamedTuple):
    """What the control headers of one message say."""

    tenant: str = ""
    campaign: str = ""
    pool: str = ""
    klass: int | None = None  # Class; None: not said


NOTHING = Control()


def read(names: ControlNames, found: dict[str, str]) -> Control | Verdict:
    """The values of the control headers found (by lower-case name), or the refusal."""
    for name, value in found.items():
        if problem := _problem(value):
            return _refusal(names, name, problem)
    word = _first(names.klass, found).lower()
    klass = CLASSES.get(word)
    if word and klass is None:
        known = ", ".join(CLASSES)
        name = next(n for n in names.klass if n.lower() in found)
        return _refusal(names, name, f"{word!r} is not a class ({known})")
    return Control(
        _first(names.tenant, found),
        _first(names.campaign, found),
        _first(names.pool, found),
        klass,
    )


def _first(names: tuple[str, ...], found: dict[str, str]) -> str:
    for name in names:
        if value := found.get(name.lower()):
            return value
    return ""


def _problem(value: str) -> str:
    """What is wrong with a value, or nothing."""
    if len(value) > LONGEST:
        return f"the value has {len(value)} characters, {LONGEST} are allowed"
    if not value.isprintable() or "\ufffd" in value:
        return "the value has control or undecodable bytes"
    return ""


def _refusal(names: ControlNames, name: str, problem: str) -> Verdict:
    spelled = {n.lower(): n for n in names.tenant + names.campaign + names.pool + names.klass}
    text = f"Header {spelled.get(name.lower(), name)}: {problem}"
    return Verdict(550, "5.6.0", text, Reason.CONTENT)
