"""What the log's record types and fields mean, for the reference; a test keeps them complete."""

from __future__ import annotations

TYPES = {
    "Reception": "a message was stored; it names its recipients",
    "Delivery": "a remote server took the message for a recipient",
    "TransientFailure": "an attempt failed for now",
    "Bounce": "a recipient was refused for good, or the stored content is damaged",
    "Expiration": "a recipient grew older than `retry.max_age`",
    "AdminBounce": "an operator bounced a recipient",
    "Removed": "an operator removed a recipient, or its record could not be read",
    "Lost": "the spool has lost a recipient that it had taken, and the log alone knows of it",
    "Found": "a recipient that was recorded as Lost is in the spool again, restored from a copy:"
    " that record does not count",
    "Rejection": "a client's command or message was refused at reception",
}
FIELDS = {
    "type": "one of the types above",
    "time": "when it happened, microseconds since 1970 UTC",
    "id": "message id, 32 hexadecimal digits",
    "rno": "the recipient's number in the message, from 0",
    "sender": 'envelope sender; "" is the null sender',
    "recipient": "envelope recipient",
    "recipients": "of a Reception: the recipients, at most the first 100",
    "total": "of a Reception: how many recipients there are",
    "tenant": "tenant",
    "campaign": "campaign",
    "pool": "egress pool that the message asked for",
    "class": "transactional, normal or bulk",
    "queue": "scheduled queue, campaign:tenant@domain!route",
    "site": "destination site",
    "source": "egress source",
    "peer_name": "MX host of an attempt, or KIND:NAME of a transport;"
    " of a Reception or Rejection what the client said in EHLO",
    "peer_address": "address and port of that server or client; a transport's path or URL",
    "code": "reply code; none if no reply was read",
    "enhanced": "enhanced status code (RFC 3463)",
    "text": "reply text, lines joined by a blank, or why there was no reply",
    "command": "what the reply answered: connect, EHLO, MAIL, RCPT, DATA, hook or . (final dot);"
    " content: the stored content is damaged, what is left of it lies under corrupt/",
    "attempts": "attempts so far, with this one",
    "size": "octets of the message",
    "tls": "TLS version and cipher; none for plain text",
    "queued": "microseconds from acceptance, or from the last due time, to the attempt",
    "dns": "microseconds of looking up names",
    "connect": "microseconds to the greeting; none on a connection that was open",
    "transfer": "microseconds from MAIL to the last reply",
    "next_attempt": "of a TransientFailure: when it is tried again, microseconds since 1970 UTC",
    "node": "`hostname` of the server",
    "shard": "spool shard",
    "session": "the SMTP session that brought the message",
    "message_id": "the Message-ID header field",
    "reason": "why an operator acted, or reception refused (unknown: nobody knows what was stored)",
    "act": "number of the operator's act",
}
