"""Values of MAIL and RCPT parameters: what is taken, and what is refused."""

from __future__ import annotations

import pytest

from mta._speedups.verdict import Verdict
from mta.model import Class, Notify, Wish
from mta.reception.parameters import Asked, ParameterOptions, klass_of, of_mail, of_rcpt

NOW = 1_700_000_000_000_000  # 2023-11-14T22:13:20Z
OPTIONS = ParameterOptions(max_hold=86_400)


@pytest.mark.parametrize(
    ("params", "asked"),
    [
        ({}, Asked()),
        ({"RET": "full"}, Asked(ret="FULL")),
        ({"ENVID": "x" * 100}, Asked(envid="x" * 100)),
        ({"ENVID": "a+20+2B+7E"}, Asked(envid="a+20+2B+7E")),
        ({"AUTH": "<>"}, Asked()),
        ({"AUTH": "a+2Bb@c"}, Asked()),
        ({"MT-PRIORITY": "-9"}, Asked(priority=-9)),
        ({"MT-PRIORITY": "0"}, Asked()),
        ({"HOLDFOR": "86400"}, Asked(release_us=NOW + 86_400_000_000)),
        ({"HOLDFOR": "0"}, Asked()),
        ({"HOLDUNTIL": "2023-11-14T22:13:30Z"}, Asked(release_us=NOW + 10_000_000)),
        ({"HOLDUNTIL": "2023-11-14T23:13:30.5+01:00"}, Asked(release_us=NOW + 10_500_000)),
        ({"HOLDUNTIL": "2003-11-14T22:13:30Z"}, Asked()),
    ],
)
def test_mail(params, asked):
    assert of_mail(params, OPTIONS, NOW, True) == asked


@pytest.mark.parametrize(
    "params",
    [
        {"RET": "all"},
        {"RET": None},
        {"ENVID": None},
        {"ENVID": "x" * 101},
        {"ENVID": "a+2"},
        {"ENVID": "a+zz"},
        {"ENVID": "a+0A"},
        {"ENVID": "+00"},
        {"ENVID": "a+7Fb"},
        {"ENVID": "a+C3+A9"},
        {"AUTH": None},
        {"AUTH": "a+zz"},
        {"AUTH": "a+0D"},
        {"MT-PRIORITY": "10"},
        {"MT-PRIORITY": "+1"},
        {"MT-PRIORITY": "-0"},
        {"MT-PRIORITY": "\u0663"},
        {"MT-PRIORITY": None},
        {"HOLDFOR": "86401"},
        {"HOLDFOR": "1" * 10},
        {"HOLDFOR": "-1"},
        {"HOLDFOR": None},
        {"HOLDUNTIL": "2023-11-16T00:00:00Z"},
        {"HOLDUNTIL": "2023-11-15"},
        {"HOLDUNTIL": "2023-11-15T00:00:00"},
        {"HOLDUNTIL": "9999-12-31T23:59:59-23:59"},
        {"HOLDUNTIL": "soon"},
        {"HOLDFOR": "1", "HOLDUNTIL": "2023-11-14T22:13:30Z"},
    ],
)
def test_mail_refused(params):
    refusal = of_mail(params, OPTIONS, NOW, True)
    assert isinstance(refusal, Verdict) and refusal.reply().startswith(b"501 5.5.4 ")


@pytest.mark.parametrize(
    ("params", "wish"),
    [
        ({}, Wish()),
        ({"NOTIFY": "never"}, Wish(Notify.NEVER)),
        ({"NOTIFY": "DELAY"}, Wish(Notify.DELAY)),
        ({"NOTIFY": "success,failure,delay"}, Wish(14)),
        ({"ORCPT": "rfc822;a+2Bb@c"}, Wish(0, "rfc822;a+2Bb@c")),
        ({"ORCPT": "x400;/C+3Dde/"}, Wish(0, "x400;/C+3Dde/")),
        ({"ORCPT": "UTF-8;\u00e9@x"}, Wish(0, "UTF-8;\u00e9@x")),
        ({"ORCPT": "utf-8;\\x{E9}@x\\x{1F600}"}, Wish(0, "utf-8;\\x{E9}@x\\x{1F600}")),
    ],
)
def test_rcpt(params, wish):
    assert of_rcpt(params) == wish


@pytest.mark.parametrize(
    "params",
    [
        {"NOTIFY": None},
        {"NOTIFY": "NEVER,DELAY"},
        {"NOTIFY": "SUCCESS,"},
        {"NOTIFY": "ALWAYS"},
        {"ORCPT": None},
        {"ORCPT": "a@b"},
        {"ORCPT": ";a@b"},
        {"ORCPT": "rfc822;"},
        {"ORCPT": "rfc822;a+b"},
        {"ORCPT": "rfc822;a+0D+0Ab"},
        {"ORCPT": "x400;+1B"},
        {"ORCPT": "rfc822;a+E9@x"},
        {"ORCPT": "utf-8;a\\x{0D}@x"},
        {"ORCPT": "utf-8;a\\x{7F}@x"},
        {"ORCPT": "utf-8;a\\x{85}@x"},
        {"ORCPT": "utf-8;a\\x{D800}@x"},
        {"ORCPT": "utf-8;a\\x{FFFFFF}@x"},
        {"ORCPT": "utf-8;\udce9@x"},
        {"ORCPT": "rfc822;\u00e9@x"},
        {"ORCPT": "utf-8;\\xE9"},
        {"ORCPT": "utf-8;\\x{0E9}"},
        {"ORCPT": "utf-8;a\u0085b"},
        {"ORCPT": "rfc822;" + "x" * 494},
    ],
)
def test_rcpt_refused(params):
    refusal = of_rcpt(params)
    assert isinstance(refusal, Verdict) and refusal.reply().startswith(b"501 5.5.4 ")


@pytest.mark.parametrize(
    ("priority", "klass"),
    [(9, Class.TRANSACTIONAL), (3, Class.TRANSACTIONAL), (2, Class.NORMAL), (0, Class.NORMAL),
     (-2, Class.NORMAL), (-3, Class.BULK), (-9, Class.BULK)],
)  # fmt: skip
def test_priorities_stand_for_classes(priority, klass):
    assert klass_of(priority, ParameterOptions()) == klass


def test_priorities_are_levels_of_the_operator():
    options = ParameterOptions(transactional=10, bulk=-10)
    assert {klass_of(level, options) for level in range(-9, 10)} == {Class.NORMAL}
