"""A session whose policy is a handler written for aiosmtpd."""

from __future__ import annotations

import asyncio
import base64
import gc
import warnings
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, ClassVar

import pytest
from aiosmtpd.smtp import MISSING, AuthResult

from mta.errors import ConfigError
from mta.smtp.server import Content, ServerCore, ServerOptions
from mta.smtpd.aiosmtpd_compat import loading, statuses
from mta.smtpd.aiosmtpd_compat.member import HandlerMember, LoginRequired
from tests.waiting import PATIENCE

from ..desk import Desk, Talk

HELLO = b"EHLO c.example\r\n"
MAIL, RCPT = b"MAIL FROM:<a@c.example>\r\n", b"RCPT TO:<b@example.com>\r\n"
ENVELOPE = HELLO + MAIL + RCPT + b"DATA\r\n"
BODY = b"Subject: s\r\n\r\nHello\r\n.\r\n"


def live(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run a test in a loop."""

    def run() -> None:
        asyncio.run(test())

    run.__name__ = test.__name__
    return run


async def settled(talk: Talk) -> bytes:
    """What was written, when no hook is under way."""
    while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(tasks)
    return talk.replies()


class Picky:
    """Answers at once."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def handle_MAIL(self, server: Any, session: Any, envelope: Any, sender: str, opts: Any) -> str:
        self.seen.append(("MAIL", sender, opts, session.host_name))
        envelope.mail_from = sender
        return "550 5.7.1 not you" if sender.startswith("spam@") else "250 2.1.0 fine"

    def handle_RCPT(self, server: Any, session: Any, envelope: Any, rcpt: str, opts: Any) -> str:
        if rcpt.startswith("no"):
            return "550 no such user"
        envelope.rcpt_tos.append(rcpt)
        return "250 OK"

    def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        return "554 5.7.1 spam" if b"viagra" in envelope.content else "250 OK"


@live
async def test_a_2xx_of_handle_data_means_spool_it() -> None:
    desk = Desk(handler=Picky())
    talk = desk.open()
    talk.replies()
    assert talk.codes(ENVELOPE) == [250, 250, 250, 354]
    assert talk.say(BODY).startswith(b"250 2.0.0 Ok: queued as ")
    [(message, recipients)] = desk.messages
    assert (message.sender, recipients) == ("a@c.example", ["b@example.com"])
    assert message.body is not None and message.body.endswith(b"\r\n\r\nHello\r\n")


@live
async def test_refusals_of_the_handler_count_and_are_logged() -> None:
    handler = Picky()
    desk = Desk(handler=handler)
    talk = desk.open()
    talk.say(HELLO)
    assert talk.say(b"MAIL FROM:<spam@x.example> SIZE=9\r\n") == b"550 5.7.1 not you\r\n"
    assert handler.seen == [("MAIL", "spam@x.example", ["SIZE=9"], "c.example")]
    assert talk.say(MAIL) == b"250 2.1.0 fine\r\n"
    assert talk.codes(b"RCPT TO:<no@example.com>\r\n" + RCPT + b"DATA\r\n") == [550, 250, 354]
    assert talk.say(b"viagra\r\n.\r\n") == b"554 5.7.1 spam\r\n"
    assert desk.messages == []
    told = [(r["reason"], r["command"], r.get("recipient", "")) for r in desk.log]
    assert told == [
        ("handler", "MAIL", ""), ("handler", "RCPT", "no@example.com"), ("handler", ".", ""),
    ]  # fmt: skip
    assert talk.codes(MAIL + RCPT + b"DATA\r\n" + BODY) == [250, 250, 354, 250]
    assert desk.messages[0][1] == ["b@example.com"]


@live
async def test_the_relay_rule_comes_first() -> None:
    desk = Desk(handler=Picky(), rule={"relay_from": ["192.0.2.1"]})
    talk = desk.open("198.51.100.1")
    talk.say(HELLO)
    assert talk.codes(MAIL + RCPT) == [250, 554]


class Slow:
    """Answers later, and changes what it gets."""

    async def handle_EHLO(
        self, server: Any, session: Any, envelope: Any, name: str, responses: list[str]
    ) -> list[str]:
        await asyncio.sleep(0)
        session.host_name = name
        return [responses[0], "250 X-MINE"]

    async def handle_RCPT(
        self, server: Any, session: Any, envelope: Any, rcpt: str, opts: Any
    ) -> str:
        await asyncio.sleep(0)
        envelope.rcpt_tos += [rcpt, "archive@example.com"]
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        await asyncio.sleep(0)
        envelope.content = b"X-Seen: yes\n" + envelope.content
        return "250 OK"

    async def handle_NOOP(self, server: Any, session: Any, envelope: Any, arg: str) -> str:
        await server.push("250-one")
        return "250 two"

    async def handle_QUIT(self, server: Any, session: Any, envelope: Any) -> str:
        return "221 so long"


@live
async def test_hooks_that_wait_and_a_client_that_does_not() -> None:
    desk = Desk(handler=Slow())
    talk = desk.open()
    talk.send(ENVELOPE + BODY + b"NOOP\r\nQUIT\r\n")
    output = await settled(talk)
    codes = [line[:4] for line in output.splitlines()]
    assert codes == [
        b"220 ", b"250-", b"250 ", b"250 ", b"250 ", b"354 ", b"250 ", b"250-", b"250 ", b"221 ",
    ]  # fmt: skip
    assert b"250 X-MINE\r\n" in output and output.endswith(b"250-one\r\n250 two\r\n221 so long\r\n")
    [(message, recipients)] = desk.messages
    assert recipients == ["b@example.com", "archive@example.com"]
    assert message.body is not None and b"X-Seen: yes\r\nSubject: s\r\n" in message.body


@live
async def test_a_client_that_goes_cancels_its_hook() -> None:
    desk = Desk(handler=Slow())
    talk = desk.open()
    talk.send(HELLO)
    task = talk.session.task  # type: ignore[attr-defined]
    await asyncio.sleep(0)  # the hook begins
    talk.lost()
    await asyncio.wait([task])
    assert task.cancelled() and desk.messages == []


class Faulty:
    """Fails, or answers what is no reply."""

    def handle_MAIL(self, *_: Any) -> str:
        raise RuntimeError("secret")

    def handle_HELO(self, *_: Any) -> Any:
        return "hello"

    async def handle_NOOP(self, *_: Any) -> str:
        raise RuntimeError("secret")


@live
async def test_a_handler_that_fails_defers() -> None:
    desk = Desk(handler=Faulty())
    talk = desk.open()
    talk.replies()
    for sent in (b"HELO c\r\n", HELLO + MAIL, b"NOOP\r\n"):
        talk.send(sent)
        output = await settled(talk)
        assert output.splitlines()[-1].startswith(b"451 4.3.0 ") and b"secret" not in output


class Excuses(Faulty):
    def handle_exception(self, error: Exception) -> str:
        return "471 excuse me"


@live
async def test_a_handler_may_answer_its_own_exceptions() -> None:
    talk = Desk(handler=Excuses()).open()
    talk.send(HELLO + MAIL)
    assert (await settled(talk)).endswith(b"471 excuse me\r\n")


class Guard:
    """Wants to know who sends."""

    auth_required = True
    auth_require_tls = False

    def authenticator(self, server: Any, session: Any, envelope: Any, how: str, data: Any) -> Any:
        return AuthResult(success=data == (b"me", b"right"), handled=False, auth_data=data)


@live
async def test_auth_comes_first_and_lets_a_client_relay() -> None:
    with pytest.warns(UserWarning, match="Requiring AUTH while not requiring TLS"):
        desk = Desk(handler=Guard(), rule={"relay_from": ["192.0.2.1"]})
        talk = desk.open("198.51.100.1")
    assert b"250 AUTH LOGIN PLAIN\r\n" in talk.say(HELLO)
    assert talk.codes(MAIL) == [530]
    wrong = base64.b64encode(b"\0me\0wrong")
    talk.send(b"AUTH PLAIN " + wrong + b"\r\nAUTH LOGIN\r\n")
    assert (await settled_line(talk)) == b"535 334 "
    talk.send(base64.b64encode(b"me") + b"\r\n" + base64.b64encode(b"right") + b"\r\n")
    output = await settled(talk)
    assert output.splitlines()[-1][:9] == b"235 2.7.0"
    assert talk.codes(MAIL + b"AUTH PLAIN\r\n" + RCPT + b"DATA\r\n" + BODY) == [
        250, 503, 250, 354, 250,
    ]  # fmt: skip
    body = desk.messages[0][0].body
    assert body is not None and b" with ESMTPA id " in body


async def settled_line(talk: Talk) -> bytes:
    """The codes written up to the challenge that waits for its client."""
    codes = b""
    async with asyncio.timeout(PATIENCE):
        while not codes.endswith(b"334 "):
            await asyncio.sleep(0)
            codes += b"".join(line[:4] for line in talk.replies().splitlines())
    return codes


@live
async def test_xclient_begins_anew_with_the_client_that_it_names() -> None:
    desk = Desk(handler=Picky(), rule={"relay_from": ["192.0.2.1"]}, xclient=True)
    talk = desk.open("127.0.0.1")
    server = talk.session.server  # type: ignore[attr-defined]
    assert server.session.peer == ("127.0.0.1", 0)
    assert talk.codes(HELLO + b"XCLIENT ADDR=192.0.2.1\r\n") == [220, 250, 220]
    assert (server.session.peer, server.session.host_name) == (("192.0.2.1", 0), None)
    assert talk.codes(HELLO + MAIL + RCPT) == [250, 250, 250]


@pytest.mark.parametrize("octets", [b"\xff", b"\xc3\xa9", b"AAAA\x80", b"A\xed\xa0\x80"])
@pytest.mark.parametrize("verb", [b"AUTH PLAIN ", b"AUTH LOGIN "])
def test_octets_that_are_no_base64_are_no_error_of_ours(
    octets: bytes, verb: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        with pytest.warns(UserWarning, match="Requiring AUTH while not requiring TLS"):
            talk = Desk(handler=Guard()).open()
        talk.say(HELLO)
        talk.send(verb + octets + b"\r\n")
        assert (await settled(talk)).splitlines()[0].startswith(b"501 5.5.2 ")
        talk.send(b"AUTH PLAIN\r\n")
        assert (await settled_line(talk)) == b"334 "
        talk.send(octets + b"\r\n")
        assert (await settled(talk)).splitlines()[0].startswith(b"501 5.5.2 ")

    asyncio.run(main())
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


@live
async def test_mechanisms_in_any_case() -> None:
    class Own(Guard):
        auth_required = False
        seen: ClassVar[list[Any]] = []

        def handle_AUTH(self, server: Any, session: Any, envelope: Any, args: list[str]) -> Any:
            self.seen.append(args[0])
            return MISSING

        async def auth_Own__Way(self, server: Any, args: list[str]) -> Any:
            self.seen.append(args[0])
            return AuthResult(success=True)

    desk = Desk(handler=Own())
    for name in (b"plain", b"Plain", b"PLAIN"):
        talk = desk.open()
        talk.say(HELLO)
        talk.send(b"auth " + name + b" " + base64.b64encode(b"\0me\0right") + b"\r\n")
        assert (await settled(talk)).startswith(b"235 ")
    talk = desk.open()
    talk.say(HELLO)
    talk.send(b"AUTH OWN-WAY\r\n")
    assert (await settled(talk)).startswith(b"235 ")
    assert Own.seen == ["PLAIN", "PLAIN", "PLAIN", "Own-Way", "Own-Way"]


@pytest.mark.parametrize(("tls", "codes"), [(False, [250, 501, 250]), (True, [555, 555, 250])])
def test_the_parameter_auth_is_taken_where_auth_is_offered(tls: bool, codes: list[int]) -> None:
    class Known(Guard):
        auth_required, auth_require_tls = False, tls

    async def main() -> None:
        talk = Desk(handler=Known()).open()
        assert (b"AUTH" in talk.say(HELLO)) is not tls
        for parameter, code in zip([b" AUTH=<>", b" AUTH=+00", b""], codes, strict=True):
            command = b"RSET\r\nMAIL FROM:<a@c.example>" + parameter + b"\r\n"
            assert talk.codes(command) == [250, code]

    asyncio.run(main())


@pytest.mark.parametrize("sent", [HELLO, HELLO + MAIL + RCPT, b"NOOP\r\n", b"QUIT\r\n"])
def test_a_client_that_goes_at_once_leaves_no_coroutine_behind(sent: bytes) -> None:
    async def main() -> None:
        talk = Desk(handler=Slow()).open()
        talk.send(sent)
        talk.lost()  # before the hook has begun
        await asyncio.wait([talk.session.task])  # type: ignore[attr-defined]

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        asyncio.run(main())
        gc.collect()
    assert not [str(one.message) for one in seen]


def test_auth_is_not_offered_without_tls() -> None:
    class Strict(Guard):
        auth_required, auth_require_tls = False, True

    async def main() -> None:
        talk = Desk(handler=Strict()).open()
        assert b"AUTH" not in talk.say(HELLO)
        talk.send(b"AUTH PLAIN AAA=\r\n")
        assert (await settled(talk)).startswith(b"538 ")

    asyncio.run(main())


@pytest.mark.parametrize(
    ("status", "octets"),
    [
        ("250 OK", b"250 OK\r\n"),
        (b"250-a\r\n250 b\r\n", b"250-a\r\n250 b\r\n"),
        (["250-a", "250 b"], b"250-a\r\n250 b\r\n"),
    ],
)
def test_answers_that_are_replies(status: Any, octets: bytes) -> None:
    assert statuses.whole(status) == octets


@pytest.mark.parametrize(
    "status",
    [None, 250, "", "OK", "250", "250 a\n250 b", "250 a\r\n250 b", "250-a\r\n251 b", "250-a"],
)
def test_answers_that_are_none(status: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        statuses.whole(status)


@pytest.mark.parametrize(
    ("given", "body", "flags"),
    [
        (b"a\nb", b"a\r\nb\r\n", 0),
        ("\u00e9\n.\n", "\u00e9\r\n.\r\n".encode(), 1 | 2),
        (b"..\r\n", b"..\r\n", 2),
    ],
)
def test_a_content_that_was_changed(given: Any, body: bytes, flags: int) -> None:
    core = ServerCore(ServerOptions("a"))
    core.greeting()
    core.feed(b"HELO a\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\n\xe9\r\n.\r\n")
    while not isinstance(event := core.next_event(), Content):
        core.verdict()
    assert statuses.changed(event.body, event.flags) == (event.body, event.flags)
    assert statuses.changed(given, event.flags) == (body, flags)


def test_a_handler_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "policy.py"
    path.write_text("class Mine:\n    x = 1\nready = Mine()\n")
    assert loading.load(f"{path}:Mine").x == loading.load(f"{path}:ready").x == 1
    path.write_text("class Mine:\n    x = 2\n")
    assert loading.load(f"{path}:Mine").x == 2
    path.write_text("import nothing_of_that_name\n")
    for spec in (f"{path}:Mine", f"{tmp_path}/none.py:Mine", "aiosmtpd.handlers:Nothing"):
        with pytest.raises(ConfigError, match=r"listener\.handler"):
            loading.load(spec)
    assert type(loading.load("aiosmtpd.handlers:Sink")).__name__ == "Sink"


def test_a_session_that_was_open_before_a_handler_came_goes_on_without() -> None:
    desk = Desk(members=[LoginRequired(), HandlerMember()])  # plain sessions
    talk = desk.open()
    talk.replies()
    assert talk.codes(ENVELOPE) == [250, 250, 250, 354]
    assert talk.codes(BODY) == [250]
