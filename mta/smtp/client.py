"""The SMTP client's session, without I/O.

Theory of operation. `ClientCore` is fed what the server sent and gives events and buffers to write;
it knows no socket, loop, clock or log. The shell does, in a loop after each read: take events until
there are none, write the output with one call, set its one deadline from `deadline_kind`.

    READY           the session is at a message boundary: submit(transaction), quit(), or wait
    CONTENT_WANTED  354 was read: send_content(next), `next` being the transaction to send ahead
    DONE            take_done() gives a transaction with a result for each recipient
    CLOSED          nothing follows; `failure` tells why, or is None if all is well

The states and what a 2xx, 3xx, 4xx or 5xx reply does in each are one table, `transitions()`.
421, loss, time-outs and malformed replies are the same in all states: the session ends.

Pipelining (RFC 2920). MAIL, every RCPT and DATA leave as one group and the replies are read in that
order. Without PIPELINING each command waits for its reply. The core writes a group whole: with at
most some hundred recipients it fits TCP's buffers, and as the shell never stops reading, a
server that does not read on until its replies are taken cannot lock the session.

Overlap. At CONTENT_WANTED the next transaction may be given: its group leaves in the same write as
content and final dot, so a message costs one round trip. What follows from it:

- `send_content` takes it only if `overlap_ok`: after EHLO with PIPELINING, not after `overlap_off`.
- Only the message whose dot has left can be in doubt. When the session ends before the first reply
  to what was sent ahead, that transaction is unattempted: it goes back and counts nothing.
- A server may discard what came with the dot. Then its next reply is 500, 502 or 503 for a later
  line: the session ends, the transaction is unattempted. Or none comes: the shell's deadline has
  the kind "ahead" (10 s), then after `overlap_off()` "late". Both set `overlap_failed`.
- The same holds for the first MAIL on a connection that waited: a server may have closed it.

Refusals. MAIL refused: every recipient has that reply, and the rest of the group's replies are
read over. All RCPT refused and DATA refused: the server still holds the envelope, so RSET leads the
next group. All RCPT refused but 354: a lone dot, whose reply means nothing.

LMTP (RFC 2033), by option. LHLO instead of EHLO, without a fallback; after the dot the state
stays until every recipient accepted has its reply; 354 is no answer to DATA if none was.

BDAT (RFC 3030), as `ClientOptions.chunking` says: for binary content only, or for all. It takes the
place of DATA, so the content is wanted when the last RCPT was answered and one was taken; the next
envelope may leave behind it as it does behind a dot. "eager" sends it with its envelope, before any
reply: then a loss at any reply leaves the delivery unknown.

What needs no server is decided here: more octets than its SIZE, 8-bit content without 8BITMIME and
binary content without BINARYMIME (the shell converts before if it is to be converted), addresses
and headers beyond ASCII without SMTPUTF8, addresses that could break out of a command.
"""

from __future__ import annotations

import enum

from mta._speedups.client import (
    ClientCore,
    ClientOptions,
    LocalProtocolError,
    Transaction,
    transitions,
)
from mta._speedups.client_words import KEYWORDS, KIND_NAMES, STATE_NAMES, UNATTEMPTED

__all__ = [
    "KEYWORDS",
    "KIND_NAMES",
    "STATE_NAMES",
    "UNATTEMPTED",
    "Capability",
    "ClientCore",
    "ClientOptions",
    "Event",
    "LocalProtocolError",
    "Result",
    "Transaction",
    "transitions",
]

Result = tuple[int, str, str, str]


class Event(enum.IntEnum):
    """What `ClientCore.next_event` tells."""

    READY = 1
    CONTENT_WANTED = 2
    DONE = 3
    CLOSED = 4


class Capability(enum.IntFlag):
    """What the server offered in EHLO: bits of `ClientCore.capabilities`."""

    PIPELINING = 1
    EIGHT_BIT = 2
    SIZE = 4
    ENHANCED = 8
    STARTTLS = 16
    SMTPUTF8 = 32
    CHUNKING = 64
    DSN = 128
    BINARYMIME = 256
    PRIORITY = 512
    LIMITS = 1024
