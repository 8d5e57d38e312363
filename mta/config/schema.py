"""Every setting: its meaning, unit and default, and whether a reload applies it or a restart must.

docs/reference.md, the checks and `mta config show` are made from these declarations.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, field

from mta.config.values import Endpoint, Rate

DEFAULT_LISTEN = "127.0.0.1:2525"
LOOPBACK = ("127.0.0.0/8", "::1/128", "unix")

ClassName = Literal["transactional", "normal", "bulk"]
Lifted = Literal["none"]  # an explicit "no limit", which counts before what is more general


class Kind:
    """Marks how a value is written where its type alone does not tell."""

    def __init__(self, name: str, unit: str) -> None:
        self.name, self.unit = name, unit


Seconds = Annotated[float, Kind("duration", "duration (50ms, 30s, 5m, 2d)")]
Octets = Annotated[int, Kind("size", "size (64KiB, 10MB)")]
Path = Annotated[str, Kind("path", "path")]
Secret = Annotated[str, Kind("secret", "text, shown as ***")]
Rated = Annotated[Rate, Kind("rate", "rate (100/s, burst=400)")]


def doc(
    meaning: str,
    *,
    unit: str = "",
    static: bool = False,
    ge: float | None = None,
    le: float | None = None,
) -> Meta:
    """The meaning of a setting; `static` ones need a restart, the others follow a reload."""
    extra = {"reload": not static, "unit": unit, "ge": ge, "le": le}
    return Meta(description=meaning, extra=extra)


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of the file."""


class Listener(Section, frozen=True):
    """A place where mail comes in. Without any, 127.0.0.1:2525."""

    listen: Annotated[str, doc("its address: host:port, [v6]:port or unix:/path", static=True)]
    relay_from: Annotated[
        tuple[str, ...],
        doc(
            "client networks that may send to any recipient, none if empty; `unix` stands for"
            " clients of a Unix socket",
            unit="networks",
        ),
    ] = LOOPBACK
    relay_domains: Annotated[
        tuple[str, ...],
        doc("recipient domains taken from every client, `*.example.org` too", unit="domains"),
    ] = ()
    proxy_from: Annotated[
        tuple[str, ...],
        doc(
            "proxies whose connections begin with a PROXY protocol header, version 1 or 2; no"
            " others are taken here, and rules judge the address that the header gives",
            unit="networks",
        ),
    ] = ()
    xclient_from: Annotated[
        tuple[str, ...],
        doc(
            "proxies that may name their client by XCLIENT; rules judge the address it gives,"
            " and the proxy's own may not relay",
            unit="networks",
        ),
    ] = ()
    control_headers: Annotated[
        bool, doc("believe the control headers of this listener's clients; removed anyway")
    ] = False
    bare_newlines: Annotated[
        Literal["reject", "fix"],
        doc("a CR or LF that stands alone: refuse it and end the session, or mend it to CRLF"),
    ] = "reject"
    handler: Annotated[
        str | None,
        doc(
            "policy in Python, written for aiosmtpd: `module:Class` or `/path/file.py:Class`;"
            " a file is read again at a reload (docs/aiosmtpd.md)"
        ),
    ] = None
    add_headers: Annotated[bool, doc("add Date and Message-ID where they are missing")] = False
    max_size: Annotated[
        Octets | None, doc("largest message here; as `smtpd.max_size` if not given", ge=1)
    ] = None
    max_recipients: Annotated[
        int | None,
        doc("recipients per message here; as `smtpd.max_recipients` if not given", ge=1),
    ] = None

    @property
    def endpoint(self) -> Endpoint:
        """The parsed address."""
        return Endpoint.parse(self.listen)


