"""Control headers."""

from __future__ import annotations

import pytest

from mta._speedups.verdict import Verdict
from mta.model import Class
from mta.reception.control import NOTHING, Control, ControlNames, read

NAMES = ControlNames()


def test_names_for_the_scan():
    assert NAMES.all() == {
        b"x-tenant", b"x-campaign", b"x-job", b"x-pool", b"x-virtual-mta", b"x-class",
    }  # fmt: skip
    assert b"x-kunde" in ControlNames(tenant=("X-Kunde",)).all()


@pytest.mark.parametrize(
    ("found", "control"),
    [
        ({}, NOTHING),
        ({"x-tenant": "acme"}, Control(tenant="acme")),
        ({"x-campaign": "one", "x-job": "two"}, Control(campaign="one")),
        ({"x-campaign": "", "x-job": "two"}, Control(campaign="two")),
        ({"x-virtual-mta": "p1"}, Control(pool="p1")),
        ({"x-class": "Bulk"}, Control(klass=Class.BULK)),
        ({"x-class": "transactional"}, Control(klass=Class.TRANSACTIONAL)),
        ({"x-class": ""}, NOTHING),
        ({"x-tenant": "é" * 64}, Control(tenant="é" * 64)),
    ],
)
def test_values(found, control):
    assert read(NAMES, found) == control


@pytest.mark.parametrize(
    ("found", "text"),
    [
        ({"x-tenant": "x" * 65}, b"Header X-Tenant: the value has 65 characters, 64 are allowed"),
        ({"x-job": "a\tb"}, b"Header X-job: the value has control"),
        ({"x-virtual-mta": "a\ufffdb"}, b"Header X-virtual-MTA: the value has control"),
        ({"x-class": "urgent"}, b"Header X-Class: 'urgent' is not a class (transactional, norm"),
    ],
)
def test_refusals_name_the_header(found, text):
    refusal = read(NAMES, found)
    assert isinstance(refusal, Verdict)
    assert refusal.reply().startswith(b"550 5.6.0 ") and text in refusal.reply()
