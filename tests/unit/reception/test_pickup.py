"""Files of the pickup folder."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta._speedups.verdict import UNKNOWN, Reason, Verdict, queued
from mta.model import Flag
from mta.reception.pickup import (
    Drop,
    EnvelopePath,
    Folder,
    PickupError,
    Settled,
    no_message,
    parse,
)
from mta.smtp.replies import NO_STORAGE


def parsed(data: bytes) -> tuple[str, list[str], bytes]:
    drop = parse(data, "host.example")
    return drop.sender.address, [one.address for one in drop.recipients], drop.body


def test_envelope_lines() -> None:
    data = b"X-Sender: a@b.example\nx-receiver: <c@d.example>\nX-Receiver: e\n\nSubject: s\n\nx\n"
    assert parsed(data) == (
        "a@b.example",
        ["c@d.example", "e@host.example"],
        b"\r\nSubject: s\r\n\r\nx\r\n",
    )
    data = b"X-Receiver: c@d.example\r\nX-Sender: <>\r\nSubject: s\r\nX-Receiver: kept\r\n\r\n"
    assert parsed(data) == ("", ["c@d.example"], b"Subject: s\r\nX-Receiver: kept\r\n\r\n")


def test_parameters_of_addresses() -> None:
    data = b"X-Sender: <a@b> ret=HDRS ENVID=q+3D\r\nX-Receiver: c@d NOTIFY=NEVER X\r\nA: b\r\n\r\n"
    drop = parse(data, "h")
    assert drop.sender == EnvelopePath("a@b", {"RET": "HDRS", "ENVID": "q+3D"})
    assert drop.recipients == [EnvelopePath("c@d", {"NOTIFY": "NEVER", "X": None})]


def test_without_envelope_lines_the_header_counts() -> None:
    data = b"From: a@b.example\nTo: c@d.example\nBcc: e@f.example\n\nx"
    assert parsed(data) == (
        "a@b.example",
        ["c@d.example", "e@f.example"],
        b"From: a@b.example\r\nTo: c@d.example\r\n\r\nx\r\n",
    )


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no recipients"),
        (b"hello\n", "no recipients"),
        (b"Subject: x\n\nTo: a@b\n", "no recipients"),
        (b"X-Sender: a@b\nTo: c@d\n\n", "no X-Receiver"),
        (b"X-Receiver: a@b\nTo: c@d\n\n", "no X-Sender"),
        (b"X-Sender: a@b\nX-Sender: a@b\nX-Receiver: c@d\n\n", "more than one X-Sender"),
        (b"X-Sender: a@b\nX-Receiver: <>\n\n", "an X-Receiver is empty"),
        (b"X-Sender: a@b\nX-Receiver: c@d\nA: \0\n\n", "NUL"),
        (b"X-Sender: a@b\nX-Receiver: c@\nA: b\n\n", "<c@>: the domain is missing"),
        (b"X-Sender: <a@b> =\nX-Receiver: c@d\nA: b\n\n", "<a@b> =: "),
        (b"From: a@b\nTo: c@d, x\x01@e\n\n", "the local part"),
    ],
)
def test_files_that_are_no_messages(data: bytes, reason: str) -> None:
    with pytest.raises(PickupError, match=reason):
        parse(data, "h")


@given(st.binary(max_size=200))
def test_anything_is_a_message_or_has_a_reason(data: bytes) -> None:
    for given_ in (data, b"X-Sender: a@b\nX-Receiver: c@d\n" + data):
        try:
            drop = parse(given_, "h")
        except PickupError as error:
            assert str(error)
        else:
            assert drop.recipients and drop.size == len(drop.body)


@pytest.mark.parametrize(
    ("body", "flags"),
    [
        (b"plain\r\n", 0),
        (b"\xe4\r\n", Flag.EIGHT_BIT | Flag.BODY_8BITMIME),
        (b"\r\n.x\r\n", Flag.DOT_LINES),
        (b"x" * 999 + b"\r\n", Flag.LONG_LINES),
        (b"x" * 998 + b"\r\n", 0),
    ],
)
def test_flags(body: bytes, flags: int) -> None:
    assert parse(b"X-Sender: a@b\nX-Receiver: c@d\nA: b\n\n" + body, "h").flags == flags


def test_addresses_beyond_ascii_are_declared() -> None:
    drop = parse("X-Sender: a@b\nX-Receiver: jörg@d\nA: b\n\n".encode(), "h")
    assert drop.recipients[0].address == "jörg@d" and drop.flags == Flag.SMTPUTF8


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    made = Folder(tmp_path / "pickup")
    made.make()
    return made


GOOD = b"From: a@b\nTo: c@d\n\nx\n"


def look(folder: Folder, most: int = 10, octets: int = 10_000) -> dict[str, Drop | str]:
    found = folder.look("h", most, octets, {"busy"})
    return {
        one.name: one.content if isinstance(one.content, Drop) else one.content.text
        for one in found
    }


def test_only_finished_files_are_taken(folder: Folder) -> None:
    for name in ("good", ".hidden", "half.tmp", "busy"):
        (folder.path / name).write_bytes(GOOD)
    assert list(look(folder)) == ["good"]


def test_looks_are_bounded(folder: Folder) -> None:
    for number in range(5):
        (folder.path / f"{number}").write_bytes(GOOD)
    assert len(look(folder, most=3)) == 3
    assert len(look(folder, octets=len(GOOD) + 8)) == 2
    assert set(look(folder, octets=4).values()) == {f"it has {len(GOOD)} octets, 4 are allowed"}


def test_links_and_other_things_are_not_read(folder: Folder, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(GOOD)
    (folder.path / "soft").symlink_to(secret)
    os.link(secret, folder.path / "hard")
    os.mkfifo(folder.path / "fifo")
    (folder.path / "folder").mkdir()
    found = look(folder)
    assert sorted(found) == ["fifo", "folder", "hard", "soft"]
    assert str(found["soft"]).startswith("it cannot be read: Too many levels")
    assert found["hard"] == found["fifo"] == found["folder"] == "it is no plain file of its own"


STORED = Settled(queued(b"01"))
DENIED = Verdict(554, "5.7.1", "<c@d>: relaying denied", Reason.RELAYING_DENIED)


def test_settled_files_leave(folder: Folder) -> None:
    for name in ("sent", "odd"):
        (folder.path / name).write_bytes(GOOD)
    odd = Settled(no_message("it is odd"))
    assert folder.settle({"sent": STORED, "odd": odd, "gone": STORED}) == []
    assert [p.name for p in folder.path.iterdir()] == ["bad"]
    assert (folder.bad / "odd").read_bytes() == GOOD
    assert (folder.bad / "odd.reason").read_text() == "554 5.6.0 it is odd\n"
    (folder.path / "kept").mkdir()
    assert folder.settle({"kept": STORED}) == ["kept"]


@pytest.mark.parametrize(
    ("settled", "stays", "reason"),
    [
        (Settled(NO_STORAGE), True, None),
        (Settled(UNKNOWN), True, None),
        (STORED, False, None),
        (Settled(DENIED, (NO_STORAGE, DENIED)), False,
         "452 4.3.1 Not enough storage now, try again later; 554 5.7.1 <c@d>: relaying denied"),
        (Settled(queued(b"01"), (DENIED,)), False,
         "250 2.0.0 Ok: queued as 01; to all but: 554 5.7.1 <c@d>: relaying denied"),
    ],
)  # fmt: skip
def test_what_becomes_of_a_file(settled: Settled, stays: bool, reason: str | None) -> None:
    assert settled.stays is stays
    assert stays or settled.bad is (reason is not None)
    assert reason is None or settled.reason == reason


@pytest.mark.parametrize("call", ["open", "fstat"])
@pytest.mark.parametrize("number", [errno.EIO, errno.EMFILE])
def test_a_file_that_cannot_be_read_now_stays(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    (folder.path / "good").write_bytes(GOOD)

    def broken(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(f"mta.reception.pickup.os.{call}", broken)
    assert look(folder) == {}
    assert folder.trouble == f"good cannot be read now: {os.strerror(number)}"
    monkeypatch.undo()
    assert list(look(folder)) == ["good"]
    assert folder.trouble == ""
