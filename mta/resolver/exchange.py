"""Questions to DNS servers: UDP on shared sockets, TCP for long answers, retries (compiled).

A socket is left after `QUERIES_PER_PORT` questions and a question takes one of `PORTS` at random,
so that ports and ids stay hard to guess (RFC 5452 9.2) without a socket for each question.
Nothing is a task but what goes over TCP; an answer is given to a callback.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections import deque
from typing import TYPE_CHECKING, NamedTuple, Protocol

import dns.asyncquery
import dns.exception
import dns.message

from mta.resolver import wire
from mta.resolver.options import ResolverOptions, Server, servers
from mta.resolver.waits import Waits

if TYPE_CHECKING:
    from collections.abc import Callable

    from mta.clock import Clock

PORTS = 4
QUERIES_PER_PORT = 100
DOWN_TIME = 30.0  # a server that kept silent is asked last for so long
RANDOM_BLOCK = 1024  # octets of the system's randomness read at once
LARGEST = 4096  # octets of a datagram that are read; no answer is to have more than UDP_PAYLOAD
USEFUL = (wire.NOERROR, wire.NXDOMAIN)  # any other rcode may be different at another server


class Trouble(NamedTuple):
    """No server could answer now."""

    text: str


NOBODY = Trouble("no DNS server")


class Asked(Protocol):
    """A question under way."""

    def cancel(self) -> object:
        """Its answer is no longer wanted: `done` is not called."""
        ...


class Exchange(Protocol):
    """One question, answered over the network or by a fake."""

    def ask(self, name: str, rdtype: int, done: Callable[[wire.Reply | Trouble], object]) -> Asked:
        """Give `done` the answer to a question about a normalised name."""
        ...

    def close(self) -> None:
        """Let go of each socket when nothing waits at it."""
        ...


class Numbers:
    """Random numbers of 16 bits, from the system (RFC 5452 9.2)."""

    __slots__ = ("_block", "_next")

    def __init__(self) -> None:
        self._block, self._next = b"", 0

    def draw(self) -> int:
        """One that nobody can foretell."""
        if self._next >= len(self._block):
            self._block, self._next = os.urandom(RANDOM_BLOCK), 0
        place = self._next
        self._next = place + 2
        return self._block[place] << 8 | self._block[place + 1]


class Question:
    """A question on its way through the servers, in rounds: the later ones ask who kept silent."""

    __slots__ = ("section", "place", "id", "_exchange", "_done", "_asked", "_silent", "_rounds",
                 "_trouble", "_task")  # fmt: skip

    def __init__(
        self, exchange: NetworkExchange, section: bytes, done: Callable[..., object]
    ) -> None:
        self.section = section
        self.place: Port | None = None  # where its answer is to arrive,
        self.id = 0  # and under which number
        self._exchange = exchange
        self._done: Callable[..., object] | None = done  # None: it is over
        self._asked: list[Upstream] = []  # servers of this round, the one that is asked last
        self._silent: list[Upstream] = []  # servers of the next round
        self._rounds = -1  # that are left; -1: it waits for its turn
        self._trouble = NOBODY
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Question {self.section!r}{', over' if self.over else ''}>"

    @property
    def over(self) -> bool:
        """Whether it was answered or given up."""
        return self._done is None

    def begin(self) -> None:
        """It is its turn."""
        self._rounds = self._exchange.options.attempts
        self._silent = self._exchange.in_order()
        self._next()

    def _next(self) -> None:
        """Ask the next server; without one it has failed."""
        while True:
            if not self._asked and self._rounds:
                self._rounds -= 1
                self._asked, self._silent = self._silent[::-1], []
            if not self._asked:
                self._end(self._trouble)
                return
            try:
                self._asked[-1].ask(self)
            except OSError as error:
                self._give_up(error)
                continue
            self._exchange.waits.add(self, self._exchange.options.timeout)
            return

    def received(self, data: bytes) -> None:
        """The answer of the server that was asked."""
        try:
            reply = wire.read(data, self.section)
        except wire.WireError as error:
            self.failed(error)
            return
        if reply.truncated:
            self._exchange.waits.discard(self)
            self._task = asyncio.create_task(self._ask_tcp())
        else:
            self._judge(reply)

    async def _ask_tcp(self) -> None:
        """Once more over TCP (RFC 7766 5)."""
        query = dns.message.from_wire(wire.query(self._exchange.numbers.draw(), self.section))
        (address, port), timeout = self._asked[-1].server, self._exchange.options.timeout
        try:
            answer = await dns.asyncquery.tcp(query, address, timeout=timeout, port=port)
            reply = wire.read(answer.to_wire(max_size=65535), self.section)
        except (OSError, wire.WireError, dns.exception.DNSException) as error:
            self.failed(error)
        else:
            self._judge(reply)

    def _judge(self, reply: wire.Reply) -> None:
        upstream = self._asked.pop()
        if reply.rcode in USEFUL:
            upstream.down_until = 0.0
            self._end(reply)
            return
        rcode = wire.RCODE_NAMES.get(reply.rcode, f"rcode {reply.rcode}")
        self._trouble = Trouble(f"{upstream.server}: {rcode}")
        self._next()  # asking this one again would not help

    def failed(self, error: Exception) -> None:
        """The server that was asked cannot be reached, or says what makes no sense."""
        self._give_up(error)
        self._next()

    def _give_up(self, error: Exception) -> None:
        upstream = self._asked.pop()
        upstream.down_until = self._exchange.clock.monotonic() + DOWN_TIME
        self._silent.append(upstream)
        self._trouble = Trouble(f"{upstream.server}: {_reason(error)}")

    def expired(self) -> None:
        """The server that was asked kept silent."""
        place = self.place  # held here: it may let go of all that holds it
        if place is not None:
            place.forget(self)
        self.failed(TimeoutError())

    def cancel(self) -> None:
        """Its answer is no longer wanted."""
        place = self.place
        if place is not None:
            place.forget(self)
        if self._task is not None:
            self._task.cancel()
        self._end(None)

    def _end(self, reply: wire.Reply | Trouble | None) -> None:
        done, self._done = self._done, None
        if done is None:
            return
        self._exchange.waits.discard(self)
        if self._rounds >= 0:
            self._exchange.ended()
        if reply is not None:
            done(reply)


class Port:
    """One UDP socket, connected to a server: ids to the questions that wait."""

    __slots__ = ("_socket", "_loop", "_numbers", "_waiting", "_left")

    def __init__(self, sock: socket.socket, numbers: Numbers, questions: int) -> None:
        self._socket, self._numbers, self._left = sock, numbers, questions
        self._waiting: dict[int, Question] = {}
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sock, self._readable)

    def __repr__(self) -> str:
        return f"<Port {len(self._waiting)} waiting, {self._left} questions left>"

    @property
    def usable(self) -> bool:
        """Whether it takes another question."""
        return self._left > 0

    def ask(self, question: Question) -> None:
        """Send it; it is told what comes, and of a failure in the loop's next turn."""
        id = self._numbers.draw()
        while id in self._waiting:
            id = self._numbers.draw()
        question.place, question.id = self, id
        self._waiting[id] = question
        self._left -= 1
        try:
            self._socket.send(wire.query(id, question.section))
        except BlockingIOError:
            pass  # as if it were lost on its way
        except OSError as error:  # ICMP, as in `_receive`
            self._loop.call_soon(self._fail, error)

    def _readable(self) -> None:
        data = self._receive()
        while data is not None:
            self.take(data)
            data = self._receive() if self._waiting else None

    def _receive(self) -> bytes | None:
        try:
            return self._socket.recv(LARGEST)
        except BlockingIOError:
            return None
        except OSError as error:  # ICMP: the server's port is closed or its network is gone
            self._fail(error)
            return None

    def take(self, data: bytes) -> None:
        """A datagram; what answers none of the questions is a forgery or late (RFC 5452 9.1)."""
        question = self._waiting.get(int.from_bytes(data[:2], "big"))
        if question is not None and wire.answers(data, question.section):
            self.forget(question)
            question.received(data)

    def _fail(self, error: OSError) -> None:
        self._left = 0  # libuv watches a socket no longer that had an error
        for question in list(self._waiting.values()):
            if question.place is self:  # it may have ended with the one before
                self.forget(question)
                question.failed(error)
        self._end_if_done()

    def forget(self, question: Question) -> None:
        """It waits here no longer."""
        question.place = None
        del self._waiting[question.id]
        self._end_if_done()

    def retire(self) -> None:
        """Take no question more."""
        self._left = 0
        self._end_if_done()

    def _end_if_done(self) -> None:
        if self._left <= 0 and not self._waiting and self._socket.fileno() >= 0:
            sock = self._socket
            self._loop.remove_reader(sock)  # the loop may have been the last to hold this port
            sock.close()


