"""Failures in plain words, for the part of a notification that people read; pure."""

from __future__ import annotations

from mta.model import Outcome, Peer, Recipient

WIDTH = 76
MAX_REPLY = 900  # characters of a reply that are quoted: a line holds 998 (RFC 5322 2.1.1)

# By enhanced status code (RFC 3463, RFC 5248 registry), else by its subject.
REASONS = {
    "1.1": "There is no mailbox of that name.",
    "1.2": "The domain of the address does not exist or takes no mail.",
    "1.3": "The address is not written as an address must be.",
    "1.6": "The mailbox has moved and left no new address.",
    "1.10": "The domain of the address declares that it takes no mail.",
    "2.1": "The mailbox is disabled and takes no mail.",
    "2.2": "The mailbox is full.",
    "2.3": "The message is larger than the mailbox takes.",
    "3.2": "The receiving server takes no mail.",
    "3.4": "The message is larger than the receiving server takes.",
    "4.1": "The receiving server did not answer.",
    "4.4": "No mail server could be found for the domain of the address.",
    "4.6": "The message went round in a circle between mail servers.",
    "4.7": "The message could not be delivered in time and has been given up.",
    "5.3": "The message has more recipients than the receiving server takes at once.",
    "6.3": "The receiving server cannot take 8-bit text, and the message has some.",
    "7.1": "The receiving server refused the message by its own rules.",
    "7.0": "The message was refused for reasons of policy or security.",
}
SUBJECTS = {
    "1": "The receiving server did not accept the address.",
    "2": "The mailbox cannot take the message.",
    "3": "The receiving server cannot take the message.",
    "4": "The receiving server could not be reached.",
    "5": "The receiving server and ours did not understand each other.",
    "6": "The receiving server did not accept the message's content.",
    "7": "The receiving server refused the message by its rules.",
}
OTHERWISE = "The receiving server refused the message."

STEPS = {
    "connect": "when we connected",
    "EHLO": "when we introduced ourselves",
    "HELO": "when we introduced ourselves",
    "MAIL": "to the sender's address",
    "RCPT": "to the recipient's address",
    "DATA": "to the message",
    ".": "to the message",
}


def reason(status: str) -> str:
    """One sentence for a status like 5.1.1."""
    _, _, detail = status.partition(".")
    subject = detail.partition(".")[0]
    return REASONS.get(detail) or SUBJECTS.get(subject) or OTHERWISE


def plain(text: str, limit: int = MAX_REPLY) -> str:
    """One line without control characters, cut at `limit`."""
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " for c in text)
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 4] + " ..."


def fold(text: str, width: int, first: str = "", rest: str = "") -> list[str]:
    """Lines of at most `width` that begin with `first`, then `rest`; a longer word has its own."""
    if len(first) + len(text) <= width:
        return [first + text] if text else []
    lines, line, room = [], first, False
    for word in text.split():
        if room and len(line) + 1 + len(word) > width:
            lines.append(line)
            line, room = rest, False
        line = f"{line} {word}" if room else line + word
        room = True
    return [*lines, line] if room else lines


def wrap(text: str, indent: str = "") -> list[str]:
    """A paragraph for people."""
    return fold(text, WIDTH, indent, indent)


def duration(microseconds: int) -> str:
    """About how long, in the largest fitting unit: "2 days"."""
    seconds = max(0, microseconds) // 1_000_000
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= size:
            count = round(seconds / size)
            return f"{count} {unit}{'s' * (count != 1)}"
    return f"{seconds} second{'s' * (seconds != 1)}"


def times(count: int) -> str:
    """How often, as one says it."""
    return {0: "not tried once", 1: "tried once", 2: "tried twice"}.get(
        count, f"tried {count} times"
    )


def account(
    recipient: Recipient, outcome: Outcome, peer: Peer | None, status: str, age_us: int
) -> list[str]:
    """What happened to one recipient: address, reason, and what the remote server said."""
    lines = [f"  <{plain(recipient.address)}>", ""]
    if outcome.command == "expire":
        tried = times(recipient.attempts)
        lines += wrap(f"Delivery was {tried} in {duration(age_us)} and has been given up.", "  ")
        said = _quote(recipient.code, recipient.enhanced, recipient.text)
        return lines + _led("The last answer was:", said)
    if outcome.command == "admin":
        lines += wrap("The operator of this mail server has ended the delivery.", "  ")
        return lines + _led("The reason given:", _quote(0, "", outcome.text))
    if outcome.command == "content":
        lines += wrap(
            "This mail server has stored the message, and cannot read it any more: its disk has"
            " damaged it. Please send it again.", "  ",
        )  # fmt: skip
        return lines + _led("Details:", _quote(0, outcome.enhanced, outcome.text))
    lines += wrap(reason(status), "  ")
    lead = f"{_server(peer)} said" if peer and outcome.code else "Details"
    if lead != "Details" and outcome.command in STEPS:
        lead += f", {STEPS[outcome.command]}"
    return lines + _led(f"{lead}:", _quote(outcome.code, outcome.enhanced, outcome.text))


def taken(recipient: Recipient, outcome: Outcome, peer: Peer | None, action: str) -> list[str]:
    """That a recipient's message was delivered or handed on, and what the remote server said."""
    lines = [f"  <{plain(recipient.address)}>", ""]
    if action == "delivered":
        lines += wrap("The message was delivered.", "  ")
    else:
        lines += wrap(
            "The message was handed to the server of this recipient, which sends no notice of its"
            " own when it has delivered.", "  ",
        )  # fmt: skip
    lead = f"{_server(peer)} said" if peer and peer.name and outcome.code else "Details"
    return lines + _led(f"{lead}:", _quote(outcome.code, outcome.enhanced, outcome.text))


def _server(peer: Peer) -> str:
    return f"{plain(peer.name)} ({peer.address})" if peer.address else plain(peer.name)


def _led(lead: str, quoted: list[str]) -> list[str]:
    return [*wrap(lead, "  "), "", *quoted] if quoted else []


def _quote(code: int, enhanced: str, text: str) -> list[str]:
    text = plain(text)
    if enhanced and not text.startswith(enhanced):
        text = f"{enhanced} {text}"
    return wrap(f"{code} {text}" if code else text, "      ")