class Smtpd(Section, frozen=True):
    """Limits of the SMTP server, for all listeners."""

    max_command_line: Annotated[
        int, doc("longest command line with its CRLF (RFC 5321 4.5.3.1.4)", unit="octets", ge=512)
    ] = 2048
    max_text_line: Annotated[
        int, doc("longest line of a message; 0 is no limit", unit="octets", ge=0)
    ] = 0
    max_size: Annotated[Octets, doc("largest message; announced as SIZE", ge=1)] = 50_000_000
    max_recipients: Annotated[
        int, doc("recipients per message; 452 to the rest (RFC 5321 4.5.3.1.8)", ge=1)
    ] = 1000
    max_errors: Annotated[int, doc("errors after which a session is closed with 421", ge=1)] = 20
    max_messages: Annotated[
        int, doc("messages after which a session is closed with 421; 0 is no limit", ge=0)
    ] = 0
    max_sessions: Annotated[
        int, doc("sessions of the node, all listeners and workers; 421 to more", ge=1)
    ] = 10_000
    max_sessions_per_network: Annotated[
        int,
        doc(
            "sessions of one client network, an equal share on each worker;"
            " clients in `relay_from` are not counted",
            ge=1,
        ),
    ] = 100
    network_prefix_v4: Annotated[
        int, doc("prefix length that makes a client network of IPv4", unit="bits", ge=1, le=32)
    ] = 32
    network_prefix_v6: Annotated[
        int, doc("prefix length that makes a client network of IPv6", unit="bits", ge=1, le=128)
    ] = 64
    disable: Annotated[
        tuple[str, ...],
        doc(
            "extensions that are not offered: "
            "PIPELINING, SIZE, 8BITMIME, ENHANCEDSTATUSCODES, CHUNKING, BINARYMIME, SMTPUTF8, DSN,"
            " LIMITS, FUTURERELEASE, MT-PRIORITY",
            unit="names",
        ),
    ] = ()
    max_hold: Annotated[
        Seconds,
        doc("how long clients that may relay can have a message held (RFC 4865)", ge=0, le=9e8),
    ] = 1_209_600.0
    priority_transactional: Annotated[
        int, doc("MT-PRIORITY (RFC 6710) from which mail is transactional", ge=-9, le=10)
    ] = 3
    priority_bulk: Annotated[int, doc("MT-PRIORITY up to which mail is bulk", ge=-10, le=9)] = -3
    max_hops: Annotated[
        int, doc("Received fields that mean a loop (RFC 5321 6.3): 554 5.4.6", ge=1)
    ] = 50
    pipeline_limit: Annotated[
        Octets, doc("commands read ahead of a pending answer; then reading pauses", ge=1024)
    ] = 65_536
    command_timeout: Annotated[
        Seconds, doc("for one whole command line to arrive (RFC 5321 4.5.3.2.7)", ge=0.001)
    ] = 300.0
    data_timeout: Annotated[
        Seconds, doc("between two pieces of a message (RFC 5321 4.5.3.2.5)", ge=0.001)
    ] = 180.0
    content_timeout: Annotated[
        Seconds, doc("for a whole message, against clients that drip; 0 is no limit", ge=0)
    ] = 1800.0
    proxy_timeout: Annotated[
        Seconds, doc("for the PROXY protocol header, where `proxy_from` asks for one", ge=0.001)
    ] = 5.0
    session_timeout: Annotated[
        Seconds, doc("for a whole session, closed at a message boundary; 0 is no limit", ge=0)
    ] = 0.0


class ControlHeaders(Section, frozen=True):
    """Names of the header fields that steer a message; the first one present counts."""

    tenant: Annotated[tuple[str, ...], doc("name the tenant", unit="names")] = ("X-Tenant",)
    campaign: Annotated[tuple[str, ...], doc("name the campaign", unit="names")] = (
        "X-Campaign",
        "X-job",
    )
    pool: Annotated[tuple[str, ...], doc("name the egress pool", unit="names")] = (
        "X-Pool",
        "X-virtual-MTA",
    )
    klass: Annotated[
        tuple[str, ...], doc("name the class: transactional, normal or bulk", unit="names")
    ] = field(default=("X-Class",), name="class")


