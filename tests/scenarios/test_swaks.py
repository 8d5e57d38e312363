"""swaks with each of its options that can apply (E-16): what it is told, and what arrives."""

from __future__ import annotations

import base64
import random
import subprocess
from collections.abc import Iterator
from email import message_from_bytes
from pathlib import Path

import pytest

from mta.testing.ports import free_port
from mta.testing.remote import RemoteMX
from tests.peers.programs import require
from tests.scenarios.test_open_relay import STRANGER, TO, Listeners
from tests.waiting import PATIENCE

pytestmark = pytest.mark.peer
# Its exit codes.
NOT_CONNECTED, NO_GREETING, NO_HELO, REFUSED = 2, 21, 22, 24
NO_AUTH, NO_TLS, NO_PRDR, NO_XCLIENT = 28, 29, 30, 33


@pytest.fixture(scope="module")
def server(remote: RemoteMX, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listeners]:
    with Listeners(tmp_path_factory.mktemp("swaks"), remote.port) as running:
        yield running


@pytest.fixture(autouse=True)
def empty(remote: RemoteMX) -> None:
    remote.received.clear()


def swaks(*options: str, status: int = 0) -> str:
    """Its transcript; it ends with `status`."""
    given = ["--helo", "client.example", "--from", "s@source.example", "--to", TO]
    done = subprocess.run(
        [require("swaks"), *given, "--timeout", f"{PATIENCE:g}", *options],
        capture_output=True, timeout=PATIENCE, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    said = (done.stdout + done.stderr).decode(errors="replace")
    assert done.returncode == status, (done.returncode, said[-3000:])
    return said


def at(server: Listeners, name: str = "open") -> tuple[str, str]:
    return "--server", f"127.0.0.1:{server.ports[name]}"


OPTIONS: dict[str, list[str]] = {
    "plain": [],
    "pipeline": ["--pipeline"],
    "smtp": ["--protocol", "SMTP"],
    "esmtp": ["--protocol", "ESMTP"],
    "null-sender": ["--from", "<>"],
    "suppress-data": ["--suppress-data"],
    "local-interface": ["--local-interface", "127.0.0.1"],
    "auth-optional": ["--auth-optional", "-au", "u", "-ap", "p"],
    "tls-optional": ["--tls-optional"],
    "hidden": ["--hide-all"],
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_a_message_goes_through(server: Listeners, remote: RemoteMX, options: list[str]) -> None:
    swaks(*at(server), *options)
    [got] = remote.wait(1)
    assert got.recipients == [TO]
    assert got.sender == ("" if "<>" in options else "s@source.example")
    assert message_from_bytes(got.content)["Subject"].startswith("test ")
    protocol = b"with SMTP" if "SMTP" in options else b"with ESMTP"
    assert protocol in got.content.partition(b"\r\n\r\n")[0]


def test_many_recipients(server: Listeners, remote: RemoteMX) -> None:
    to = [f"r{number}@there.example" for number in range(100)]
    swaks(*at(server), "--to", ",".join(to), "--pipeline")
    server.wait_empty()
    assert sorted(r for got in remote.received for r in got.recipients) == sorted(to)


def test_headers_and_body(server: Listeners, remote: RemoteMX) -> None:
    swaks(
        *at(server), "--header", "Subject: Grüße", "--h-X-One", "1", "--add-header", "X-Two: 2",
        "--add-header", "X-Long: " + "word " * 190, "--body", ".\n..\nFrom here\n",
    )  # fmt: skip
    [got] = remote.wait(1)
    head, _, body = got.content.partition(b"\r\n\r\n")
    fields = message_from_bytes(got.content)
    assert "Subject: Grüße".encode() in head
    assert (fields["X-One"], fields["X-Two"]) == ("1", "2")
    assert fields["X-Long"].split() == ["word"] * 190
    assert body.startswith(b".\r\n..\r\nFrom here\r\n")


def test_an_attachment_of_10_mb(server: Listeners, remote: RemoteMX, tmp_path: Path) -> None:
    octets = random.Random(1).randbytes(10_000_000)
    (tmp_path / "big").write_bytes(octets)
    swaks(*at(server), "--attach-body", "see below", "--attach-type", "application/x-big",
          "--attach", f"@{tmp_path}/big", "--hide-all")  # fmt: skip
    [got] = remote.wait(1)
    parts = [p for p in message_from_bytes(got.content).walk() if not p.is_multipart()]
    [big] = [p for p in parts if p.get_content_type() == "application/x-big"]
    assert base64.b64decode(big.get_payload()) == octets


def test_data_from_a_file(server: Listeners, remote: RemoteMX, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"Subject: ours\nX-Mark: %SENDER%\n\n" + b"line\n" * 5)
    swaks(*at(server), "--data", f"@{tmp_path}/data")
    [got] = remote.wait(1)
    assert message_from_bytes(got.content)["Subject"] == "ours"


def test_over_a_unix_socket(server: Listeners) -> None:
    said = swaks("--socket", str(server.home / "mail.sock"), status=REFUSED)
    assert "554 5.7.1" in said
    swaks("--socket", str(server.home / "mail.sock"), "--to", "r@ours.example", "--quit", "RCPT")


@pytest.mark.parametrize("step", ["CONNECT", "FIRST-HELO", "MAIL", "RCPT", "DATA"])
@pytest.mark.parametrize("option", ["--quit-after", "--drop-after", "--drop-after-send"])
def test_a_session_may_end_at_each_step(
    server: Listeners, remote: RemoteMX, option: str, step: str
) -> None:
    if (option, step) == ("--drop-after-send", "CONNECT"):
        step = "EHLO"
    if (option, step) == ("--quit-after", "DATA"):
        step = "TO"
    swaks(*at(server), option, step)
    assert server.ask("queue.list", limit=1) == []
    assert remote.received == []


def test_auth_is_refused_where_none_is_offered(server: Listeners) -> None:
    said = swaks(*at(server), "--auth", "-au", "user", "-ap", "secret", status=NO_AUTH)
    assert "Host did not advertise authentication" in said
    assert " AUTH " not in said and "250-AUTH" not in said


@pytest.mark.parametrize("option", ["-tls", "--tls-optional-strict"])
def test_tls_is_not_offered(server: Listeners, option: str) -> None:
    said = swaks(*at(server), option, status=NO_TLS if option == "-tls" else 0)
    assert "250-STARTTLS" not in said and "250 STARTTLS" not in said


def test_prdr_is_not_offered(server: Listeners) -> None:
    assert "did not advertise PRDR" in swaks(*at(server), "--prdr", status=NO_PRDR)


def test_lmtp_is_not_spoken(server: Listeners) -> None:
    said = swaks(*at(server), "--protocol", "LMTP", status=NO_HELO)
    assert "LHLO client.example" in said and "<** 500 5.5." in said


@pytest.mark.parametrize("version", ["1", "2"])
def test_a_proxy_names_its_client(server: Listeners, remote: RemoteMX, version: str) -> None:
    def header(source: str) -> list[str]:
        return [
            "--proxy-version", version, "--proxy-family", "TCP4" if version == "1" else "AF_INET",
            "--proxy-source", source, "--proxy-source-port", "4711", "--proxy-dest",
            "198.51.100.1", "--proxy-dest-port", "25",
            *(["--proxy-protocol", "STREAM", "--proxy-command", "PROXY"] if version == "2" else []),
        ]  # fmt: skip

    said = swaks(*at(server, "proxied"), *header(STRANGER), status=REFUSED)
    assert "relaying denied" in said and "relay_from" not in said
    swaks(*at(server, "proxied"), *header("10.1.2.3"))
    [got] = remote.wait(1)
    assert b"[10.1.2.3]" in got.content.partition(b"\r\n\r\n")[0]


def test_a_listener_of_proxies_waits_for_their_header(server: Listeners) -> None:
    said = swaks(*at(server, "proxied"), "--proxy", "PROXY TCP4 nonsense", status=NO_GREETING)
    assert "<** 5" in said or "remote host closed" in said.lower()


def test_xclient_names_the_client(server: Listeners, remote: RemoteMX) -> None:
    swaks(
        *at(server, "xclient"), "--xclient-addr", "10.1.2.3", "--xclient-name", "app.example",
        "--xclient-port", "4711", "--xclient-helo", "app-says.example", "--xclient-proto", "ESMTP",
    )  # fmt: skip
    [got] = remote.wait(1)
    head = got.content.partition(b"\r\n\r\n")[0]
    assert b"app-says.example" in head and b"[10.1.2.3]" in head


def test_xclient_of_a_stranger_may_not_relay(server: Listeners) -> None:
    said = swaks(*at(server, "xclient"), "--xclient-addr", STRANGER, status=REFUSED)
    assert "relaying denied" in said and "relay_from" not in said


def test_xclient_is_not_for_everybody(server: Listeners) -> None:
    said = swaks(*at(server), "--xclient-addr", "10.1.2.3", status=NO_XCLIENT)
    assert "250-XCLIENT" not in said
    swaks(*at(server), "--xclient-optional", "--xclient-addr", "10.1.2.3", "--quit", "RCPT")


def test_a_port_where_nobody_listens() -> None:
    swaks("--server", f"127.0.0.1:{free_port()}", status=NOT_CONNECTED)
