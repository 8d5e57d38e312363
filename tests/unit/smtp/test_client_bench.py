"""What the core and its kernels cost (`pytest --benchmark-enable`)."""

from __future__ import annotations

from typing import Any

from mta._speedups.stuff import dot_stuff
from mta.smtp.client import ClientCore, ClientOptions, Event, Transaction

BODY = (b"x" * 76 + b"\r\n") * 131
REPLIES = (
    b"250 2.0.0 Ok: queued as 4ZxYzT0qZ1z1\r\n250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n354 go ahead\r\n"
)


def test_a_message_of_10_kb(benchmark: Any) -> None:
    core = ClientCore(ClientOptions("me"))
    core.feed(b"220 hi\r\n")
    core.feed(b"250-hi\r\n250-PIPELINING\r\n250 SIZE 20000\r\n")

    def transaction() -> Transaction:
        return Transaction("sender@example.com", ["rcpt@example.org"], BODY)

    def message() -> int:
        while (event := core.next_event()) is not None:
            if event == Event.DONE:
                core.take_done()
            elif event == Event.CONTENT_WANTED:
                core.send_content(transaction())
        written = sum(map(len, core.output()))
        core.feed(REPLIES)
        return written

    core.submit(transaction())
    core.output()
    core.feed(REPLIES[REPLIES.index(b"\n") + 1 :])
    assert benchmark(message) > len(BODY)
    assert core.in_flight == 1


def test_stuffing_10_kb_where_every_line_has_a_dot(benchmark: Any) -> None:
    body = (b"." + b"x" * 75 + b"\r\n") * 131
    assert len(benchmark(dot_stuff, body)) == len(body) + 131
