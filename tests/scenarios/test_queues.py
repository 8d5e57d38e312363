"""Queues of a real server: full lanes, short disks and memory, damaged records, acts, reloads."""

from __future__ import annotations

import os
import signal
import smtplib
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from mta.maillog.records import TERMINAL
from mta.testing.ports import free_port
from mta.testing.remote import Manners, RemoteMX
from tests.scenarios.server import BODY, Server
from tests.waiting import PATIENCE, wait

LEFT_ALONE = 5_000_000  # microseconds, what mta/supervisor/paths.py has for an address
SMALL = ("-o", "queue.lane_items=10", "-o", "queue.memory_items=40")


def route(remote: RemoteMX) -> tuple[str, str]:
    return "--route", f"*=127.0.0.1:{remote.port}"


def nowhere() -> tuple[str, str]:
    return "--route", f"*=127.0.0.1:{free_port()}"  # nobody listens there


def inject(server: Server, recipients: list[str], body: str = BODY) -> None:
    with smtplib.SMTP("127.0.0.1", server.port, timeout=PATIENCE) as client:
        for recipient in recipients:
            client.sendmail("s@a.example", [recipient], body)


def ends(server: Server) -> Counter[str]:
    """How recipients ended; each at most once."""
    found = [r for r in server.records() if r["type"] in TERMINAL]
    assert len({(r["id"], r.get("rno", 0)) for r in found}) == len(found)
    return Counter(r["type"] for r in found)


def many(count: int, name: str = "r", domain: str = "b.example") -> list[str]:
    return [f"{name}{number}@{domain}" for number in range(count)]


def configured(home: Path, remote_port: int, text: str = "") -> Path:
    path = home / "mailrace.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'{text}\n[[route]]\nnext_hop = ["127.0.0.1:{remote_port}"]\n')
    return path


# ---------------------------------------------------------------------- lanes and memory


def test_a_queue_larger_than_memory_empties_over_restarts(tmp_path: Path) -> None:
    given = many(300)
    with RemoteMX(Manners(dot=lambda r: time.sleep(0.005))) as remote:
        server = Server(tmp_path, *route(remote), *SMALL)
        server.start()
        inject(server, given)
        remote.wait(20)
        server.stop()
        server.start()
        remote.wait(60)
        server.kill()
        recorded = {r["recipient"] for r in server.records("Delivery")}
        server.start()
        server.wait_records(300, "Delivery")
        server.wait_empty()
        server.stop()
    assert ends(server) == {"Delivery": 300}
    got = Counter(r.recipients[0] for r in remote.received)
    assert set(got) == set(given)
    assert set(got.values()) <= {1, 2}  # the kill may repeat what has no record yet
    assert not recorded & {recipient for recipient, copies in got.items() if copies > 1}


def test_a_receipt_leaves_soon_behind_bulk_that_fills_memory(tmp_path: Path) -> None:
    limits = ("-o", "limits.site.default.connections=1")
    places = threading.Semaphore(0)  # the host takes a message for each
    with RemoteMX(Manners(dot=lambda r: places.acquire(timeout=PATIENCE) and None)) as remote:
        server = Server(tmp_path, *route(remote), *SMALL, *limits)
        listener = f'[{{listen="127.0.0.1:{server.port}", control_headers=true}}]'
        server.flags += ("-o", f"listener={listener}")
        with server:
            inject(server, many(200, "bulk"), "X-Class: bulk\r\n" + BODY)
            for name in ("first", "second"):
                _receipt_is_soon(server, remote, places, name)
            assert server.process is not None
            server.process.send_signal(signal.SIGTERM)
            server.wait_said("stopping")
            places.release(5)  # for what is in flight
            assert server.process.wait(PATIENCE) == 0
            server.start()  # and just after a restart
            _receipt_is_soon(server, remote, places, "third")
            places.release(200)


def _receipt_is_soon(
    server: Server, remote: RemoteMX, places: threading.Semaphore, name: str
) -> None:
    inject(server, [f"{name}@b.example"], "X-Class: transactional\r\n" + BODY)
    before = len(remote.received)
    places.release(40)
    remote.wait(before + 40)
    wait(lambda: _got(remote, name), f"the {name} receipt waits")


def _got(remote: RemoteMX, name: str) -> bool:
    return any(r.recipients[0].startswith(name) for r in list(remote.received))


def test_bodies_leave_memory_and_are_read_again(tmp_path: Path) -> None:
    body = "Subject: x\r\n\r\n" + "0123456789" * 2000 + "\r\n"
    flags = ("-o", "smtpd.max_size=40000", "-o", "queue.body_memory=100000")
    flags += ("-o", 'retry.schedule=["1h"]')  # or what is read back takes the room of new mail
    with (
        RemoteMX(Manners(rcpt=lambda a: "451 4.7.1 not yet")) as remote,
        Server(tmp_path, *route(remote), *flags) as server,
    ):
        inject(server, many(30), body)  # 600 kB, and never a 452
        server.wait_records(30, "TransientFailure")
        assert server.status()["totals"]["body_bytes"] <= 100_000
        remote.manners = Manners()
        server.ask("act", verb="flush", select={"all": True})
        got = remote.wait(30)
        assert {r.content.count(b"0123456789") for r in got} == {2000}
        server.wait_records(30, "Delivery")
        wait(lambda: not server.status()["totals"]["body_bytes"], "bodies stay in memory")


