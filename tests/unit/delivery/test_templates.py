from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta.delivery.transports import templates
from mta.model import Kind, Message, Recipient


def filled(address: str, tenant: str = "acme", sender: str = "s@a.example") -> dict[str, str]:
    message = Message(bytes(16), sender, tenant=tenant)
    return templates.values(message, Recipient(message, 0, address))


def test_places_are_filled_in() -> None:
    found = filled("Ann@B.example")
    assert templates.path("/m/{tenant}/{domain}/{local}", found) == "/m/acme/b.example/ann"
    assert templates.argument("--to={recipient}", found) == "--to=Ann@B.example"
    assert templates.argument("{local}", found) == "Ann"
    assert templates.path("/m/{tenant}", filled("a@b", tenant="")) == "/m/default"


@pytest.mark.parametrize(
    "address",
    [
        "../x@b",
        "..@b",
        ".ssh@b",
        '"a/b"@b',
        "/etc@b",
        "a\0b@b",
        "a\nb@b",
        "@b/..",
        "x" * 201 + "@b",
    ],
)
def test_no_address_names_another_folder(address: str) -> None:
    with pytest.raises(templates.UnsafeError) as caught:
        templates.path("/m/{local}/{domain}", filled(address))
    outcome = caught.value.outcome("maildir")
    assert (outcome.kind, outcome.enhanced) == (Kind.BOUNCED, "5.1.3")


@given(st.text(max_size=20), st.text(max_size=20), st.text(max_size=20))
def test_a_path_has_as_many_parts_as_its_template(local: str, domain: str, tenant: str) -> None:
    try:
        path = templates.path("/m/{tenant}/{domain}/{local}", filled(f"{local}@{domain}", tenant))
    except templates.UnsafeError:
        return
    parts = path.split("/")
    assert parts[:2] == ["", "m"]
    assert len(parts) == 5
    assert not any(part in ("", ".", "..") for part in parts[2:])


@pytest.mark.parametrize("template", ["{recipient}", "{local}", "{local}@x"])
def test_no_address_is_an_option(template: str) -> None:
    with pytest.raises(templates.UnsafeError):
        templates.argument(template, filled("-oQ/tmp@b"))
    assert templates.argument("-r{recipient}", filled("-x@b")) == "-r-x@b"


def test_the_null_sender_is_an_empty_argument() -> None:
    assert templates.argument("{sender}", filled("a@b", sender="")) == ""
