"""Arguments of MAIL and RCPT as aiosmtpd reads them: every address form of RFC 5322 counts.

The server core's own parser knows the forms of RFC 5321 alone; it stays out of this dialogue.
"""

from __future__ import annotations

import re
from email._header_value_parser import get_addr_spec, get_angle_addr
from email.errors import HeaderParseError

# What nearly all clients send; any other form goes to the parser of the standard library.
_ATOM = r"[A-Za-z0-9!#$%&'*+/^_`{|}~-]+"
_PLAIN = re.compile(
    rf"<({_ATOM}(?:\.{_ATOM})*@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*)>(?:[ ]+([^(\s].*))?", re.ASCII
)


def after_keyword(keyword: str, argument: str) -> str | None:
    """What follows FROM: or TO:, or None."""
    size = len(keyword)
    return argument[size:].strip() if argument[:size].upper() == keyword else None


def address(argument: str, local_part_limit: int = 0) -> tuple[str | None, str | None]:
    """An address and what follows it; twice "" for nothing, twice None for no address."""
    if not argument:
        return "", ""
    plain = _PLAIN.fullmatch(argument)
    if plain is not None:
        found, rest = plain[1], plain[2] or ""
    else:
        try:
            bracketed = argument.lstrip().startswith("<")
            parsed, rest = (get_angle_addr if bracketed else get_addr_spec)(argument)
        except (HeaderParseError, IndexError):  # the latter at the text's end
            return None, None
        found = parsed.addr_spec
    if local_part_limit and len(found.rpartition("@")[0]) > local_part_limit:
        return None, None
    return found, rest


def parameters(words: list[str]) -> dict[str, str | bool] | None:
    """KEYWORD and KEYWORD=value as a mapping; None where one is malformed."""
    found: dict[str, str | bool] = {}
    for word in words:
        keyword, equals, value = word.partition("=")
        if not keyword.isalnum() or (equals and not value):
            return None
        found[keyword] = value if equals else True
    return found
