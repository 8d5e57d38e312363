"""Replies of the server that hang on settings, content or the shell, against their twin."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mta.smtp.server import Content, Data, Hello, Mail, Rcpt, ServerCore, ServerOptions
from tests.reference import content, server_words

WORD = st.text(st.sampled_from("aB9 -.é\x1f"), max_size=6) | st.sampled_from(["mx.example", "X 1"])
LIMIT = st.sampled_from([0, 0, 1, 7, 1000, -1])
SETTINGS = st.fixed_dictionaries(
    {
        "hostname": WORD, "banner": WORD, "keywords": st.lists(WORD, max_size=3),
        "hidden": st.sets(st.sampled_from(["PIPELINING", "SIZE", "X", "CHUNKING"])),
        "bare_newlines": st.sampled_from(["reject", "fix", "keep", "mend"]),
        "max_command_line": st.sampled_from([512, 2048, 511]),
        "max_size": LIMIT, "max_recipients": LIMIT, "max_text_line": LIMIT, "max_errors": LIMIT,
        "max_messages": LIMIT, "chunking": st.booleans(), "binarymime": st.booleans(),
        "smtputf8": st.booleans(),
    }
)  # fmt: skip
GOOD = {
    "hostname": "mx.example", "banner": "ESMTP", "keywords": (), "hidden": frozenset(),
    "bare_newlines": "reject", "max_command_line": 512, "max_size": 0, "max_recipients": 0,
    "max_text_line": 0, "max_errors": 0, "max_messages": 0, "chunking": False,
    "binarymime": False, "smtputf8": False,
}  # fmt: skip
MIXED = st.builds(
    lambda drawn, names: {**GOOD, **{name: drawn[name] for name in names}},
    SETTINGS, st.sets(st.sampled_from(sorted(GOOD)), max_size=6),
)  # fmt: skip
VERBS = (b"EHLO a\r\n", b"MAIL FROM:<a@b>\r\n", b"RCPT TO:<c@d>\r\n", b"DATA\r\n", b"x\r\n.\r\n")
AWAITED = (Hello, Mail, Rcpt, Data, Content)


def options(drawn: dict[str, Any]) -> ServerOptions:
    return ServerOptions(drawn["hostname"], **{k: v for k, v in drawn.items() if k != "hostname"})


@given(MIXED)
def test_settings_and_the_replies_made_of_them(drawn: dict[str, Any]) -> None:
    try:
        ours = options(drawn)
    except ValueError:
        assert not server_words.usable(drawn)
        return
    assert server_words.usable(drawn)
    assert ours.extended == server_words.extended(drawn)
    core = ServerCore(ours)
    core.greeting()
    core.feed(b"EHLO a\r\n")
    assert isinstance(core.next_event(), Hello)
    core.verdict()
    greeting = f"220 {drawn['hostname']} {drawn['banner']}\r\n".encode()
    assert core.output() == greeting + server_words.extended(drawn)


def at_the_stage(core: ServerCore, stage: int) -> None:
    """Take a session to where the verdict on VERBS[stage] is awaited."""
    core.greeting()
    for number, (line, kind) in enumerate(zip(VERBS, AWAITED, strict=True)):
        core.feed(line)
        assert isinstance(core.next_event(), kind)
        if number == stage:
            break
        core.verdict()
    core.output()


PIECE = st.sampled_from([b"\r\n", b"\r", b"\n", b".", b"\0", b"abc", b"x" * 9, b"\xe9"])


@given(
    st.lists(PIECE, max_size=12).map(b"".join), st.sampled_from([0, 8, 30]),
    st.sampled_from([0, 3, 9]), st.lists(st.integers(1, 40), max_size=4),
)  # fmt: skip
def test_a_fault_of_content_is_told_with_its_line(
    body: bytes, most: int, longest: int, cuts: list[int]
) -> None:
    data = body + b"\r\n.\r\n"
    found = content.read(data, most, longest)
    assert found is not None
    core = ServerCore(ServerOptions("mx", max_size=most, max_text_line=longest))
    at_the_stage(core, 3)
    core.verdict()
    core.output()
    data = data[: found.taken]
    places = [0, *sorted({cut for cut in cuts if cut < len(data)}), len(data)]
    events = []
    for start, end in zip(places, places[1:], strict=False):
        core.feed(data[start:end])
        while (event := core.next_event()) is not None:
            events.append(event)
            if isinstance(event, Content):
                core.verdict()
    expected = server_words.refusal(found, most, longest) if found.fault else b"250 2.0.0 Ok\r\n"
    assert core.output() == expected
    kinds = (
        ["Reset", *(["Closed"] if "bare" in found.fault else [])] if found.fault else ["Content"]
    )
    assert [type(event).__name__ for event in events] == kinds


REPLY = st.sampled_from([b"250 ok\r\n", b"354 go\r\n", b"450 x\r\n", b"\r\n", b"550", b""])
TEXT = st.builds(
    lambda a, b: a + b, REPLY | st.binary(max_size=5), st.sampled_from([b"", b"\r\n", b"\n"])
)


@given(st.integers(0, 4), TEXT)
def test_a_verdict_is_a_reply_of_the_kind_that_is_awaited(stage: int, reply: bytes) -> None:
    core = ServerCore(ServerOptions("mx"))
    at_the_stage(core, stage)
    try:
        core.verdict(reply)
    except ValueError:
        assert not server_words.is_verdict(reply, b"3" if stage == 3 else b"2")
        return
    assert server_words.is_verdict(reply, b"3" if stage == 3 else b"2")
    assert core.output().startswith(reply)
