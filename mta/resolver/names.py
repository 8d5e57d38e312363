"""Domain names as questions have them: lower-case A-labels, no final dot; pure, compiled."""

from __future__ import annotations

import ipaddress

import dns.exception
import dns.name


def normalise(domain: str) -> str:
    """The name in lower-case A-labels, no final dot; ValueError if it cannot be looked up."""
    if _is_normal(domain):
        return domain
    name = domain.rstrip(".") if domain.endswith(".") else domain
    if not name.isascii():
        name = _a_labels(name)
    labels = name.split(".")
    if len(name) > 253 or "" in labels or max(map(len, labels)) > 63:  # RFC 1035 2.3.4
        raise ValueError(f'"{domain}" is not a domain name')
    if not name.isprintable() or " " in name or "\\" in name:
        raise ValueError(f'"{domain}" is not a domain name')
    return name.lower()


def _is_normal(domain: str) -> bool:
    """Whether it is lower-case host names' letters, digits, - and _, as most are."""
    length = 0  # of the label
    for character in domain:
        if character == ".":
            if not 0 < length < 64:  # RFC 1035 2.3.4
                return False
            length = 0
        elif "a" <= character <= "z" or "0" <= character <= "9" or character in "-_":
            length += 1
        else:
            return False
    return 0 < length < 64 and len(domain) <= 253


def _a_labels(name: str) -> str:
    try:
        return dns.name.from_text(name).to_text(omit_final_dot=True)  # RFC 5890 2.3.2.1
    except dns.exception.DNSException as error:
        raise ValueError(f'"{name}" is not a domain name: {error}') from None


def ip_text(host: str) -> str:
    """The host in canonical form if it is an IP address, else ""."""
    if not host or not (host[0].isdigit() or ":" in host):
        return ""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return ""