class Delivery(Section, frozen=True):
    """Outgoing connections and what is said on them."""

    max_connections: Annotated[int, doc("outgoing connections of the node", ge=1)] = 20_000
    messages_per_connection: Annotated[
        int, doc("messages after which a connection is closed; 0 is no limit", ge=0)
    ] = 1000
    idle_timeout: Annotated[Seconds, doc("a connection without mail is closed after", ge=0)] = 5.0
    outcome_interval: Annotated[
        Seconds,
        doc("outcomes are synced at least so often: what a crash can repeat", static=True, le=10),
    ] = 0.05
    overlap: Annotated[
        bool, doc("send the next envelope with the final dot (RFC 2920): one round trip a message")
    ] = True
    recipients_per_transaction: Annotated[
        int, doc("recipients of one message sent together", ge=1, le=1000)
    ] = 100
    group_by: Annotated[
        Literal["domain", "site"],
        doc(
            "which recipients of one message share a transaction on an MX route: those of one"
            " domain, or of all domains with the same servers (some servers refuse that, Google"
            " with 451 4.3.0); a static next hop takes all of its recipients together",
            static=True,
        ),
    ] = "domain"
    convert_8bit: Annotated[
        Literal["bounce", "convert"],
        doc("8-bit content for a server without 8BITMIME: bounce with 5.6.3, or convert it"),
    ] = "bounce"
    default_pool: Annotated[
        str,
        doc(
            "egress pool of mail that names none, or one that does not exist;"
            " `[source.default]` if not given",
            unit="name",
        ),
    ] = ""
    convert_binary: Annotated[
        Literal["bounce", "convert"],
        doc("BINARYMIME content for a server without it: bounce with 5.6.3, or convert it"),
    ] = "convert"
    chunking: Annotated[
        Literal["never", "needed", "always", "eager"],
        doc(
            "content leaves by BDAT (RFC 3030): never, where it is binary, where the server has"
            " CHUNKING, or there together with its envelope"
        ),
    ] = "needed"
    disable: Annotated[
        tuple[str, ...],
        doc("extensions of servers that are not used, by their EHLO keywords", unit="names"),
    ] = ()
    ipv4: Annotated[bool, doc("connect over IPv4")] = True
    ipv6: Annotated[bool, doc("connect over IPv6")] = True
    connect_timeout: Annotated[Seconds, doc("to open a connection", ge=0.001)] = 30.0
    greeting_timeout: Annotated[
        Seconds, doc("for the 220 greeting (RFC 5321 4.5.3.2.1)", ge=0.001)
    ] = 300.0
    ehlo_timeout: Annotated[Seconds, doc("for the reply to EHLO or HELO", ge=0.001)] = 300.0
    mail_timeout: Annotated[
        Seconds, doc("for the reply to MAIL (RFC 5321 4.5.3.2.2)", ge=0.001)
    ] = 300.0
    rcpt_timeout: Annotated[
        Seconds, doc("for the reply to RCPT (RFC 5321 4.5.3.2.3)", ge=0.001)
    ] = 300.0
    data_timeout: Annotated[
        Seconds, doc("for the reply to DATA (RFC 5321 4.5.3.2.4)", ge=0.001)
    ] = 120.0
    content_timeout: Annotated[
        Seconds, doc("for a piece of content to leave (RFC 5321 4.5.3.2.5)", ge=0.001)
    ] = 180.0
    dot_timeout: Annotated[
        Seconds, doc("for the reply to the final dot (RFC 5321 4.5.3.2.6)", ge=0.001)
    ] = 600.0
    quit_timeout: Annotated[Seconds, doc("for the reply to QUIT or RSET", ge=0.001)] = 5.0


class Queue(Section, frozen=True):
    """What waits in memory; the rest waits on disk."""

    lane_items: Annotated[
        int, doc("recipients that one lane keeps in memory, per worker", static=True, ge=1)
    ] = 1000
    memory_items: Annotated[
        int, doc("recipients that all lanes keep in memory, per worker", static=True, ge=1)
    ] = 200_000
    body_memory: Annotated[
        Octets,
        doc(
            "contents in memory, all workers: what has come of those being received (452 when used"
            " up, 421 to the idlest), or kept until their first attempt; if 0 a quarter of"
            " `memory.cap`, at most 256MB, and where the cap allows two of the largest messages",
            static=True,
            ge=0,
        ),
    ] = 0
    dead_letter_days: Annotated[
        int, doc("dead letters (bounces of bounces) are kept", unit="days", ge=1)
    ] = 14


