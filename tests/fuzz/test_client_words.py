"""What the client reads out of EHLO and what it may send, against its twin."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from mta.smtp.client import ClientCore, ClientOptions, Event, Transaction
from tests.reference.client import ClientTwin

CAN = {
    "PIPELINING": 1, "8BITMIME": 2, "SIZE": 4, "ENHANCEDSTATUSCODES": 8, "STARTTLS": 16,
    "SMTPUTF8": 32, "CHUNKING": 64, "DSN": 128, "BINARYMIME": 256, "MT-PRIORITY": 512,
    "LIMITS": 1024,
}  # fmt: skip
LETTERS = st.text(st.sampled_from('ab.@"\\ <>é\x7f\x00\t\ud800\U0001f600'), max_size=10)
ADDRESS = LETTERS | st.sampled_from(["a@b.example", '"a b"@c', '"\\""@c', "é@b", 'a"@"b'])
VALUE = st.sampled_from(
    ["", "0", "1000", "9" * 19, "9" * 20, "-1", "1 2", "\u0663", "\u00b2", "RCPTMAX=5", "rcptmax=0",
     "MAILMAX=10 RCPTMAX=20", "X=1 RCPTMAX=1000000 X=2", "RCPTMAX=\u0663", "=5", "A==1"]
)  # fmt: skip
KEYWORD = st.sampled_from([*CAN, "size", "Limits", "AUTH", "XCLIENT", ""])
LINE = st.builds(lambda a, b, c: a + b + " " + c, st.sampled_from(["", " "]), KEYWORD, VALUE)
BODY = st.sampled_from([b"", b"x", b"x\r\n", b"S: \xc3\xa9\r\n\r\nx", b"S: x\r\n\r\n\xc3\xa9"])


def greeted(lines: list[str], disable: list[str]) -> tuple[ClientCore, ClientTwin]:
    """Core and twin behind the reply to EHLO."""
    options = ClientOptions("me", disable=disable)
    core, twin = ClientCore(options), ClientTwin(options)
    shown = ["mx.example", *lines]
    marks = ["-"] * (len(shown) - 1) + [" "]
    reply = "".join(f"250{m}{line}\r\n" for m, line in zip(marks, shown, strict=True)).encode()
    for one in (core, twin):
        one.feed(b"220 hi\r\n" + reply)
        one.output()
    return core, twin


@settings(max_examples=300)
@given(st.lists(LINE, max_size=5), st.sampled_from([[], ["SIZE"], ["LIMITS", "DSN"]]))
def test_keywords_and_limits_are_those_of_the_twin(lines: list[str], disable: list[str]) -> None:
    core, twin = greeted(lines, disable)
    assert core.limits == twin.limits
    assert core.size_limit == twin._limit()
    known = {name for name in twin.keywords if name in CAN}
    assert core.capabilities == sum(CAN[name] for name in known)


@settings(max_examples=500)
@given(ADDRESS, ADDRESS, BODY, st.sampled_from([0, 1, 16, 17]), st.booleans())
def test_addresses_and_headers_are_sent_where_the_twin_sends_them(
    sender: str, recipient: str, body: bytes, flags: int, wide: bool
) -> None:
    core, twin = greeted(["PIPELINING", "8BITMIME", *["SMTPUTF8"] * wide], [])
    assert core.next_event() == Event.READY and twin.next_event() == "READY"
    tx = Transaction(sender, [recipient], body, flags)
    core.submit(tx)
    twin.submit(tx)
    assert b"".join(core.output()) == twin.output()
    if twin.done:
        assert core.next_event() == Event.DONE
        results = [result[0:2] for result in core.take_done().results]
        assert results == [result[0:2] for result in twin.done[0][1] if result]
    else:
        assert core.next_event() is None