# ---------------------------------------------------------------------- short disk, damage


def test_a_short_disk_refuses_new_mail_and_delivers_the_rest(tmp_path: Path) -> None:
    with RemoteMX(Manners(rcpt=lambda a: "451 4.7.1 not yet")) as remote:
        path = configured(tmp_path, remote.port, "[retry]\nschedule = ['1s']\njitter = 0")
        with Server(tmp_path, "--config", str(path)) as server:
            server.send("early@b.example")
            server.wait_records(1, "TransientFailure")
            text = path.read_text()
            path.write_text(text + "[disk]\nmin_free = '900TB'\n")
            server.ask("reload")
            server.wait_said("\nreloaded")
            wait(lambda: _answer(server) == 452, "mail is still taken")
            remote.manners = Manners()
            remote.wait(1)
            server.wait_records(1, "Delivery")
            path.write_text(text)
            server.ask("reload")
            wait(lambda: _answer(server) == 250, "mail is still refused")
            remote.wait(2)


def _answer(server: Server) -> int:
    with smtplib.SMTP("127.0.0.1", server.port, timeout=PATIENCE) as client:
        client.ehlo("x")
        client.mail("s@a.example")
        client.rcpt("late@b.example")
        try:
            return client.data(BODY)[0]
        except smtplib.SMTPDataError as error:
            return error.smtp_code


@pytest.mark.parametrize("what", ["recipient", "envelope", "body"])
def test_a_damaged_record_is_set_aside_and_the_rest_is_served(tmp_path: Path, what: str) -> None:
    with RemoteMX(Manners(rcpt=lambda a: "451 4.7.1 not yet")) as remote:
        server = Server(tmp_path, *route(remote), "-o", 'retry.schedule=["2s"]')
        with server:
            # Only a message of several recipients has its envelope in a row of its own.
            more = ["more@b.example"] if what == "envelope" else []
            ids = [server.send(to, *(more if n == 2 else ())) for n, to in enumerate(many(5))]
            server.wait_records(5 + len(more), "TransientFailure")
        _damage(tmp_path / "spool" / "shard-0000", bytes.fromhex(ids[2]), what)
        remote.manners = Manners()
        with server:
            told = what == "body"  # envelope and recipient are known: there is a DSN
            remote.wait(4 + told)
            for ended in server.wait_records(1 + len(more), "Bounce" if told else "Removed"):
                assert ended["id"] == ids[2] and (told or ended["reason"])
            server.wait_records(4 + told, "Delivery")
            server.wait_empty()
    assert ends(server) == {
        "Delivery": 4 + told, "Bounce" if told else "Removed": 1 + len(more),
    }  # fmt: skip
    assert any(ids[2] in path.name for path in (tmp_path / "corrupt").iterdir())


def _damage(folder: Path, id: bytes, what: str) -> None:
    from rocksdict import AccessType, Options, Rdict

    options = Options(raw_mode=True)
    names = Rdict.list_cf(str(folder), options)
    db = Rdict(
        str(folder), options, {n: Options(raw_mode=True) for n in names}, AccessType.read_write()
    )
    messages = db.get_column_family("messages")
    if what == "body":
        del db.get_column_family("bodies")[id]
    else:
        messages[id if what == "envelope" else id + bytes(4)] = b"\x01nonsense"
    del messages
    db.close()


# ---------------------------------------------------------------------- several sites, dead hosts


def test_recipients_over_several_sites_end_each_once(tmp_path: Path) -> None:
    brief = '[retry.brief]\nschedule = ["1s"]\nmax_age = "3s"\n'
    with RemoteMX() as good, RemoteMX(Manners(rcpt=lambda a: "550 5.1.1 nobody")) as bad:
        hosts = {"bad.example": bad.port, "dead.example": free_port(), "*": good.port}
        config = tmp_path / "mailrace.toml"
        config.write_text(brief + "".join(
            f'[[route]]\nmatch.domain = "{domain}"\nnext_hop = "127.0.0.1:{port}"\n'
            + 'retry = "brief"\n' * (domain == "dead.example")
            for domain, port in hosts.items()
        ))  # fmt: skip
        with Server(tmp_path, "--config", str(config)) as server:
            with smtplib.SMTP("127.0.0.1", server.port, timeout=PATIENCE) as client:
                client.sendmail(
                    "s@a.example",
                    [*many(5, domain="good.example"), *many(5, domain="bad.example"),
                     *many(5, domain="dead.example")],
                    BODY,
                )  # fmt: skip
            server.wait_records(5, "Expiration")
            good.wait(11)  # one with five recipients, ten DSNs
            server.wait_records(15, "Delivery")
            server.wait_empty()
            assert ends(server) == {"Delivery": 15, "Bounce": 5, "Expiration": 5}


