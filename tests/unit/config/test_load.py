"""Files, the command line and defaults, and what is said of mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from mta.config import fields
from mta.config.listener import Listener
from mta.config.load import changed_static, examine, from_json, load, to_json
from mta.config.schema import Config, Limit
from mta.config.values import Rate
from mta.errors import ConfigError

DESIGN = """\
home = "/var/lib/mailrace"
workers = 2

[[listener]]
listen = "0.0.0.0:25"
relay_from = ["10.0.0.0/8"]
control_headers = true
bare_newlines = "fix"

[[route]]
match = { tenant = "acme", domain = "*.example.org" }
pool = "bulk"
class = "bulk"
next_hop = "[192.0.2.1]:25"

[source.ip1]
address = "127.0.0.2"
ehlo = "mail1.example.com"

[source.ip2]
address = ["127.0.0.3", "::1"]

[pool.bulk]
sources = { ip1 = 3, ip2 = 1 }

[tenant.acme]
rate = "200/s, burst=400"
dsn = "off"

[retry]
schedule = ["1m", "5m", "20m", "1h"]
max_age = "2d"

[limits.site.default]
connections = 20
rate = "100/s"
"""


def write(folder: Path, text: str) -> Path:
    """A file with this text."""
    path = folder / "mailrace.toml"
    path.write_text(text)
    return path


def errors(folder: Path, text: str, *overrides: tuple[str, str]) -> list[str]:
    """What is said of a file, without the folder."""
    found = examine(write(folder, text), overrides, folder / "home").problems
    return [str(error).replace(f"{folder}/", "") for error in found]


def test_the_file_of_the_design(tmp_path: Path) -> None:
    config = load(write(tmp_path, DESIGN))
    assert config.home == "/var/lib/mailrace"
    assert config.spool == "/var/lib/mailrace/spool"
    assert config.log_dir == "/var/lib/mailrace/log"
    assert config.control.socket == "/var/lib/mailrace/control.sock"
    assert (config.workers, config.shards) == (2, 2)
    assert config.listener[0].relay_from == ("10.0.0.0/8",)
    assert config.listener[0].control_headers
    assert config.listener[0].bare_newlines == "fix"
    route = config.route[0]
    assert (route.match.tenant, route.match.domain, route.klass) == (
        "acme",
        "*.example.org",
        "bulk",
    )
    assert route.next_hop == ("[192.0.2.1]:25",)
    assert config.tenant["acme"].rate == Rate(200, 1, 400)
    assert config.tenant["acme"].dsn == "off"
    assert config.retry.schedule == (60, 300, 1200, 3600)
    assert config.retry.max_age == 172800
    assert config.limits.site["default"] == Limit(connections=20, rate=Rate(100, 1, 10))


def test_without_anything_it_is_safe(tmp_path: Path) -> None:
    config = load(None, home=tmp_path)
    assert [listener.listen for listener in config.listener] == ["127.0.0.1:2525"]
    assert config.listener[0].relay_from == ("127.0.0.0/8", "::1/128", "unix")
    assert config.listener[0].relay_domains == ()
    assert not config.listener[0].control_headers
    assert config.spool == f"{tmp_path}/spool"
    assert config.workers >= 1
    assert config.hostname


def test_home_of_the_caller_counts_before_the_file(tmp_path: Path) -> None:
    assert load(write(tmp_path, 'home = "/x"'), home=tmp_path).home == str(tmp_path)


@pytest.mark.parametrize("root", [True, False])
def test_default_home(monkeypatch: pytest.MonkeyPatch, root: bool) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0 if root else 1000)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/ann")
    expected = "/var/lib/mailrace" if root else "/home/ann/.local/state/mailrace"
    assert load(None).home == expected


def test_json_keeps_everything(tmp_path: Path) -> None:
    config = load(write(tmp_path, DESIGN + "[retry.fast]\nschedule = ['2s']\n"))
    assert from_json(to_json(config)) == config
    assert from_json(to_json(config)).retry.get("fast").schedule == (2,)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[smtpd]\nmax_sise = 1", "2: smtpd.max_sise: is not a setting (did you mean max_size?)"),
        ("\nmax_size = 1", "2: max_size: is not a setting (it is listener.N.max_size)"),
        ("[smtp]\n", "1: smtp: is not a setting (did you mean smtpd?)"),
        ("zzz = 1", "1: zzz: is not a setting (known are home, spool, log_dir,"),
        ("workers = 'two'", '1: workers: needs a whole number, not "two"'),
        ("workers = -1", "1: workers: is too small: 0 is the least"),
        ("workers = true", "1: workers: needs a whole number, not true"),
        ("[smtpd]\n\nmax_size = '5XB'", '3: smtpd.max_size: "5XB" is not a size: write it like'),
        ("smtpd = 3", "1: smtpd: needs a table, not 3"),
        ("listener = 3", "1: listener: needs [[listener]] tables, not 3"),
        ("[[listener]]\n", "1: listener.0.listen: is missing: Address to listen on: host:port"),
        ("[delivery]\noverlap = 1", "2: delivery.overlap: needs true or false, not 1"),
        ("[delivery]\nconvert_8bit='bounc'", "(did you mean bounce?)"),
        ("[delivery]\noutcome_interval='1m'", "is too large: 10s is the most"),
        ("[tenant]\nacme = 1", "2: tenant.acme: needs a table, not 1"),
        ("[tenant.acme]\nrate = 100", '2: tenant.acme.rate: "100" is not a rate: write it like'),
        ("[retry]\nschedule = ['1m', 'x']", '2: retry.schedule.1: "x" is not a duration'),
        ("[retry]\ninitial='1m'\nschedule=['1m']", "3: retry.schedule: conflicts with initial"),
        ("[retry.fast]\nschedul = ['1m']", "2: retry.fast.schedul: is not a setting (did you mean"),
        ("a = \n", "1: not TOML: Invalid value"),
        ("a = [1,\n", "2: not TOML: "),
    ],
)
def test_mistakes_name_file_line_and_key(tmp_path: Path, text: str, said: str) -> None:
    found = errors(tmp_path, text)
    assert any(said in error and error.startswith("mailrace.toml:") for error in found), found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[listener]]\nlisten='h:1'\n[[listener]]\nlisten='h:1'",
         "4: listener.1.listen: h:1 is already the address of listener.0"),
        ("[[listener]]\nlisten='nope'", '2: listener.0.listen: "nope" is not an address'),
        ("[[listener]]\nlisten='h:1'\nrelay_from=['10.0.0.1/8']",
         '3: listener.0.relay_from.0: "10.0.0.1/8" is not a network (did you mean 10.0.0.0/8?)'),
        ("[[listener]]\nlisten='h:1'\nrelay_from=['lan']", "(write it like 10.0.0.0/8,"),
        ("[[listener]]\nlisten='unix:/" + "x" * 107 + "'", "is longer than 107 octets"),
        ("listener = []", "1: listener: is empty"),
        ("[[route]]\nretry='fsat'\n[retry.fast]\nschedule=['1m']",
         '2: route.0.retry: there is no "fsat" (did you mean fast?)'),
        ("[[route]]\nnext_hop='a b'", '2: route.0.next_hop.0: "a b" is not a next hop'),
        ("[[route]]\nnext_hop='a:99999'", '"a:99999" is not a next hop'),
        ("[retry]\nschedule=['1m','10ms']", "2: retry.schedule.1: is too small: 1s"),
        ("[retry]\nmax_age = 5", "2: retry.max_age: 5 has no unit: write 5s, 5m, 5h or 5d"),
        ("[retry]\nschedule = ['1m', '90']", "2: retry.schedule.1: 90 has no unit: write 90s"),
        ("[smtpd]\ncommand_timeout = 1.5", "2: smtpd.command_timeout: 1.5 has no unit"),
        ("[limits.tenant.acme]\nrate='1/s'",
         "limits.tenant: is not a setting (its table is [tenant.NAME])"),
        ("[[listener]]\nlisten='unix:/m'\nmode='rw'", '3: listener.0.mode: "rw" is no file mode'),
        ("[retry]\ninitial='2h'", "retry.max_interval: is less than initial"),
        ("hostname='a b'", '1: hostname: "a b" is not a host name'),
        ("workers=4\nshards=2", "2: shards: 2 are too few (each of the 4 workers needs one)"),
        ("spool='/x'\nlog_dir='/x'", "2: log_dir: is the folder of the spool"),
        ("[control]\nsocket='/" + "x" * 107 + "'", "2: control.socket: "),
        ("[memory]\ncap='100MB'\n[queue]\nbody_memory='1GB'",
         "4: queue.body_memory: is more than memory.cap, 100MB"),
        ("[smtpd]\nmax_size='3GB'", "2: smtpd.max_size: is more than memory.cap"),
        ("[delivery]\nipv4=false\nipv6=false", "2: delivery.ipv4: and ipv6 are both off"),
        ("[limits.site.x]\nconnections=30000", "2: limits.site.x.connections: is more than"),
        ("[dns]\nnameservers=['dns.example']", '2: dns.nameservers.0: "dns.example" is not'),
        ("[dsn]\nfrom='me'", '2: dsn.from: "me" is not an address'),
        ("[control_headers]\ntenant=['X Y']", '2: control_headers.tenant.0: "X Y" is not'),
        ("[control_headers]\npool=['x-tenant']", '"x-tenant" already names the tenant'),
    ],
)  # fmt: skip
def test_settings_that_could_not_work(tmp_path: Path, text: str, said: str) -> None:
    found = errors(tmp_path, text)
    assert any(said in error for error in found), found


@pytest.mark.parametrize(
    "text",
    [
        "[dns]\nnameservers=['192.0.2.1', '127.0.0.1:5353', '[::1]:53', '::1']",
        "[[route]]\nnext_hop=['[192.0.2.1]:25', '127.0.0.1:2526', 'h', '[::1]:25', '[IPv6:::1]']",
        "[[route]]\nnext_hop='[192.0.2.1]:25, backup.example'",
        "[smtpd]\nsession_timeout = 0\ncontent_timeout = '0'",
        "[[listener]]\nlisten='h:0'\n[[listener]]\nlisten='h:0'",
    ],
)
def test_settings_that_work(tmp_path: Path, text: str) -> None:
    assert errors(tmp_path, text) == []


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    path = write(tmp_path, "workers = 'x'\nzzz = 1\n")
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert caught.value.where == f"{path}:1"
    assert [note.split(": ")[1] for note in caught.value.__notes__] == ["zzz"]


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none.toml: cannot be read: No such file .*config init"):
        load(tmp_path / "none.toml")


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is not a text in UTF-8"):
        load(path)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("workers", "3", 3),
        ("hostname", "2025", "2025"),
        ("hostname", '"a\\u002eb"', "a.b"),
        ("retry.max_age", "'2d'", 172800.0),
        ("delivery.overlap", "false", False),
        ("delivery.overlap", "on", True),
        ("delivery.outcome_interval", "20ms", 0.02),
        ("smtpd.max_size", "64KiB", 65536),
        ("retry.factor", "3", 3.0),
        ("retry.schedule", "1m,5m", (60, 300)),
        ("retry.schedule", '["1m", "5m"]', (60, 300)),
        ("limits.site.default.rate", "7/s", Rate(7, 1, 1)),
        ('limits.site."example.com".rate', "7/s", Rate(7, 1, 1)),
        ("limits.site.default.connections", "none", "none"),
        ("listener.0.listen", "h:9", "h:9"),
        ("listener.0.add_headers", "true", True),
        ("tenant.7.dsn", "off", "off"),
        ("control_headers.class", "X-A, X-B", ("X-A", "X-B")),
    ],
)
def test_every_kind_of_override(key: str, value: str, expected: object) -> None:
    config = load(None, [(key, value)])
    found = {fields.join(path): value for path, _, value in fields.walk(config)}
    assert found[fields.join(fields.split(key))] == expected


def test_overrides_count_before_the_file(tmp_path: Path) -> None:
    config = load(write(tmp_path, DESIGN), [("retry.max_age", "1d"), ("listener.0.listen", "h:7")])
    assert config.retry.max_age == 86400
    assert config.retry.schedule[0] == 60
    assert config.listener[0] == Listener(
        listen="h:7", relay_from=("10.0.0.0/8",), control_headers=True, bare_newlines="fix"
    )


def test_a_schedule_of_the_command_line_replaces_growth_of_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "[retry]\ninitial='5m'\njitter=0.5\n[retry.slow]\nfactor=9\n")
    retry = load(path, [("retry.schedule", "1m"), ("retry.slow.schedule", "7m")]).retry
    assert (retry.schedule, retry.jitter) == ((60,), 0.5)
    assert (retry.get("slow").schedule, retry.get("slow").jitter) == ((420,), 0.5)


def test_a_whole_list_can_be_refined(tmp_path: Path) -> None:
    given = [("listener", '[{listen = "h:1"}, {listen = "h:2"}]'), ("listener.1.max_size", "1MB")]
    config = load(write(tmp_path, DESIGN), given)
    assert config.listener == (Listener(listen="h:1"), Listener(listen="h:2", max_size=10**6))


@pytest.mark.parametrize(("cap", "bodies"), [("2GB", 256_000_000), ("100MB", 50_000_000)])
def test_body_memory_follows_the_cap(cap: str, bodies: int) -> None:
    assert load(None, [("memory.cap", cap)]).queue.body_memory == bodies


def test_routes_of_the_command_line_come_first_in_order(tmp_path: Path) -> None:
    routes = [("route.+", '{match={domain="a"}}'), ("route.+", '{match={domain="b"}}')]
    config = load(write(tmp_path, DESIGN), routes)
    assert [route.match.domain for route in config.route] == ["a", "b", "*.example.org"]
    text = DESIGN.replace('class = "bulk"', 'class = "bilk"')
    assert errors(tmp_path, text, *routes)[0].startswith("mailrace.toml:13: route.2.class: needs")


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        (
            "smtpd.max_sise",
            "1",
            "command line: smtpd.max_sise: is not a setting (did you mean max_",
        ),
        ("workers.x", "1", "command line: workers.x.x: needs"),
        (
            "listener.5.listen",
            "h:1",
            'there is no entry "5" (write listener.0 for the first,',
        ),
        ("listener.x.listen", "h:1", 'there is no entry "x"'),
        ("a..b", "1", '"a..b" is not a key'),
        ("", "1", '"" is not a key'),
        ("smtpd", "1", "command line: smtpd: needs a table, not 1"),
        ("workers", "many", 'command line: workers: needs a whole number, not "many"'),
        ("delivery.overlap", "maybe", "command line: delivery.overlap: needs true or false"),
        (
            "limits.site.example.com.rate",
            "1/s",
            "command line: limits.site.example.com: is not a s",
        ),
    ],
)
def test_mistakes_of_the_command_line(key: str, value: str, said: str) -> None:
    found = [str(error) for error in examine(None, [(key, value)]).problems]
    if key == "workers.x":
        said = "command line: workers: needs a whole number, not a table"
    assert any(said in error for error in found), found


def test_an_override_below_a_plain_value(tmp_path: Path) -> None:
    found = errors(tmp_path, "workers = 2", ("workers.x", "1"))
    assert found == ['command line: workers.x: "workers" has no settings below it']


def test_what_a_site_does_not_set_is_left_to_what_is_more_general() -> None:
    config = load(
        None,
        [("limits.site.default.rate", "9/s"), ('limits.site."a.b".connections', "3"),
         ("limits.site.c.rate", "none")],
    )  # fmt: skip
    sites = config.limits.site
    assert sites["default"] == Limit(connections=20, rate=Rate(9, 1, 1))
    assert sites["a.b"] == Limit(connections=3)
    assert sites["c"] == Limit(rate="none")
    assert from_json(to_json(config)).limits == config.limits
    keys = {fields.join(path) for path, *_ in fields.walk(config)}
    assert 'limits.site."a.b".rate' not in keys and "limits.site.c.rate" in keys


def test_retry_variants_start_from_the_table() -> None:
    config = load(
        None,
        [("retry.schedule", "1m"), ("retry.max_age", "1d"), ("retry.slow.initial", "5m"),
         ("retry.same.jitter", "0.5")],
    )  # fmt: skip
    slow, same = config.retry.get("slow"), config.retry.get("same")
    assert (slow.schedule, slow.initial, slow.max_age) == ((), 300, 86400)
    assert (same.schedule, same.jitter) == ((60,), 0.5)
    assert config.retry.get("") is config.retry


def test_changed_static_names_what_needs_a_restart() -> None:
    old = load(None, [("workers", "1")])
    same = load(None, [("workers", "1"), ("smtpd.max_size", "1MB"), ("listener.0.relay_from", "")])
    assert changed_static(old, same) == []
    more = load(None, [("workers", "2"), ("listener.1.listen", "h:1"), ("log.level", "5")])
    assert changed_static(old, more) == [
        "workers",
        "shards",
        "log.level",
        "listener.1.listen",
        "listener.1.mode",
    ]
    assert "listener.1.listen" in changed_static(more, old)


def test_every_setting_is_documented_and_has_a_kind() -> None:
    seen = set()
    for path, field in fields.settings():
        key = fields.join(path)
        assert len(field.meaning) > 5, key
        assert field.shape in ("list", "value", "map"), key
        seen.add(key)
    assert {"retry.NAME.schedule", "limits.site.NAME.rate", "listener.N.listen", "dsn.from"} <= seen


def test_every_default_can_be_written_and_read_back() -> None:
    config = load(None, home="/h")
    pairs = []
    for path, field, value in fields.walk(config):
        text = fields.text(field, value)
        pairs.append((fields.join(path), text))
    assert load(None, pairs) == config


def test_config_is_frozen() -> None:
    with pytest.raises(AttributeError):
        Config().workers = 3  # type: ignore[misc]
