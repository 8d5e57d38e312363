"""The SMTP server core: what it promises and how a shell drives it.

The core is a function of the octets it was fed and the verdicts it was given. It sees no socket,
clock or log, and how the octets were cut into pieces makes no difference to what it says: but for
what waits behind a DATA that is refused, which a client sends only on its reply (RFC 2920 3.1).

Three things make up a session's state (docs/design.md has the table,
`mta/_speedups/server_states.pyx` holds it as data):

- the *state*: connect, start, ready, mail, rcpt, content, closed;
- the *verdict flag*: an event (Hello, Mail, Rcpt, Data, Content) was made and is not yet answered.
  While it is set nothing is parsed: octets are kept, and beyond `pipeline_limit` the core no
  longer `wants_read`. So replies leave in the order of their commands, however late a verdict is,
  and a pipelining client (RFC 2920) needs nothing special;
- the *closing flag*: the last reply is queued, what still comes is ignored.

What a command alone can decide is answered by the core (syntax, sequence, limits); the shell only
sees events that it can accept. A shell's loop, behind each `feed` and each late verdict:

    while (event := core.next_event()) is not None:
        match event:
            case Content():
                start_commit(event.body, then=resume)   # verdict() comes later
            case Reset() | Closed():
                forget_transaction()
            case _:
                core.verdict(judge(event))               # None: the standard positive reply
    transport.write(core.output())
    if core.closing: transport.close()
    elif core.wants_read: transport.resume_reading() else: transport.pause_reading()

A shell that is compiled makes no event objects: `next_kind` tells the kind as a number, the core's
fields (`envelope`, `name`, `flags`, `body()`) what it is about, and `event` makes the object if it
is wanted after all. `read` and `status` are `feed` and the three questions behind it in one call.

Transitions that follow from a verdict: a refused MAIL leaves READY (and the RCPT and DATA that a
pipelining client sent behind it get 503 without being counted as errors), a refused RCPT is not
counted, a refused DATA leaves the transaction open, content ends it either way.

Content must not become commands. Where octets wait behind a DATA that is refused, or a line comes
that is no command, the session ends; `pending` tells a shell of octets that came before its 354.
Content with a bare newline is refused at its final dot, and the session ends with that reply.

Commands that the core does not know, or that the shell wants to answer itself (ServerOptions,
`commands`), come as Command events. The shell queues its reply by `say`, as often as it needs, and
ends it by `proceed`; `proceed("line")` hands it the client's next line as it is, for exchanges of
several steps such as AUTH.

Content by BDAT (RFC 3030) raises the same events: Data at its first chunk, Content behind its last;
each chunk between is answered by the core. Octets of a chunk that is refused are passed over, to
the last one; a BDAT whose number cannot be read ends the session, as nobody knows what follows.

Content goes from the fed buffer into the body's own memory, unstuffed, in one copy; with `ahead`
set before DATA is answered, it has so many octets of room in front for a header. What refuses
it (size, bare newline, NUL, line length) gives the memory back at once; the rest is read up to the
final dot and answered then, with a Reset event that carries the reply.
"""

from __future__ import annotations

from mta._speedups.server import ServerCore
from mta._speedups.server_events import Closed, Command, Content, Data, Hello, Mail, Rcpt, Reset
from mta._speedups.server_options import ServerOptions
from mta._speedups.server_states import STATES

Event = Hello | Mail | Rcpt | Data | Content | Command | Reset | Closed

__all__ = [
    "STATES",
    "Closed",
    "Command",
    "Content",
    "Data",
    "Event",
    "Hello",
    "Mail",
    "Rcpt",
    "Reset",
    "ServerCore",
    "ServerOptions",
]
