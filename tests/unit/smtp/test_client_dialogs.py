"""tests/dialogs/client/*.smtp against the core and its twin, in pieces of every size.

T: a transaction, sender, recipients, `|`, content in escapes; "8bit", "utf8" or "binary" in it
   sets the flag
O: options, `pipelining=off`, `overlap=off`, `chunking=always`, `disable=SMTPUTF8`
S: a line of the server; lines in a row are fed together
C: a line of ours; all that was written since the last S: must stand here; C| octets in escapes
R: a result (transaction, code, enhanced, command, text), in the order in which they are taken
!  an act of the shell: quit, connection_lost, time_out, overlap_off
END: the failure, "none" for a normal end, "open" if the session lasts (the default)

The shell gives the transactions in their order, ahead wherever that is possible.
"""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import pytest

from mta._speedups.stuff import needs_stuffing
from mta.smtp.client import ClientCore, ClientOptions, Event, Transaction
from tests.reference.client import ClientTwin

DIALOGS = sorted((Path(__file__).parents[2] / "dialogs" / "client").glob("*.smtp"))
WORDS = re.compile(r"(\d )?\d+ \S+ \S+")  # a result without its text
RECIPIENT = re.compile(r"<(.*?)>(?= |$)")


def unescaped(text: str) -> bytes:
    """Python's escapes, octets over 127 as they are."""
    return text.encode().decode("unicode_escape").encode("latin-1")


def transaction(text: str) -> Transaction:
    envelope, _, content = text.partition(" | ")
    paths = RECIPIENT.findall(envelope)
    body = unescaped(content)
    flags = (1 if "8bit" in content else 0) | (2 if needs_stuffing(body) else 0)
    flags |= (16 if "utf8" in content else 0) | (32 if "binary" in content else 0)
    return Transaction(paths[0], [path.replace("\\n", "\n") for path in paths[1:]], body, flags)


class Twin:
    """The twin with the core's manners, so that one shell drives both."""

    def __init__(self, options: ClientOptions) -> None:
        self._twin = ClientTwin(options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._twin, name)

    @property
    def overlap_ok(self) -> bool:
        return self._twin.overlap

    def next_event(self) -> Event | None:
        name = self._twin.next_event()
        return None if name is None else Event[name]

    def take_done(self) -> Any:
        return self._twin.done.pop(0)

    def output(self) -> list[bytes]:
        return [self._twin.output()]


class Session:
    """A shell that does what the dialog says."""

    def __init__(self, core: Any, transactions: list[Transaction]) -> None:
        self.core, self.left = core, list(transactions)
        self.order: dict[int, int] = {id(tx): n for n, tx in enumerate(transactions, 1)}
        self.results: list[str] = []
        self.written = b""

    def pump(self) -> None:
        core = self.core
        while (event := core.next_event()) is not None:
            if event == Event.DONE:
                self.done(core.take_done())
            elif event == Event.READY and self.left:
                core.submit(self.left.pop(0))
            elif event == Event.CONTENT_WANTED:
                core.send_content(self.left.pop(0) if self.left and core.overlap_ok else None)
        self.written += b"".join(core.output())

    def done(self, ended: Any) -> None:
        tx, results = ended if isinstance(ended, tuple) else (ended, ended.results)
        number = self.order[id(tx)]
        self.results += [f"{number} {shown(result)}" for result in results]


def shown(result: tuple[int, str, str, str]) -> str:
    code, enhanced, text, command = result
    return f"{code} {enhanced or '-'} {command} {text or '-'}"


def pieces(data: bytes, how: str) -> list[bytes]:
    if how == "whole":
        return [data]
    if how == "bytes":
        return [data[i : i + 1] for i in range(len(data))]
    rng, out = random.Random(how), []
    while data:
        size = rng.randint(1, len(data))
        out.append(data[:size])
        data = data[size:]
    return out


def wire(line: str) -> bytes:
    """A server's line; one that ends in an escaped LF is sent so."""
    data = unescaped(line)
    return data if data.endswith(b"\n") else data + b"\r\n"


def run(lines: list[tuple[str, str]], how: str, make: Any) -> None:
    words: dict[str, Any] = {"on": True, "off": False}
    given = [text.split("=") for kind, text in lines if kind == "O"]
    options = {name: words.get(value, value) for name, value in given}
    if "disable" in options:
        options["disable"] = [options["disable"]]
    core = make(ClientOptions("me.example", **options))
    session = Session(core, [transaction(text) for kind, text in lines if kind == "T"])
    session.pump()
    said, expected, results, end = b"", b"", [], "open"
    for kind, text in [*lines, ("", "")]:
        if kind != "S" and said:
            for piece in pieces(said, how):
                core.feed(piece)
                session.pump()
            said = b""
        if kind in ("S", "!", "") and expected:
            assert session.written == expected
            session.written = expected = b""
        if kind == "S":
            said += wire(text)
        elif kind == "C":
            expected += text.encode() + b"\r\n"
        elif kind == "C|":
            expected += unescaped(text)
        elif kind == "!":
            getattr(core, text)()
            session.pump()
        elif kind == "R":
            results.append(text)
        elif kind == "END":
            end = text
    assert session.written == b""
    compare(session, results, end, make is Twin)


def compare(session: Session, results: list[str], end: str, twin: bool) -> None:
    """The twin has no words of its own where no reply was read."""
    failure = session.core.failure
    got = "open" if not session.core.closed else "none" if failure is None else shown(failure)
    assert len(session.results) == len(results)
    for one, wanted in [*zip(session.results, results, strict=True), (got, end)]:
        if wanted.endswith(" *") or (twin and re.match(r"(\d )?0 ", wanted)):
            one, wanted = WORDS.match(one)[0], WORDS.match(wanted)[0]  # type: ignore[index]
        assert one == wanted


@pytest.mark.parametrize("make", [ClientCore, Twin], ids=["core", "twin"])
@pytest.mark.parametrize("how", ["whole", "bytes", "random 1", "random 2", "random 3"])
@pytest.mark.parametrize("path", DIALOGS, ids=lambda path: path.stem)
def test_dialog(path: Path, how: str, make: Any) -> None:
    lines = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        found = re.fullmatch(r"(T|O|S|C\||C|R|END|!):? (.*)", line)
        assert found, f"{path.name}:{number}: {line!r} is no line of a dialog"
        lines.append((found[1], found[2]))
    run(lines, how, make)


def test_there_are_dialogs() -> None:
    assert len(DIALOGS) > 20