class Pickup(Section, frozen=True):
    """A folder whose files are taken as messages (docs/service.md); `mta sendmail` uses it too."""

    folder: Annotated[
        Path,
        doc("the folder; HOME/pickup if not given. Who may write in it may relay", static=True),
    ] = ""
    interval: Annotated[
        Seconds, doc("time between two looks; 0 does not look", static=True, ge=0)
    ] = 1.0
    control_headers: Annotated[
        bool, doc("believe the control headers of its files; removed anyway")
    ] = False


class Memory(Section, frozen=True):
    """The bound on memory."""

    cap: Annotated[
        Octets,
        doc("messages, queues and spool caches of the node; 452 when used up", static=True, ge=1),
    ] = 2_000_000_000


class Disk(Section, frozen=True):
    """The bound on disk space."""

    min_free: Annotated[
        Octets,
        doc(
            "kept free on the disks of spool and log: new mail gets 452 before what the mail that "
            "is there will still take would use it",
            ge=0,
        ),
    ] = 500_000_000


class Retry(Section, frozen=True):
    """When to try again: a schedule, or growing intervals."""

    schedule: Annotated[
        tuple[Seconds, ...],
        doc("waiting times after each failed attempt, the last repeats; instead of `initial`"),
    ] = ()
    initial: Annotated[Seconds, doc("first waiting time", ge=1)] = 60.0
    factor: Annotated[float, doc("each waiting time is so many times the last", ge=1)] = 2.0
    max_interval: Annotated[Seconds, doc("longest waiting time", ge=1)] = 3600.0
    jitter: Annotated[
        float, doc("share of a waiting time that is random, so that retries spread", ge=0, le=1)
    ] = 0.1
    max_age: Annotated[Seconds, doc("age at which a recipient expires and bounces", ge=1)] = (
        432_000.0
    )


class RetryTable(Retry, frozen=True):
    """When to try again; `[retry.NAME]` are variants for routes and start from these values."""

    named: Annotated[dict[str, Retry], doc("variants, chosen by `route.retry`")] = {}

    def get(self, name: str) -> Retry:
        """The variant of a route; "" is the table itself."""
        return self.named[name] if name else self


class Match(Section, frozen=True):
    """What a route is for; all that is given must match, `*` stands for anything."""

    domain: Annotated[str, doc("recipient domain", unit="pattern")] = "*"
    tenant: Annotated[str, doc("tenant", unit="pattern")] = "*"
    campaign: Annotated[str, doc("campaign", unit="pattern")] = "*"
    sender: Annotated[str, doc("envelope sender", unit="pattern")] = "*"


class Route(Section, frozen=True):
    """Where mail goes; the first route that matches counts."""

    match: Annotated[Match, doc("what it is for")] = Match()
    next_hop: Annotated[
        tuple[str, ...],
        doc(
            "servers in order: [192.0.2.1]:25 or [host]:25 is connected to, host:25 is looked up"
            " by MX first; without any, the MX of the recipient's domain",
            unit="hosts",
        ),
    ] = ()
    transport: Annotated[
        str,
        doc("name of a `[transport.NAME]` that takes the mail instead of a server", unit="name"),
    ] = ""
    port: Annotated[
        int, doc("port where a next hop names none, and of MX hosts", ge=1, le=65535)
    ] = 25
    pool: Annotated[
        str, doc("egress pool, or one source; the message's own if not given", unit="name")
    ] = ""
    klass: Annotated[
        ClassName | None, doc("class; the message's own if not given", unit="class")
    ] = field(default=None, name="class")
    retry: Annotated[str, doc("name of a `[retry.NAME]`", unit="name")] = ""


