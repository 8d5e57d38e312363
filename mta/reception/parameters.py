"""What a client asks by parameters of MAIL and RCPT: DSN, FUTURERELEASE, MT-PRIORITY; pure.

The core has taken the parameters that are on offer; here their values are judged. Every function
gives what was asked, or the verdict that refuses it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import msgspec

from mta._speedups.verdict import Reason, Verdict
from mta.model import Class, Notify, Wish
from mta.smtp.xtext import is_plain_xtext, plain_utf8

Params = Mapping[str, str | None]

DSN_MAIL, DSN_RCPT = ("RET", "ENVID"), ("NOTIFY", "ORCPT")
HOLD, PRIORITY = ("HOLDFOR", "HOLDUNTIL"), "MT-PRIORITY"

LONGEST_ENVID, LONGEST_ORCPT = 100, 500  # RFC 3461 4.4, 4.2
NOTIFY = {name: Notify[name] for name in ("SUCCESS", "FAILURE", "DELAY")}
CHANGED = Verdict(250, "2.3.6", "Ok, but MT-PRIORITY is not granted here")  # RFC 6710 4.1

_ORCPT = re.compile(r"[A-Za-z0-9!#$%&'*/?^_`{|}~.-]+;(.+)", re.S)


class Asked(msgspec.Struct):
    """What is asked for one transaction."""

    envid: str = ""
    ret: str = ""
    priority: int = 0
    release_us: int = 0
    wishes: dict[int, Wish] | None = None  # by the recipient's place

    def wish(self, place: int, wish: Wish) -> None:
        """Note what is asked for one recipient."""
        if self.wishes is None:
            self.wishes = {}
        self.wishes[place] = wish


class ParameterOptions(msgspec.Struct, frozen=True):
    """The bounds of a listener."""

    max_hold: float = 0  # seconds that a client may have a message held (RFC 4865); 0: not at all
    transactional: int = 3  # MT-PRIORITY from which a message is transactional
    bulk: int = -3  # MT-PRIORITY up to which a message is bulk


def of_mail(
    params: Params, options: ParameterOptions, now_us: int, trusted: bool
) -> Asked | Verdict:
    """What MAIL asks; clients that are not `trusted` can neither hold nor hurry a message."""
    asked = Asked()
    try:
        asked.ret = _ret(params)
        asked.envid = _envid(params)
        _judge_auth(params)
        asked.priority = _priority(params) if trusted else 0
        for name in HOLD:
            if name in params and not (trusted and options.max_hold):
                return _refusal(555, f"Parameter {name} is not known here")
        asked.release_us = _release(params, options.max_hold, now_us)
    except ValueError as error:
        return _refusal(501, str(error))
    return asked


def of_rcpt(params: Params) -> Wish | Verdict:
    """What RCPT asks."""
    try:
        return Wish(_notify(params), _orcpt(params))
    except ValueError as error:
        return _refusal(501, str(error))


def _refusal(code: int, text: str) -> Verdict:
    return Verdict(code, "5.5.4", text, Reason.PARAMETER)


def klass_of(priority: int, options: ParameterOptions) -> int:
    """The class that a priority stands for."""
    if priority >= options.transactional:
        return Class.TRANSACTIONAL
    return Class.BULK if priority <= options.bulk else Class.NORMAL


def _ret(params: Params) -> str:
    if "RET" not in params:
        return ""
    value = (params["RET"] or "").upper()
    if value not in ("FULL", "HDRS"):  # RFC 3461 4.3
        raise ValueError("RET is FULL or HDRS")
    return value


def _envid(params: Params) -> str:
    if "ENVID" not in params:
        return ""
    value = params["ENVID"] or ""
    if not value or len(value) > LONGEST_ENVID or not is_plain_xtext(value):
        raise ValueError(
            f"ENVID is printable text as xtext (RFC 3461 4.4), {LONGEST_ENVID} characters at most"
        )
    return value


def _judge_auth(params: Params) -> None:
    """AUTH= is taken and not believed (RFC 4954 5)."""
    if "AUTH" in params and not is_plain_xtext(params["AUTH"] or "+"):
        raise ValueError("AUTH= is a mailbox as xtext, or <> (RFC 4954 5)")


def _notify(params: Params) -> int:
    if "NOTIFY" not in params:
        return 0
    words = (params["NOTIFY"] or "").upper().split(",")
    if words == ["NEVER"]:
        return Notify.NEVER
    bits = 0
    for word in words:
        if word not in NOTIFY:  # RFC 3461 4.1
            raise ValueError("NOTIFY is NEVER, or a list of SUCCESS, FAILURE and DELAY")
        bits |= NOTIFY[word]
    return bits


def _orcpt(params: Params) -> str:
    if "ORCPT" not in params:
        return ""
    value = params["ORCPT"] or ""
    found = _ORCPT.fullmatch(value)
    if found is None or len(value) > LONGEST_ORCPT:
        raise ValueError(f"ORCPT is type;address of at most {LONGEST_ORCPT} characters")
    if value[:6].lower() == "utf-8;":  # RFC 6533 3: its own escapes; UTF-8 if MAIL says SMTPUTF8
        if not plain_utf8(found[1]):
            raise ValueError("ORCPT: a character of the utf-8 address is not encoded, or a control")
    elif not is_plain_xtext(found[1]):
        raise ValueError("ORCPT: the address is not printable text as xtext (RFC 3461 4.2)")
    return value


def _priority(params: Params) -> int:
    if PRIORITY not in params:
        return 0
    value = params[PRIORITY] or ""
    if not re.fullmatch(r"0|-?[1-9]", value, re.A):  # RFC 6710 4.1
        raise ValueError("MT-PRIORITY is a number from -9 to 9")
    return int(value)


def _release(params: Params, max_hold: float, now_us: int) -> int:
    """When a message may leave, microseconds; 0 for at once (RFC 4865 4)."""
    if not any(name in params for name in HOLD):
        return 0
    if all(name in params for name in HOLD):
        raise ValueError("HOLDFOR and HOLDUNTIL exclude each other")
    release = (
        _held_for(params["HOLDFOR"] or "", now_us)
        if "HOLDFOR" in params
        else _held_until(params["HOLDUNTIL"] or "")
    )
    if release - now_us > max_hold * 1_000_000:
        raise ValueError(f"a message is held for {max_hold:.0f} seconds at most")
    return release if release > now_us else 0


def _held_for(value: str, now_us: int) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", value):
        raise ValueError("HOLDFOR is a number of seconds")
    return now_us + int(value) * 1_000_000


def _held_until(value: str) -> int:
    try:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None or "T" not in value.upper():
            raise ValueError
    except ValueError:
        raise ValueError("HOLDUNTIL is a time like 2026-12-24T18:00:00Z") from None
    return int((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1_000_000)


def future_release(max_hold: float, now_us: int) -> str:
    """The line of the EHLO reply (RFC 4865 3)."""
    latest = datetime.fromtimestamp(now_us // 1_000_000, UTC) + timedelta(seconds=int(max_hold))
    return f"FUTURERELEASE {int(max_hold)} {latest:%Y-%m-%dT%H:%M:%SZ}"
