"""Delivery by HTTP: a POST of the message, raw or parsed, for all recipients of an attempt.

2xx delivers; 408, 425, 429, 3xx and 5xx defer; every other 4xx bounces. The status is told in the
text, not as reply code: 404 is no transient SMTP reply.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx

from mta.delivery.transports import parsed
from mta.model import Kind, Outcome, id_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mta.delivery.feeder import Attempt

ANSWER = 512  # octets of an answer that are told
READ = 65_536  # octets of an answer that are read to keep the connection
DEFER = frozenset({408, 425, 429})  # RFC 9110 15.5.9, RFC 8470 5.2, RFC 6585 4


class Http:
    """Posts messages to one URL; the status of each answer is its outcome."""

    kind = "http"

    def __init__(
        self,
        url: str,
        *,
        json: bool,
        token: str,
        headers: Mapping[str, str],
        timeout: float,
    ) -> None:
        self._url, self._json, self._timeout = url, json, timeout
        self._headers = {
            "User-Agent": "mailrace",
            "Content-Type": "application/json" if json else "message/rfc822",
            **({"Authorization": f"Bearer {token}"} if token else {}),  # RFC 6750 2.1
            **headers,
        }
        self._client: httpx.AsyncClient | None = None

    def __repr__(self) -> str:
        return f"<Http {httpx.URL(self._url).host}>"

    async def deliver(self, attempt: Attempt) -> list[Outcome]:
        """One request; its answer holds for all recipients."""
        try:
            async with asyncio.timeout(self._timeout):
                outcome = await self._post(attempt)
        except TimeoutError:
            outcome = self._deferred(f"no answer within {self._timeout:g} s")
        except httpx.HTTPError as error:
            outcome = self._deferred(str(error) or type(error).__name__)
        return [outcome] * len(attempt.recipients)

    def _deferred(self, text: str) -> Outcome:
        return Outcome(Kind.DEFERRED, 0, "4.4.2", text, self.kind)

    async def _post(self, attempt: Attempt) -> Outcome:
        content = attempt.body
        if self._json:  # large messages take a while to decode
            content = await asyncio.to_thread(parsed.document, attempt)
        client = self._open()
        request = client.build_request("POST", self._url, content=content)
        request.headers.update(httpx.Headers([*self._headers.items(), *envelope(attempt)]))
        response = await client.send(request, stream=True)
        try:
            said = await _beginning(response)
        finally:
            await response.aclose()
        return outcome(response.status_code, response.headers, response.reason_phrase, said)

    def _open(self) -> httpx.AsyncClient:
        """The client, made in the loop that uses it; proxies of our environment are not asked."""
        if self._client is None:
            limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
            timeout = httpx.Timeout(self._timeout)
            self._client = httpx.AsyncClient(limits=limits, timeout=timeout, trust_env=False)
        return self._client


def envelope(attempt: Attempt) -> list[tuple[str, str]]:
    """Header fields that tell the envelope; the id is the same at each attempt."""
    to = ", ".join(recipient.address for recipient in attempt.recipients)
    fields = {
        "X-Envelope-From": attempt.message.sender,
        "X-Envelope-To": to,
        "X-Message-Id": id_text(attempt.message.id),
    }
    return [(name, _ascii(value)) for name, value in fields.items()]


def _ascii(value: str) -> str:
    """A value that HTTP can carry; JSON has the whole of it."""
    return value.encode("ascii", "backslashreplace").decode()


async def _beginning(response: httpx.Response) -> str:
    """The beginning of an answer's text; a short answer is read whole, the connection lives on."""
    said, size = b"", 0
    async for piece in response.aiter_bytes():
        said = (said + piece)[:ANSWER]
        size += len(piece)
        if size > READ:
            break
    text = "".join(c if c.isprintable() else " " for c in said.decode("utf-8", "replace"))
    return " ".join(text.split())


def outcome(status: int, headers: Mapping[str, str], reason: str, said: str) -> Outcome:
    """What an answer means."""
    text = f"HTTP {status} {reason}".rstrip() + (f": {said}" if said else "")
    if 200 <= status < 300:
        return Outcome(Kind.DELIVERED, 0, "2.0.0", text, "http")
    if 400 <= status < 500 and status not in DEFER:
        return Outcome(Kind.BOUNCED, 0, "5.0.0", text, "http")
    after = headers.get("Retry-After", "")
    if after:
        text += f" (Retry-After: {after[:64]})"
    return Outcome(Kind.DEFERRED, 0, "4.0.0", text, "http")