class Transport(Section, frozen=True):
    """A way out other than SMTP; its connections and rate are limited as those of a site NAME."""

    kind: Annotated[
        Literal["lmtp", "maildir", "pipe", "http", "discard", "file"],
        doc("what takes the mail; each has options of its own, named with it below"),
    ]
    address: Annotated[
        tuple[str, ...],
        doc(
            "lmtp: servers in order, unix:/path or host:port (RFC 2033; port 24 if none is given)",
            unit="servers",
        ),
    ] = ()
    path: Annotated[
        Path,
        doc(
            "maildir: folder; file: the mbox, or the folder of files; `{local}`, `{domain}` and"
            " `{tenant}` stand for the recipient's, the local part in lower case; made if missing"
        ),
    ] = ""
    append: Annotated[
        bool, doc("file: append to an mbox (RFC 4155); else each message is a file NAME.eml")
    ] = True
    command: Annotated[
        tuple[str, ...],
        doc(
            "pipe: program and arguments, no shell; the message is its standard input, the exit"
            " code counts as in sysexits.h; `{recipient}`, `{sender}`, `{local}`, `{domain}`,"
            " `{tenant}` and `{id}` are filled in",
            unit="texts",
        ),
    ] = ()
    user: Annotated[
        str, doc("pipe: run as this user, where the server is root; its own user if not given")
    ] = ""
    url: Annotated[str, doc("http: where to POST", unit="URL")] = ""
    format: Annotated[
        Literal["raw", "json"],
        doc("http: the message as it is, or a JSON document with its parts decoded"),
    ] = "raw"
    token: Annotated[Secret, doc("http: bearer token (RFC 6750)")] = ""
    token_file: Annotated[
        Path, doc("http: file that holds the bearer token, read at start and reload")
    ] = ""
    headers: Annotated[dict[str, Secret], doc("http: further header fields", unit="texts")] = {}
    timeout: Annotated[
        Seconds,
        doc("pipe: for one run; http: for one request; file: for a lock on the mbox", ge=0.001),
    ] = 60.0


class Source(Section, frozen=True):
    """From where mail leaves. `[source.default]` is for mail without a pool."""

    address: Annotated[
        tuple[str, ...],
        doc(
            "local address that connections come from: one IPv4, one IPv6 or both; servers that"
            " have only the other family are not connected to. Without any, the system chooses",
            unit="IP addresses",
        ),
    ] = ()
    ehlo: Annotated[
        str, doc("our name in EHLO on its connections; `hostname` if not given", unit="host name")
    ] = ""


class Pool(Section, frozen=True):
    """Sources that share the mail of routes and messages which name the pool."""

    sources: Annotated[
        dict[str, int],
        doc(
            "sources and their weights: `{ ip1 = 3, ip2 = 1 }` gives ip1 three of four, towards"
            " each destination; a source with a full lane leaves its turn to others",
            unit="weights",
            ge=1,
        ),
    ]


class Tenant(Section, frozen=True):
    """What holds for the mail of one tenant."""

    rate: Annotated[Rated | None, doc("messages that leave, all destinations")] = None
    dsn: Annotated[Literal["on", "off"], doc("notifications to its senders")] = "on"


class Limit(Section, frozen=True):
    """Limits of one destination, counted over all workers of the node.

    NAME is `default`, a site's name as `mta queue top` shows it, the recipient domain or MX host
    `"example.com"`, all names below a domain `"*.example.com"`, every name `"*"`, the address of a
    static next hop `"192.0.2.1:25"`, or the name of a transport. The most particular NAME counts
    for each limit, and of several names that a site goes by, the strictest; `default` counts where
    none of them says anything.
    """

    connections: Annotated[
        int | Lifted | None, doc('connections; "none" lifts the limit of `default`', ge=1)
    ] = None
    rate: Annotated[
        Rated | Lifted | None,
        doc('messages, counted as transactions; "none" lifts the limit of `default`'),
    ] = None


class Limits(Section, frozen=True):
    """Limits that are hard, counted over all workers."""

    site: Annotated[
        dict[str, Limit],
        doc("of one site, by its name or a domain; `default` counts where nothing else is set"),
    ] = field(default_factory=lambda: {"default": Limit(connections=20)})


