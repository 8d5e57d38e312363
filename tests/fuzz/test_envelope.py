"""MAIL and RCPT with any path and parameters: the core's answer beside its twin's."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from mta.smtp.server import Mail, Rcpt, ServerCore, ServerOptions
from tests.reference.server import Server, summary

PATHS = [
    "<>", "<a@b.example>", "<postmaster>", '<"a b"@c>', "<a..b@c>", "<@r:a@b>", "a@b", "<a@b",
    "<a@[192.0.2.1]>", "<é@b>", "<a@é.example>", "<\udcff@b>", " <a@b>", "<a@b>x", "<a@" + "y" * 64,
]  # fmt: skip
KEYS = ["SIZE", "size", "BODY", "SMTPUTF8", "AUTH", "RET", "ENVID", "NOTIFY", "ORCPT", "X", "-"]
VALUES = [
    "", "=", "=0", "=007", "=10240", "=99999999", "=" + "9" * 18, "=" + "9" * 19, "=-1", "=1x",
    "=7BIT", "=8bitmime", "=BINARYMIME", "=<>", "=é", "=\udcff", "=a=b", "=a b",
]  # fmt: skip
parameter = st.builds(
    lambda blank, key, value: blank + key + value,
    st.sampled_from([" ", " ", " ", "  ", "\t", ""]), st.sampled_from(KEYS),
    st.sampled_from(VALUES),
)  # fmt: skip
command = st.builds(
    lambda verb, path, rest: (verb + path + "".join(rest)).encode("utf-8", "surrogateescape"),
    st.sampled_from(["MAIL FROM:", "mail from: ", "MAIL TO:", "MAIL ", "RCPT TO:", "rcpt to:  "]),
    st.sampled_from(PATHS), st.lists(parameter, max_size=4),
)  # fmt: skip
options = st.builds(
    ServerOptions,
    st.just("mx.example"),
    max_size=st.sampled_from([0, 10_240]),
    max_errors=st.just(0),
    mail_parameters=st.sampled_from([[], ["RET", "ENVID"]]),
    rcpt_parameters=st.sampled_from([[], ["ORCPT", "NOTIFY"]]),
    chunking=st.just(True),
    binarymime=st.booleans(),
    smtputf8=st.booleans(),
    bare_addresses=st.booleans(),
)


def told(event: object) -> tuple[object, ...] | None:
    """An event as the twin tells it."""
    if isinstance(event, Mail):
        kinds = event.body8, event.binary, event.utf8
        return "mail", event.sender, event.size, *kinds, event.params
    return ("rcpt", event.recipient, event.params) if isinstance(event, Rcpt) else None


@settings(max_examples=500, deadline=None)
@given(options, st.lists(command, min_size=1, max_size=4))
def test_paths_and_parameters_are_taken_as_the_twin_does(
    options: ServerOptions, commands: list[bytes]
) -> None:
    core, twin = ServerCore(options), Server(options)
    for one in (core, twin):
        one.greeting()
        one.feed(b"EHLO a\r\n")
        assert one.next_event()
        one.verdict()
    for line in commands:
        for one in (core, twin):
            one.feed(line + b"\r\n")
        event = core.next_event()
        assert told(event) == twin.next_event()
        if event is not None:
            core.verdict()
            twin.verdict()
    assert summary(core.output()) == twin.replies
    assert core.state == twin.state