def test_a_dead_host_beside_a_living_one_costs_no_attempt(tmp_path: Path) -> None:
    dead = nowhere()[1].rpartition(":")[2]
    with RemoteMX() as remote:
        flags = ("--route", f"*=[127.0.0.9]:{dead},[127.0.0.1]:{remote.port}")
        with Server(tmp_path, *flags) as server:
            inject(server, many(20))
            remote.wait(20)
            server.wait_records(20, "Delivery")
            assert server.records("TransientFailure") == []


def test_flush_dials_a_dead_host_at_once(tmp_path: Path) -> None:
    dead = nowhere()
    with Server(tmp_path, *dead, "-o", 'retry.schedule=["1h"]') as server:
        for count in range(1, 21):  # a busy machine may take as long as that for the flush itself
            server.send(f"r{count}@b.example")
            failed = server.wait_records(count, "TransientFailure")[-1]
            with RemoteMX(port=int(dead[1].rpartition(":")[2])):
                server.ask("act", verb="flush", select={"all": True})
                delivered = server.wait_records(count, "Delivery")[-1]
            if delivered["time"] - failed["time"] < LEFT_ALONE:
                break
        else:
            pytest.fail("it waits until the address is tried again")


# ---------------------------------------------------------------------- acts and reloads


@pytest.mark.parametrize(("verb", "end"), [("delete", "Removed"), ("bounce", "AdminBounce")])
def test_acts_survive_kill_9(tmp_path: Path, verb: str, end: str) -> None:
    flags = (*nowhere(), "-o", 'retry.schedule=["1h"]', "-o", "dsn.from=d@a.example")
    server = Server(tmp_path, *flags, *SMALL, workers=2)
    with server:
        for part in range(4):
            inject(server, many(100, f"p{part}x"))
        inject(server, many(20, "kept", "c.example"))
        act = server.ask("act", verb=verb, select={"domain": "b.example"})["act"]
        server.kill()
        server.start()
        wait(lambda: not server.ask("act.list"), "the act is not retired")
        found = server.wait_records(400, end)
        assert len(found) == 400 and {r["act"] for r in found} == {act}
        rows = server.ask("queue.list", select={"domain": "c.example"}, limit=100)
        assert len(rows) == 20
        assert ends(server) == {end: 400}


def test_hold_release_and_reroute(tmp_path: Path) -> None:
    with (
        RemoteMX() as remote,
        RemoteMX() as other,
        Server(tmp_path, *route(remote), workers=2) as server,
    ):
        server.ask("act", verb="hold", select={"domain": "b.example"})
        inject(server, many(10))
        wait(lambda: len(_held(server)) == 10, "not all is held")
        server.ask(
            "act", verb="reroute", select={"recipient": "r0@*"},
            next_hop=f"[127.0.0.1]:{other.port}",
        )  # fmt: skip
        server.ask("act", verb="release", select={"all": True})
        remote.wait(9)
        [rerouted] = other.wait(1)
        assert rerouted.recipients == ["r0@b.example"]
        wait(lambda: not server.ask("act.list"), "an act is not retired")
        inject(server, ["later@b.example"])
        remote.wait(10)


def _held(server: Server) -> list[dict[str, Any]]:
    rows = server.ask("queue.list", limit=1000)
    return [row for row in rows if row["state"] == "held"]


def test_hangup_takes_a_good_file_and_refuses_a_bad_one(tmp_path: Path) -> None:
    with RemoteMX() as one, RemoteMX() as two:
        path = configured(tmp_path, one.port)
        with Server(tmp_path, "--config", str(path), workers=2) as server:
            assert server.process is not None
            server.send("r@b.example")
            one.wait(1)
            configured(tmp_path, two.port, "[smtpd]\nmax_size = 'huge'")
            os.kill(server.process.pid, signal.SIGHUP)
            server.wait_said("reload refused")
            assert "mailrace.toml:2" in server.said() and "smtpd.max_size" in server.said()
            server.send("r@b.example")
            one.wait(2)
            configured(tmp_path, two.port, "hostname = 'other.example'")
            os.kill(server.process.pid, signal.SIGHUP)
            server.wait_said("need a restart: hostname")
            configured(tmp_path, two.port)
            os.kill(server.process.pid, signal.SIGHUP)
            server.wait_said("\nreloaded")
            server.send("r@b.example")
            two.wait(1)
            path.unlink()
            os.kill(server.process.pid, signal.SIGHUP)
            server.wait_said("reload refused", times=3)


def test_a_reload_frees_what_waited_for_an_old_rate(tmp_path: Path) -> None:
    with RemoteMX() as remote:
        path = configured(tmp_path, remote.port, "[limits.site.default]\nrate = '1/h'")
        with Server(tmp_path, "--config", str(path)) as server:
            inject(server, many(5))
            remote.wait(1)
            configured(tmp_path, remote.port)
            server.ask("reload")
            remote.wait(5)