class Dns(Section, frozen=True):
    """Looking up names."""

    nameservers: Annotated[
        tuple[str, ...],
        doc("servers as 192.0.2.53, 127.0.0.1:5353 or [v6]:53; those of /etc/resolv.conf if none"),
    ] = ()
    timeout: Annotated[Seconds, doc("for one answer of one server", ge=0.001)] = 3.0
    attempts: Annotated[int, doc("rounds over the servers", ge=1, le=10)] = 2
    cache_size: Annotated[int, doc("names kept per worker", static=True, ge=100)] = 100_000
    min_ttl: Annotated[Seconds, doc("an answer is kept at least", ge=0)] = 5.0
    max_ttl: Annotated[Seconds, doc("an answer is kept at most", ge=1)] = 86_400.0


class Log(Section, frozen=True):
    """The record of every event, in zstd segments."""

    segment_size: Annotated[Octets, doc("a segment is closed at", static=True, ge=65_536)] = (
        64_000_000
    )
    segment_age: Annotated[Seconds, doc("a segment is closed after", static=True, ge=1)] = 3600.0
    retain_size: Annotated[
        Octets, doc("closed segments of the node are removed above; 0 keeps all", ge=0, static=True)
    ] = 20_000_000_000
    retain_age: Annotated[
        Seconds, doc("closed segments are removed after; 0 keeps all", ge=0, static=True)
    ] = 2_592_000.0
    level: Annotated[int, doc("zstd level", static=True, ge=1, le=19)] = 1


class Dsn(Section, frozen=True):
    """Notifications of failure, delay and success (RFC 3464)."""

    sender: Annotated[str, doc("From address; mailer-daemon@HOSTNAME if not given")] = field(
        default="", name="from"
    )
    postmaster: Annotated[
        str, doc("whom the text says to ask; postmaster@HOSTNAME if not given")
    ] = ""
    content: Annotated[
        Literal["headers", "full"],
        doc("how much of a failed message goes back, if RET does not say"),
    ] = field(default="headers", name="return")
    max_body: Annotated[Octets, doc("most of the message that goes back", ge=0)] = 65_536
    delay_after: Annotated[
        Seconds,
        doc("age at which a delay is reported, once, to senders who asked for it; 0: never", ge=0),
    ] = 14_400.0
    delay_unasked: Annotated[
        bool, doc("report delays also where the client did not say what is wanted (NOTIFY)")
    ] = False


class Hooks(Section, frozen=True):
    """Python functions of your own that are asked on a message's way: docs/hooks.md."""

    file: Annotated[
        Path, doc("the hook file; read again when it changes. Its code runs as the server does")
    ] = ""
    timeout: Annotated[
        Seconds, doc("for the answer of a hook; without one the message is deferred", ge=0.001)
    ] = 5.0
    threads: Annotated[
        int, doc("plain functions that run at once, per worker; async ones are not counted", ge=1)
    ] = 8
    refresh: Annotated[
        Seconds,
        doc("answers of `queue_settings` and `choose_route` are asked anew after", ge=0.1),
    ] = 60.0


