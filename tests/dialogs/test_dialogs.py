"""Every dialog against the core: whole, in pieces, all at once, with late verdicts."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from mta.smtp.replies import EARLY
from mta.smtp.server import (
    Closed,
    Content,
    Data,
    Event,
    Mail,
    Rcpt,
    Reset,
    ServerCore,
    ServerOptions,
)
from tests.dialogs.dialog import DIALOGS, Dialog, check, load, octets

__all__ = ["DIALOGS", "load"]


def dialogs(*without: str) -> pytest.MarkDecorator:
    """All for the core, but those with such a flag."""
    paths = [path for path in DIALOGS if not load(path).flags & {"live", *without}]
    return pytest.mark.parametrize("path", paths, ids=lambda path: path.stem)


every_dialog = dialogs()


class Session:
    """A core with the dialog's settings and policy."""

    def __init__(self, dialog: Dialog) -> None:
        self.dialog = dialog
        self.core = ServerCore(ServerOptions("mx.example", **dialog.settings))  # type: ignore[arg-type]
        self.bodies: list[bytes] = []
        self.closed = False
        self.core.greeting()

    def feed(self, data: bytes) -> bytes:
        """Feed, answer all events, take the output."""
        self.core.feed(data)
        while (event := self.core.next_event()) is not None:
            self.answer(event)
        return self.core.output()

    def answer(self, event: Event) -> None:
        if isinstance(event, Closed):
            self.closed = True
        elif not isinstance(event, Reset):
            reply = self.judge(event)
            if isinstance(event, Content) and reply is None:
                self.bodies.append(event.body)
            self.core.verdict(reply)

    def judge(self, event: Event) -> bytes | None:
        match event:
            case Mail():
                return self.dialog.refusal("MAIL", event.sender)
            case Rcpt():
                return self.dialog.refusal("RCPT", event.recipient)
            case Data():
                early = "stranger" in self.dialog.flags and self.core.pending()
                return EARLY.reply() if early else self.dialog.refusal("DATA")
            case Content():
                return self.dialog.refusal(".")
        return None

    def finish(self) -> None:
        assert (self.core.closing, self.closed) == (self.dialog.closes, self.dialog.closes)
        assert self.bodies == self.dialog.bodies


def pieces(data: bytes, rng: random.Random) -> list[bytes]:
    """`data` cut at random places."""
    places = sorted({0, len(data), *(rng.randrange(len(data) + 1) for _ in range(5))})
    return [data[a:b] for a, b in zip(places, places[1:], strict=False)]


@every_dialog
def test_step_by_step(path: Path) -> None:
    session = Session(load(path))
    for step in session.dialog.steps:
        check(step.expected, session.feed(step.sent))
    session.finish()


@dialogs("whole")
def test_octet_by_octet(path: Path) -> None:
    session = Session(load(path))
    for step in session.dialog.steps:
        output = session.feed(b"")
        for at in range(len(step.sent)):
            output += session.feed(step.sent[at : at + 1])
        check(step.expected, output)
    session.finish()


@dialogs("whole")
@pytest.mark.parametrize("seed", range(4))
def test_in_random_pieces(path: Path, seed: int) -> None:
    session, rng = Session(load(path)), random.Random(f"{path.stem} {seed}")
    for step in session.dialog.steps:
        output = session.feed(b"")
        output += b"".join(session.feed(piece) for piece in pieces(step.sent, rng))
        check(step.expected, output)
    session.finish()


@dialogs("whole")
def test_with_all_that_follows_behind_each_step(path: Path) -> None:
    dialog = load(path)
    for at in range(len(dialog.steps)):
        session, output, left = Session(dialog), b"", at
        for steps in dialog.groups():
            alone, together = steps[:left], steps[left:]
            left -= len(alone)
            output += b"".join(session.feed(step.sent) for step in alone)
            output += session.feed(b"".join(step.sent for step in together))
        check([wanted for step in dialog.steps for wanted in step.expected], output)
        session.finish()


@dialogs("whole")
@pytest.mark.parametrize("seed", range(4))
def test_with_late_verdicts(path: Path, seed: int) -> None:
    session, rng = Session(load(path)), random.Random(f"{path.stem} late {seed}")
    dialog, core, output = session.dialog, session.core, b""
    groups = [b"".join(step.sent for step in steps) for steps in dialog.groups()]
    for data in (piece for group in groups for piece in pieces(group, rng)):
        core.feed(data[: len(data) // 2])
        rest = data[len(data) // 2 :]
        while (event := core.next_event()) is not None or rest:
            output += core.output()
            core.feed(rest)
            rest = b""
            if event is None:
                continue
            if core.waiting and not isinstance(event, Reset | Closed):
                assert core.next_event() is None and core.output() == b""
            session.answer(event)
        output += core.output()
    check([wanted for step in dialog.steps for wanted in step.expected], output)
    session.finish()


def test_there_are_dialogs_and_each_has_an_end() -> None:
    assert len(DIALOGS) >= 25
    for path in DIALOGS:
        dialog = load(path)
        assert dialog.steps[0].expected and dialog.steps[-1].expected, path


def test_escapes_of_a_dialog() -> None:
    assert octets(r"a\r\n\0\xff\\{xy*3}{\0*2}") == b"a\r\n\0\xff\\xyxyxy\0\0"


@pytest.mark.parametrize(
    "output", [b"", b"250 no\r\n", b"250 ok\r\n250 more\r\n", b"250-ok\r\n250 ok\r\n"]
)
def test_a_wrong_answer_is_noticed(output: bytes) -> None:
    with pytest.raises(AssertionError):
        check([("S:", "250 ok*")], output)


def test_a_line_that_is_none_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.smtp"
    path.write_text("S: 220 *\nX: what\n")
    with pytest.raises(ValueError, match=r"x\.smtp:2"):
        load(path)
