"""Every setting: its meaning, unit and default, and whether a reload applies it or a restart must.

docs/reference.md, the checks and `mta config show` are made from these declarations.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import field

from mta.config.declare import Octets, Path, Rated, Seconds, Section, doc
from mta.config.kinds import Table, Transport
from mta.config.listener import DEFAULT_LISTEN, Listener

ClassName = Literal["transactional", "normal", "bulk"]
Lifted = Literal["none"]  # an explicit "no limit", which counts before what is more general


class Smtpd(Section, frozen=True):
    """Limits of the SMTP server, for all listeners."""

    max_command_line: Annotated[
        int, doc("Longest command line, including CRLF (RFC 5321 4.5.3.1.4)", unit="octets", ge=512)
    ] = 2048
    max_text_line: Annotated[
        int, doc("Longest line of a message; 0 = no limit", unit="octets", ge=0)
    ] = 0
    max_size: Annotated[Octets, doc("Largest message, announced as SIZE", ge=1)] = 50_000_000
    max_recipients: Annotated[
        int, doc("Most recipients per message; further ones get 452 (RFC 5321 4.5.3.1.8)", ge=1)
    ] = 1000
    max_errors: Annotated[int, doc("Close a session with 421 after this many errors", ge=1)] = 20
    max_messages: Annotated[
        int, doc("Close a session with 421 after this many messages; 0 = no limit", ge=0)
    ] = 0
    max_sessions: Annotated[
        int,
        doc("Most open sessions, over all listeners and workers; further clients get 421", ge=1),
    ] = 10_000
    max_sessions_per_network: Annotated[
        int,
        doc(
            "Most open sessions per client network, shared equally by the workers; "
            "clients in `relay_from` are not counted",
            ge=1,
        ),
    ] = 100
    network_prefix_v4: Annotated[
        int, doc("Prefix length that defines a client network in IPv4", unit="bits", ge=1, le=32)
    ] = 32
    network_prefix_v6: Annotated[
        int, doc("Prefix length that defines a client network in IPv6", unit="bits", ge=1, le=128)
    ] = 64
    disable: Annotated[
        tuple[str, ...],
        doc(
            "Extensions not to offer: PIPELINING, SIZE, 8BITMIME, ENHANCEDSTATUSCODES, "
            "CHUNKING, BINARYMIME, SMTPUTF8, DSN, LIMITS, FUTURERELEASE, MT-PRIORITY",
            unit="names",
        ),
    ] = ()
    max_hold: Annotated[
        Seconds,
        doc(
            "Longest delay that a client allowed to relay may request by FUTURERELEASE (RFC 4865)",
            ge=0,
            le=9e8,
        ),
    ] = 1_209_600.0
    priority_transactional: Annotated[
        int, doc("Lowest MT-PRIORITY (RFC 6710) that makes mail transactional", ge=-9, le=10)
    ] = 3
    priority_bulk: Annotated[
        int, doc("Highest MT-PRIORITY that makes mail bulk", ge=-10, le=9)
    ] = -3
    max_hops: Annotated[
        int,
        doc(
            "Reject a message with this many Received fields as a loop: 554 5.4.6 (RFC 5321 6.3)",
            ge=1,
        ),
    ] = 50
    pipeline_limit: Annotated[
        Octets,
        doc(
            "Most pipelined input to buffer while a reply is pending; then reading pauses", ge=1024
        ),
    ] = 65_536
    command_timeout: Annotated[
        Seconds, doc("Time allowed for a complete command line (RFC 5321 4.5.3.2.7)", ge=0.001)
    ] = 300.0
    data_timeout: Annotated[
        Seconds, doc("Time allowed between two blocks of a message (RFC 5321 4.5.3.2.5)", ge=0.001)
    ] = 180.0
    content_timeout: Annotated[
        Seconds,
        doc("Time allowed for a complete message, against slow senders; 0 = no limit", ge=0),
    ] = 1800.0
    proxy_timeout: Annotated[
        Seconds,
        doc(
            "Time allowed for the PROXY protocol header, where `proxy_from` requires one", ge=0.001
        ),
    ] = 5.0
    session_timeout: Annotated[
        Seconds,
        doc("Close a session after this time, at the next message boundary; 0 = no limit", ge=0),
    ] = 0.0


class ControlHeaders(Section, frozen=True):
    """Names of the header fields that control a message; the first one present counts."""

    tenant: Annotated[tuple[str, ...], doc("Header fields that name the tenant", unit="names")] = (
        "X-Tenant",
    )
    campaign: Annotated[
        tuple[str, ...], doc("Header fields that name the campaign", unit="names")
    ] = (
        "X-Campaign",
        "X-job",
    )
    pool: Annotated[
        tuple[str, ...], doc("Header fields that name the egress pool", unit="names")
    ] = (
        "X-Pool",
        "X-virtual-MTA",
    )
    klass: Annotated[
        tuple[str, ...],
        doc("Header fields that name the class: transactional, normal or bulk", unit="names"),
    ] = field(default=("X-Class",), name="class")


class Delivery(Section, frozen=True):
    """Outgoing connections and the SMTP spoken on them."""

    max_connections: Annotated[int, doc("Most outgoing connections of the node", ge=1)] = 20_000
    messages_per_connection: Annotated[
        int, doc("Close a connection after this many messages; 0 = never", ge=0)
    ] = 1000
    idle_timeout: Annotated[
        Seconds, doc("Close a connection that has been idle for this long", ge=0)
    ] = 5.0
    outcome_interval: Annotated[
        Seconds,
        doc(
            "Sync delivery results this often; a crash may resend up to this much",
            static=True,
            le=10,
        ),
    ] = 0.05
    overlap: Annotated[
        bool,
        doc(
            "Send the next envelope together with the final dot (RFC 2920), which saves a"
            " round trip per message"
        ),
    ] = True
    recipients_per_transaction: Annotated[
        int, doc("Most recipients of a message to send in one transaction", ge=1, le=1000)
    ] = 100
    group_by: Annotated[
        Literal["domain", "site"],
        doc(
            "Which recipients of a message share a transaction on an MX route: those of "
            "one `domain`, or of all domains with the same servers (`site`), which some "
            "refuse (Google: 451 4.3.0). A static next hop takes all of its recipients "
            "together",
            static=True,
        ),
    ] = "domain"
    convert_8bit: Annotated[
        Literal["bounce", "convert"],
        doc("8-bit content for a server without 8BITMIME: `bounce` it with 5.6.3 or `convert` it"),
    ] = "bounce"
    default_pool: Annotated[
        str,
        doc(
            "Egress pool for mail that names none, or an unknown one; default: `[source.default]`",
            unit="name",
        ),
    ] = ""
    convert_binary: Annotated[
        Literal["bounce", "convert"],
        doc("BINARYMIME content for a server without it: `bounce` it with 5.6.3 or `convert` it"),
    ] = "convert"
    chunking: Annotated[
        Literal["never", "needed", "always", "eager"],
        doc(
            "Send content by BDAT (RFC 3030): `never`; `needed`, only for binary content;"
            " `always`, where the server offers CHUNKING; `eager`, there together with "
            "the envelope"
        ),
    ] = "needed"
    disable: Annotated[
        tuple[str, ...],
        doc("Extensions of servers not to use, by EHLO keyword", unit="names"),
    ] = ()
    ipv4: Annotated[bool, doc("Connect over IPv4")] = True
    ipv6: Annotated[bool, doc("Connect over IPv6")] = True
    connect_timeout: Annotated[Seconds, doc("Time allowed to open a connection", ge=0.001)] = 30.0
    greeting_timeout: Annotated[
        Seconds, doc("Time allowed for the 220 greeting (RFC 5321 4.5.3.2.1)", ge=0.001)
    ] = 300.0
    ehlo_timeout: Annotated[
        Seconds, doc("Time allowed for the reply to EHLO or HELO", ge=0.001)
    ] = 300.0
    mail_timeout: Annotated[
        Seconds, doc("Time allowed for the reply to MAIL (RFC 5321 4.5.3.2.2)", ge=0.001)
    ] = 300.0
    rcpt_timeout: Annotated[
        Seconds, doc("Time allowed for the reply to RCPT (RFC 5321 4.5.3.2.3)", ge=0.001)
    ] = 300.0
    data_timeout: Annotated[
        Seconds, doc("Time allowed for the reply to DATA (RFC 5321 4.5.3.2.4)", ge=0.001)
    ] = 120.0
    content_timeout: Annotated[
        Seconds, doc("Time allowed to send a block of content (RFC 5321 4.5.3.2.5)", ge=0.001)
    ] = 180.0
    dot_timeout: Annotated[
        Seconds, doc("Time allowed for the reply to the final dot (RFC 5321 4.5.3.2.6)", ge=0.001)
    ] = 600.0
    quit_timeout: Annotated[
        Seconds, doc("Time allowed for the reply to QUIT or RSET", ge=0.001)
    ] = 5.0


class Queue(Section, frozen=True):
    """How much of the queue is kept in memory; the rest stays on disk."""

    lane_items: Annotated[
        int, doc("Most recipients that one lane keeps in memory, per worker", static=True, ge=1)
    ] = 1000
    memory_items: Annotated[
        int, doc("Most recipients that all lanes keep in memory, per worker", static=True, ge=1)
    ] = 200_000
    body_memory: Annotated[
        Octets,
        doc(
            "Memory for message contents, over all workers: those being received, and "
            "those kept until their first attempt. When it is used up, new content gets "
            "452 and the session that has been idle longest 421. 0 = a quarter of "
            "`memory.cap`, at most 256MB, but room for two of the largest messages if the"
            " cap allows",
            static=True,
            ge=0,
        ),
    ] = 0
    dead_letter_days: Annotated[
        int,
        doc(
            "Keep dead letters (bounces that could not be delivered) for this long",
            unit="days",
            ge=1,
        ),
    ] = 14


class Pickup(Section, frozen=True):
    """A folder whose files are sent as messages (docs/service.md); `mta sendmail` uses it too."""

    folder: Annotated[
        Path,
        doc("The folder; default: HOME/pickup. Whoever may write in it may relay", static=True),
    ] = ""
    interval: Annotated[
        Seconds, doc("Look for new files this often; 0 = never", static=True, ge=0)
    ] = 1.0
    control_headers: Annotated[
        bool, doc("Obey the control headers of its files; they are removed in any case")
    ] = False


class Memory(Section, frozen=True):
    """The limit on memory."""

    cap: Annotated[
        Octets,
        doc(
            "Memory for messages, queues and spool caches of the node; new mail gets 452 "
            "when it is used up",
            static=True,
            ge=1,
        ),
    ] = 2_000_000_000


class Disk(Section, frozen=True):
    """The limit on disk space."""

    min_free: Annotated[
        Octets,
        doc(
            "Space to keep free on the disks of spool and log: new mail gets 452 before "
            "the queued mail would need it",
            ge=0,
        ),
    ] = 500_000_000


class Retry(Section, frozen=True):
    """When to try again: by a schedule, or at growing intervals."""

    schedule: Annotated[
        tuple[Seconds, ...],
        doc(
            "Waiting times after each failed attempt; the last one repeats. Replaces "
            "`initial`, `factor` and `max_interval`"
        ),
    ] = ()
    initial: Annotated[Seconds, doc("First waiting time", ge=1)] = 60.0
    factor: Annotated[float, doc("Multiply the waiting time by this after each attempt", ge=1)] = (
        2.0
    )
    max_interval: Annotated[Seconds, doc("Longest waiting time", ge=1)] = 3600.0
    jitter: Annotated[
        float, doc("Random share of each waiting time, to spread retries", ge=0, le=1)
    ] = 0.1
    max_age: Annotated[
        Seconds, doc("Bounce a recipient that is still undelivered at this age", ge=1)
    ] = 432_000.0


class RetryTable(Retry, frozen=True):
    """When to try again. `[retry.NAME]` are variants for routes and inherit these values."""

    named: Annotated[dict[str, Retry], doc("Variants, chosen by `route.retry`")] = {}

    def get(self, name: str) -> Retry:
        """The variant of a route; "" is the table itself."""
        return self.named[name] if name else self


class Match(Section, frozen=True):
    """Which mail a route is for. All patterns given must match; `*` matches anything."""

    domain: Annotated[str, doc("Recipient domain", unit="pattern")] = "*"
    tenant: Annotated[str, doc("Tenant", unit="pattern")] = "*"
    campaign: Annotated[str, doc("Campaign", unit="pattern")] = "*"
    sender: Annotated[str, doc("Envelope sender", unit="pattern")] = "*"


class Route(Section, frozen=True):
    """Where mail goes; the first matching route counts."""

    match: Annotated[Match, doc("Which mail it is for")] = Match()
    next_hop: Annotated[
        tuple[str, ...],
        doc(
            "Servers, in order of preference: [192.0.2.1]:25 and [host]:25 are connected "
            "to directly, host:25 by its MX. Default: the MX of the recipient's domain",
            unit="hosts",
        ),
    ] = ()
    transport: Annotated[
        str,
        doc("Name of a `[transport.NAME]` to use instead of SMTP", unit="name"),
    ] = ""
    port: Annotated[
        int, doc("Port of MX hosts, and of next hops that name none", ge=1, le=65535)
    ] = 25
    pool: Annotated[
        str, doc("Egress pool or single source; default: the one the message names", unit="name")
    ] = ""
    klass: Annotated[ClassName | None, doc("Class; default: the message's own", unit="class")] = (
        field(default=None, name="class")
    )
    retry: Annotated[str, doc("Name of a `[retry.NAME]`", unit="name")] = ""


class Source(Section, frozen=True):
    """A local address to send from. `[source.default]` is for mail without a pool."""

    address: Annotated[
        tuple[str, ...],
        doc(
            "Local addresses to connect from: one IPv4, one IPv6 or both. Servers "
            "reachable only by the other family are not tried. Default: the system "
            "chooses",
            unit="IP addresses",
        ),
    ] = ()
    ehlo: Annotated[str, doc("Name to say in EHLO; default: `hostname`", unit="host name")] = ""


class Pool(Section, frozen=True):
    """Sources that share the mail of the routes and messages that name the pool."""

    sources: Annotated[
        dict[str, int],
        doc(
            "Sources with their weights: `{ ip1 = 3, ip2 = 1 }` sends three of four "
            "messages from ip1, per destination; a source whose lane is full passes its "
            "turn on",
            unit="weights",
            ge=1,
        ),
    ]


class Tenant(Section, frozen=True):
    """Settings for the mail of one tenant."""

    rate: Annotated[
        Rated | None, doc("Rate at which its messages leave, over all destinations")
    ] = None
    dsn: Annotated[Literal["on", "off"], doc("Send DSNs to its senders")] = "on"


class Limit(Section, frozen=True):
    """Limits of one destination, counted over all workers of the node.

    NAME is `default`, a site's name as `mta queue top` shows it, a recipient domain or MX host
    `"example.com"`, all names below a domain `"*.example.com"`, every name `"*"`, the address of a
    static next hop `"192.0.2.1:25"`, or the name of a transport. The most specific NAME counts for
    each limit; if a site goes by several names, the strictest of them; `default` counts where none
    of them says anything.
    """

    connections: Annotated[
        int | Lifted | None, doc('Most connections; "none" lifts the limit of `default`', ge=1)
    ] = None
    rate: Annotated[
        Rated | Lifted | None,
        doc('Rate of messages, counted as transactions; "none" lifts the limit of `default`'),
    ] = None


class Limits(Section, frozen=True):
    """Hard limits, counted over all workers."""

    site: Annotated[
        dict[str, Limit],
        doc(
            "Limits of one site, by its name or a domain; `default` counts where nothing "
            "else is set"
        ),
    ] = field(default_factory=lambda: {"default": Limit(connections=20)})


class Dns(Section, frozen=True):
    """DNS lookups."""

    nameservers: Annotated[
        tuple[str, ...],
        doc(
            "Name servers: 192.0.2.53, 127.0.0.1:5353 or [v6]:53; default: those of "
            "/etc/resolv.conf"
        ),
    ] = ()
    timeout: Annotated[Seconds, doc("Time allowed for one answer of one server", ge=0.001)] = 3.0
    attempts: Annotated[int, doc("How many times to ask each server", ge=1, le=10)] = 2
    cache_size: Annotated[int, doc("Most names to cache, per worker", static=True, ge=100)] = (
        100_000
    )
    min_ttl: Annotated[Seconds, doc("Cache an answer for at least this long", ge=0)] = 5.0
    max_ttl: Annotated[Seconds, doc("Cache an answer for at most this long", ge=1)] = 86_400.0


class Log(Section, frozen=True):
    """The log of events, in segments compressed by zstd."""

    segment_size: Annotated[Octets, doc("Close a segment at this size", static=True, ge=65_536)] = (
        64_000_000
    )
    segment_age: Annotated[Seconds, doc("Close a segment at this age", static=True, ge=1)] = 3600.0
    retain_size: Annotated[
        Octets,
        doc(
            "Remove the oldest closed segments above this total size, per node; 0 = keep all",
            ge=0,
            static=True,
        ),
    ] = 20_000_000_000
    retain_age: Annotated[
        Seconds, doc("Remove closed segments at this age; 0 = keep all", ge=0, static=True)
    ] = 2_592_000.0
    level: Annotated[int, doc("zstd compression level", static=True, ge=1, le=19)] = 1


class Dsn(Section, frozen=True):
    """Delivery status notifications: failure, delay and success (RFC 3464)."""

    sender: Annotated[str, doc("From address; default: mailer-daemon@HOSTNAME")] = field(
        default="", name="from"
    )
    postmaster: Annotated[
        str, doc("Contact address named in the text; default: postmaster@HOSTNAME")
    ] = ""
    content: Annotated[
        Literal["headers", "full"],
        doc(
            "How much of a failed message to return where RET does not say: its `headers`"
            " or the `full` message"
        ),
    ] = field(default="headers", name="return")
    max_body: Annotated[Octets, doc("Return at most this much of a message", ge=0)] = 65_536
    delay_after: Annotated[
        Seconds,
        doc("Report a delay, once, at this age, to senders who asked for it; 0 = never", ge=0),
    ] = 14_400.0
    delay_unasked: Annotated[
        bool, doc("Report delays even if the client did not ask by NOTIFY")
    ] = False


class Hooks(Section, frozen=True):
    """Python functions of your own, called on a message's way (docs/hooks.md)."""

    file: Annotated[
        Path,
        doc("The hook file; read again when it changes. Its code runs with the server's rights"),
    ] = ""
    timeout: Annotated[
        Seconds, doc("Time allowed for a hook to answer; then the message is deferred", ge=0.001)
    ] = 5.0
    threads: Annotated[
        int,
        doc(
            "Most plain functions to run at once, per worker; async functions are not counted", ge=1
        ),
    ] = 8
    refresh: Annotated[
        Seconds,
        doc("Ask `queue_settings` and `choose_route` again after this time", ge=0.1),
    ] = 60.0