class Table(Section, frozen=True):
    """A lookup table for hooks: `await tables["NAME"].get(key)`."""

    kind: Annotated[
        Literal["file", "cidr", "regex", "sqlite", "sql", "ldap", "redis"],
        doc("where it is; each kind has options of its own, named with it below"),
    ]
    file: Annotated[
        Path,
        doc(
            "file: lines `key value`; cidr: `192.0.2.0/24 value`; regex: `/expression/i value`;"
            " sqlite: the database. Read again when it changes"
        ),
    ] = ""
    query: Annotated[
        str,
        doc("sqlite, sql: SELECT with the driver's mark (`?`, `%s`) or name (`:key`) for the key"),
    ] = ""
    driver: Annotated[str, doc("sql: a DB-API module, such as psycopg or pymysql")] = ""
    dsn: Annotated[str, doc("sql: what its connect() takes first")] = ""
    arguments: Annotated[
        dict[str, str], doc("sql: named arguments of its connect(); digits are a number")
    ] = {}
    url: Annotated[str, doc("ldap: ldap://host or ldaps://host; redis: redis://host:6379/0")] = ""
    key: Annotated[str, doc("redis: the key to GET, `{key}` is ours")] = "{key}"
    base: Annotated[str, doc("ldap: the entry below which is searched")] = ""
    filter: Annotated[str, doc("ldap: what is searched for, such as (mail={key})")] = ""
    attribute: Annotated[str, doc("ldap: whose first value is given")] = ""
    bind_dn: Annotated[str, doc("ldap: as whom; anonymous if not given")] = ""
    password_file: Annotated[Path, doc("ldap: file with the password")] = ""
    ttl: Annotated[Seconds, doc("answers are kept, also that there is none", ge=0)] = 60.0
    size: Annotated[int, doc("answers kept per worker", ge=1)] = 10_000
    timeout: Annotated[Seconds, doc("for an answer", ge=0.001)] = 3.0
    connections: Annotated[int, doc("look-ups at once, per worker", ge=1, le=1000)] = 4


class Http(Section, frozen=True):
    """Where monitoring asks: `/metrics` (Prometheus), `/healthz` and `/readyz`."""

    listen: Annotated[
        str,
        doc(
            "host:port, [v6]:port or unix:/path; off if not given. Whoever reaches it can read"
            " all figures",
            unit="address",
            static=True,
        ),
    ] = ""


class Control(Section, frozen=True):
    """The socket through which `mta` commands reach the server."""

    socket: Annotated[Path, doc("Unix socket; HOME/control.sock if not given", static=True)] = ""


class Config(Section, frozen=True):
    """Settings before the first table."""

    home: Annotated[
        Path,
        doc(
            "folder of spool, log, state and control socket; /var/lib/mailrace for root,"
            " else ~/.local/state/mailrace",
            static=True,
        ),
    ] = ""
    spool: Annotated[Path, doc("folder of the spool; HOME/spool if not given", static=True)] = ""
    log_dir: Annotated[Path, doc("folder of the log; HOME/log if not given", static=True)] = ""
    user: Annotated[
        str,
        doc(
            "whom to become when started as root, once the addresses are bound; folders that are"
            " missing are made for this user",
            unit="user name",
            static=True,
        ),
    ] = ""
    group: Annotated[
        str, doc("its group; the user's own if not given", unit="group name", static=True)
    ] = ""
    workers: Annotated[
        int, doc("worker processes; one per core if 0", static=True, ge=0, le=64)
    ] = 0
    shards: Annotated[int, doc("spool shards; one per worker if 0", static=True, ge=0, le=4096)] = 0
    hostname: Annotated[
        str,
        doc(
            "our name in greeting, EHLO, Received and log; the machine's if not given", static=True
        ),
    ] = ""
    grace: Annotated[Seconds, doc("time that sessions and deliveries have to end at a stop")] = 10.0
    listener: tuple[Listener, ...] = (Listener(listen=DEFAULT_LISTEN),)
    smtpd: Smtpd = Smtpd()
    control_headers: ControlHeaders = ControlHeaders()
    delivery: Delivery = Delivery()
    queue: Queue = Queue()
    pickup: Pickup = Pickup()
    memory: Memory = Memory()
    disk: Disk = Disk()
    retry: RetryTable = RetryTable()
    route: tuple[Route, ...] = ()
    transport: dict[str, Transport] = {}
    source: dict[str, Source] = {}
    pool: dict[str, Pool] = {}
    tenant: dict[str, Tenant] = {}
    limits: Limits = Limits()
    dns: Dns = Dns()
    log: Log = Log()
    dsn: Dsn = Dsn()
    hooks: Hooks = Hooks()
    table: dict[str, Table] = {}
    http: Http = Http()
    control: Control = Control()

    @property
    def largest(self) -> int:
        """The largest message that any listener takes, octets."""
        sizes = [listener.max_size or 0 for listener in self.listener]
        return max([self.smtpd.max_size, *sizes])
