from __future__ import annotations

import os
from pathlib import Path

import pytest

from mta.bounce.deadletters import DeadLetters
from mta.errors import ControlError
from mta.model import Class, Flag, Kind, Message, Outcome, Recipient
from mta.testing.clock import FakeClock

CONTENT = b"Subject: Gr\xc3\xbc\xc3\x9fe\r\nTo: a@example.com\r\n\r\nlost\n.\r\n"
OUTCOME = Outcome(Kind.BOUNCED, 550, "5.1.1", "no such user", "RCPT")


def put(dead: DeadLetters, byte: int = 1, number: int = 0) -> str:
    message = Message(
        bytes([byte]) * 16, "", tenant="acme", campaign="spring", pool="p", klass=Class.BULK,
        received_us=5, flags=Flag.DOT_LINES | Flag.EIGHT_BIT, message_id="<1@example.com>",
    )  # fmt: skip
    recipient = Recipient(message, number, "alice@example.com", attempts=2)
    return dead.add(message, recipient, OUTCOME, CONTENT)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def dead(tmp_path: Path, clock: FakeClock) -> DeadLetters:
    return DeadLetters(tmp_path / "home" / "dead", 14, clock)


def test_a_letter_comes_back_as_it_went_in(dead: DeadLetters, clock: FakeClock) -> None:
    id = put(dead)
    letter = dead.load(id)
    assert (letter.id, letter.time) == ("01" * 16, clock.wall_us())
    assert (letter.sender, letter.recipient) == ("", "alice@example.com")
    assert (letter.tenant, letter.campaign, letter.pool, letter.klass) == ("acme", "spring", "p", 2)
    assert (letter.flags, letter.size, letter.attempts) == (3, len(CONTENT), 2)
    assert (letter.code, letter.enhanced, letter.text) == (550, "5.1.1", "no such user")
    assert letter.content == dead.export(id) == CONTENT


def test_letters_are_listed_oldest_first_one_for_each_recipient(
    dead: DeadLetters, clock: FakeClock
) -> None:
    assert dead.list() == []
    ids = []
    for byte, number in ((9, 0), (1, 0), (1, 3)):
        ids.append(put(dead, byte, number))
        clock.advance(1)
    assert [letter.id for letter in dead.list()] == ids == ["09" * 16, "01" * 16, "01" * 16 + "-3"]


def test_putting_a_letter_away_again_changes_nothing(dead: DeadLetters) -> None:
    assert put(dead) == put(dead)
    assert [path.name for path in dead.folder.iterdir()] == ["01" * 16 + ".letter"]


def test_a_letter_is_synced_before_it_gets_its_name_and_its_folder_after(
    dead: DeadLetters, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def synced(fd: int) -> None:
        steps.append("sync " + Path(f"/proc/self/fd/{fd}").readlink().name)
        fsync(fd)

    def renamed(path: Path, target: Path) -> Path:
        steps.append("rename")
        assert path.read_bytes().endswith(CONTENT)
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "rename", renamed)
    put(dead)
    assert steps == ["sync home", "sync " + "01" * 16 + ".tmp", "rename", "sync dead"]


def test_what_is_shown_has_the_header_but_not_the_content(dead: DeadLetters) -> None:
    shown = dead.show(put(dead))
    assert shown["class"] == "bulk" and "klass" not in shown
    assert shown["header"] == "Subject: Grüße\r\nTo: a@example.com" and "content" not in shown
    assert (shown["code"], shown["command"], shown["message_id"]) == (
        550,
        "RCPT",
        "<1@example.com>",
    )


def test_a_removed_letter_is_gone(dead: DeadLetters) -> None:
    id = put(dead)
    dead.remove(id)
    assert dead.list() == []
    for act in (dead.load, dead.show, dead.export, dead.remove):
        with pytest.raises(ControlError, match=f"there is no dead letter {id}"):
            act(id)


@pytest.mark.parametrize("id", ["", "../../etc/passwd", "01" * 15, "01" * 16 + "/x", "x" * 32])
def test_what_is_no_id_never_becomes_a_path(dead: DeadLetters, id: str) -> None:
    with pytest.raises(ControlError, match="is no dead letter's id"):
        dead.load(id)


def test_letters_go_after_their_days(dead: DeadLetters, clock: FakeClock) -> None:
    put(dead, 1)
    clock.advance(10 * 86400)
    put(dead, 2)
    assert dead.purge() == 0
    clock.advance(4 * 86400 + 1)
    assert dead.purge() == 1
    assert [letter.id for letter in dead.list()] == ["02" * 16]


def test_a_damaged_letter_is_named_and_hides_no_other(dead: DeadLetters) -> None:
    good, bad, cut = put(dead, 1), put(dead, 2), put(dead, 3)
    (dead.folder / f"{bad}.letter").write_bytes(b"\x00garbage")
    whole = (dead.folder / f"{cut}.letter").read_bytes()
    (dead.folder / f"{cut}.letter").write_bytes(whole[:-1])
    found = {letter.id: letter for letter in dead.list()}
    assert found[bad].text.startswith("cannot be read") and found[good].text == "no such user"
    with pytest.raises(ControlError, match="cannot be read"):
        dead.load(bad)
    with pytest.raises(ControlError, match="octets instead of"):
        dead.load(cut)


def test_a_draft_of_a_broken_write_is_no_letter_and_is_purged(
    dead: DeadLetters, clock: FakeClock
) -> None:
    put(dead)
    draft = dead.folder / ("05" * 16 + ".tmp")
    draft.write_bytes(b"{")
    assert len(dead.list()) == 1
    os.utime(draft, (0, 0))
    assert dead.purge() == 1 and not draft.exists()


def test_letters_are_private(dead: DeadLetters) -> None:
    id = put(dead)
    assert dead.folder.stat().st_mode & 0o777 == 0o700
    assert (dead.folder / f"{id}.letter").stat().st_mode & 0o777 == 0o600