def connected(server: Server) -> socket.socket:
    """A UDP socket whose port the system chooses at random."""
    family = socket.AF_INET6 if ":" in server.address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.connect(server)
    except OSError:
        sock.close()
        raise
    return sock


class Upstream:
    """One server: its sockets, and until when it counts as down."""

    __slots__ = ("server", "down_until", "_numbers", "_open", "_ports", "_questions")

    def __init__(
        self, server: Server, numbers: Numbers, open: Callable[[Server], socket.socket]
    ) -> None:
        self.server = server
        self.down_until = 0.0
        self._numbers, self._open = numbers, open
        self._ports: list[Port | None] = [None] * PORTS
        self._questions = QUERIES_PER_PORT

    def __repr__(self) -> str:
        return f"<Upstream {self.server}>"

    def ask(self, question: Question) -> None:
        """Send it from one of the ports; OSError if none can be opened."""
        place = self._numbers.draw() % PORTS
        port = self._ports[place]
        if port is None or not port.usable:
            port = Port(self._open(self.server), self._numbers, self._questions)
            self._ports[place] = port
        port.ask(question)

    def close(self) -> None:
        """Close each socket when nothing waits at it."""
        self._questions = 1
        for port in self._ports:
            if port is not None:
                port.retire()


class NetworkExchange:
    """Asks the servers in order, those that kept silent lately last."""

    __slots__ = ("options", "clock", "numbers", "waits", "_upstreams", "_queue", "_busy",
                 "_beginning")  # fmt: skip

    def __init__(
        self,
        options: ResolverOptions,
        clock: Clock,
        open: Callable[[Server], socket.socket] = connected,
    ) -> None:
        self.options, self.clock = options, clock
        self.numbers, self.waits = Numbers(), Waits()
        self._upstreams = [Upstream(one, self.numbers, open) for one in servers(options)]
        self._queue: deque[Question] = deque()  # those that wait for their turn
        self._busy = 0  # questions under way
        self._beginning = False

    def __repr__(self) -> str:
        return f"<NetworkExchange {', '.join(str(up.server) for up in self._upstreams)}>"

    def ask(
        self, name: str, rdtype: int, done: Callable[[wire.Reply | Trouble], object]
    ) -> Question:
        """The first useful answer; Trouble with the last server's failure if there is none."""
        question = Question(self, wire.question(name, rdtype), done)
        self._queue.append(question)
        self._begin()
        return question

    def _begin(self) -> None:
        """Give turns; a question that ends at once, and what follows from it, does so in here."""
        if self._beginning:
            return
        self._beginning = True
        try:
            while self._queue and self._busy < self.options.concurrency:
                question = self._queue.popleft()
                if not question.over:
                    self._busy += 1
                    question.begin()
        finally:
            self._beginning = False

    def ended(self) -> None:
        """A question that had its turn is over."""
        self._busy -= 1
        self._begin()

    def in_order(self) -> list[Upstream]:
        """The servers as they are to be asked now."""
        now = self.clock.monotonic()
        up = [upstream for upstream in self._upstreams if upstream.down_until <= now]
        return up + [upstream for upstream in self._upstreams if upstream.down_until > now]

    def close(self) -> None:
        """Let go of each socket when nothing waits at it."""
        for upstream in self._upstreams:
            upstream.close()


def _reason(error: Exception) -> str:
    if isinstance(error, (TimeoutError, dns.exception.Timeout)):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__