class Http(Section, frozen=True):
    """HTTP for monitoring: `/metrics` (Prometheus), `/healthz` and `/readyz`."""

    listen: Annotated[
        str,
        doc(
            "Address: host:port, [v6]:port or unix:/path; default: off. There is no "
            "password: anyone who reaches it can read all figures",
            unit="address",
            static=True,
        ),
    ] = ""


class Control(Section, frozen=True):
    """The socket by which `mta` commands reach the server."""

    socket: Annotated[Path, doc("Unix socket; default: HOME/control.sock", static=True)] = ""


class Config(Section, frozen=True):
    """Settings before the first table."""

    home: Annotated[
        Path,
        doc(
            "Folder of spool, log, state and control socket; default: /var/lib/mailrace "
            "for root, else ~/.local/state/mailrace",
            static=True,
        ),
    ] = ""
    spool: Annotated[Path, doc("Folder of the spool; default: HOME/spool", static=True)] = ""
    log_dir: Annotated[Path, doc("Folder of the log; default: HOME/log", static=True)] = ""
    user: Annotated[
        str,
        doc(
            "User to switch to after binding, when started as root; missing folders are "
            "created for it",
            unit="user name",
            static=True,
        ),
    ] = ""
    group: Annotated[
        str, doc("Group to switch to; default: the user's own", unit="group name", static=True)
    ] = ""
    workers: Annotated[int, doc("Worker processes; 0 = one per core", static=True, ge=0, le=64)] = 0
    shards: Annotated[int, doc("Spool shards; 0 = one per worker", static=True, ge=0, le=4096)] = 0
    hostname: Annotated[
        str,
        doc(
            "Our name in greeting, EHLO, Received and log; default: the machine's name", static=True
        ),
    ] = ""
    grace: Annotated[Seconds, doc("Time that sessions and deliveries have to finish at a stop")] = (
        10.0
    )
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
