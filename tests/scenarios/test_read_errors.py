"""A disk that cannot be read, or damages what it has: no mail is lost without a word."""

from __future__ import annotations

import json
import shutil
import smtplib
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from mta.maillog.records import TERMINAL
from mta.testing.remote import Manners, RemoteMX
from tests.scenarios.server import Server
from tests.waiting import PATIENCE, wait

COUNT = 60
BODY = "Subject: x\r\n\r\n" + "0123456789" * 2000 + "\r\n"
# Room for five contents; what is put off is due again in two seconds.
SMALL = ("-o", "smtpd.max_size=40000", "-o", "queue.body_memory=100000")
SOON = ("-o", 'retry.schedule=["2s"]', "-o", "retry.jitter=0")


@pytest.fixture
def failing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a percentage into it, and so many reads of contents fail in servers started now."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    library, flag = tmp_path / "failing_reads.so", tmp_path / "percent"
    source = Path(__file__).with_name("failing_reads.c")
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-Wall", "-Werror", "-o", library, source, "-ldl"], check=True
    )
    monkeypatch.setenv("LD_PRELOAD", str(library))
    monkeypatch.setenv("MTA_TEST_FAILING_READS", str(flag))
    return flag


def inject(server: Server, count: int) -> list[str]:
    given = [f"r{number}@b.example" for number in range(count)]
    with smtplib.SMTP("127.0.0.1", server.port, timeout=PATIENCE) as client:
        for recipient in given:
            client.sendmail("s@a.example", [recipient], BODY)
    return given


def ends(server: Server) -> Counter[str]:
    """How recipients ended; each at most once."""
    found = [r for r in server.records() if r["type"] in TERMINAL]
    assert len({(r["id"], r.get("rno", 0)) for r in found}) == len(found)
    return Counter(r["type"] for r in found)


@pytest.mark.parametrize("percent", [3, 50, 100])
def test_reads_that_fail_for_a_while_cost_no_mail(
    tmp_path: Path, failing: Path, percent: int
) -> None:
    with (
        RemoteMX(Manners(rcpt=lambda a: "451 4.7.1 not yet")) as remote,
        Server(tmp_path / "home", "--route", f"*=127.0.0.1:{remote.port}", *SMALL, *SOON) as server,
    ):
        given = inject(server, COUNT)
        server.wait_records(COUNT, "TransientFailure")
        failing.write_text(str(percent))
        remote.manners = Manners()

        def failed() -> bool:
            return bool(server.status()["totals"]["read_failures"])

        if percent == 3:  # so few may all succeed
            wait(lambda: failed() or ends(server).total() == COUNT, "nothing is read")
        else:
            wait(failed, "no read fails")
            server.wait_said("alarm unreadable_content: shard 0: the contents of")
            (alarm,) = [a for a in server.status()["alarms"] if a["alarm"] == "unreadable_content"]
            assert "Input/output error" in alarm["reason"]
        failing.unlink()
        server.wait_records(COUNT, "Delivery")
        server.wait_empty()
        if percent > 3:
            server.wait_said("alarm unreadable_content is over")
        assert ends(server) == {"Delivery": COUNT}
        got = remote.wait(COUNT)
        assert Counter(r.recipients[0] for r in got) == Counter(given)
        assert {r.content.count(b"0123456789") for r in got} == {2000}
        assert not (tmp_path / "home" / "corrupt").exists()
        counted = server.status()["totals"]
        assert counted["deferred"] == len(server.records("TransientFailure"))


def test_a_content_that_was_damaged_is_set_aside_and_its_sender_told(tmp_path: Path) -> None:
    with RemoteMX(Manners(rcpt=lambda a: "451 4.7.1 not yet")) as remote:
        server = Server(tmp_path, "--route", f"*=127.0.0.1:{remote.port}", *SMALL, *SOON)
        with server:
            given = inject(server, 40)  # the first ones come before there is a segment
            found = server.wait_records(40, "TransientFailure")
            ids = {record["recipient"]: record["id"] for record in found}
        _damage(tmp_path / "spool" / "shard-0000" / "bodies", bytes.fromhex(ids[given[-1]]))
        remote.manners = Manners()
        with server:
            (bounce,) = server.wait_records(1, "Bounce")
            assert (bounce["id"], bounce["recipient"]) == (ids[given[-1]], given[-1])
            assert bounce["enhanced"] == "5.3.0" and bounce["attempts"] >= 1
            got = remote.wait(40)  # a DSN among them
            server.wait_records(40, "Delivery")
            server.wait_empty()
            server.wait_said("alarm damaged_content: ")
    assert ends(server) == {"Delivery": 40, "Bounce": 1}
    (dsn,) = [r for r in got if r.sender == ""]
    assert dsn.recipients == ["s@a.example"]
    assert b"the stored content was damaged" in dsn.content and b"Status: 5.3.0" in dsn.content
    facts = json.loads((tmp_path / "corrupt" / f"{bounce['id']}.json").read_text())
    assert facts["recipients"] == [given[-1]]
    left = (tmp_path / "corrupt" / facts["content"]).read_bytes()
    assert left.count(b"0123456789") >= 1990


def test_a_shard_whose_contents_are_away_waits_for_them_and_the_other_serves(
    tmp_path: Path,
) -> None:
    with RemoteMX(Manners(rcpt=lambda a: "451 4.7.1 not yet")) as remote:
        flags = ("--route", f"*=127.0.0.1:{remote.port}", "-o", "shards=2", *SMALL, *SOON)
        with Server(tmp_path, *flags) as server:
            given = inject(server, 40)
            server.wait_records(40, "TransientFailure")
            server.stop()
            remote.manners = Manners()
            bodies = tmp_path / "spool" / "shard-0000" / "bodies"
            away = bodies.rename(tmp_path / "away")
            server.start()
            server.wait_said("shard 0 is refused: ")
            assert "files with contents of mail are missing" in server.said()
            assert not bodies.exists()
            sent = server.send("other@b.example")
            (delivered,) = server.wait_records(1, "Delivery")
            assert delivered["id"] == sent
            away.rename(bodies)
            server.wait_said("shard 0 serves again")
            server.wait_records(41, "Delivery")
            server.wait_empty()
            assert ends(server) == {"Delivery": 41}
            got = remote.wait(41)
    assert Counter(r.recipients[0] for r in got) == Counter([*given, "other@b.example"])


def _damage(folder: Path, id: bytes) -> None:
    """Turn a bit in the middle of a content."""
    (path,) = [path for path in folder.iterdir() if id in path.read_bytes()]
    with path.open("r+b") as file:
        at = file.read().find(id) + 10_000
        file.seek(at)
        octet = file.read(1)[0] ^ 1
        file.seek(at)
        file.write(bytes([octet]))
