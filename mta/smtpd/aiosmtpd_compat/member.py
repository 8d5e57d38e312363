"""The user's handler as members of `admit`: it is asked what the others have accepted.

Sessions that were open before a reload brought the handler go on without.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from aiosmtpd.smtp import MISSING

from mta._speedups.server import MAIL
from mta._speedups.verdict import ACCEPTED, Reason, Verdict
from mta.reception.admit import Member, Said
from mta.smtpd.aiosmtpd_compat.session import HandledSession
from mta.smtpd.aiosmtpd_compat.statuses import (
    address,
    changed,
    mail_options,
    use,
    verdict_of,
    words,
)

if TYPE_CHECKING:
    from mta.reception.arrival import Arrival
    from mta.reception.client import Client
    from mta.reception.parameters import Params

AUTH_REQUIRED = Verdict(530, "5.7.0", "Authentication required", Reason.AUTHENTICATION)


class LoginRequired(Member):
    """Refuses MAIL before AUTH, where the handler says `auth_required`."""

    def mail(self, client: Client, params: Params | None) -> Said:
        """530 to who has not logged in."""
        if not isinstance(client, HandledSession):
            return ACCEPTED
        server = client.server
        wanting = server._auth_required and not server.session.authenticated
        return AUTH_REQUIRED if wanting else ACCEPTED


class HandlerMember(Member):
    """Puts MAIL, RCPT and contents to the hooks of the session's handler; its envelope counts."""

    reads_content = True

    def mail(self, client: Client, params: Params | None) -> Said:
        """handle_MAIL."""
        if not isinstance(client, HandledSession):
            return ACCEPTED
        session = client
        event = session.core.event(MAIL)
        options = mail_options(event)
        session.server._set_post_data_state()
        session.server.envelope.smtp_utf8 = event.utf8
        then = partial(self._began, session, event.sender, options)
        return session.ask("MAIL", then, event.sender, options)

    def _began(
        self, session: HandledSession, sender: str, options: list[str], status: Any
    ) -> Verdict:
        verdict, envelope = verdict_of(status), session.server.envelope
        if verdict.refuses:
            session.server._set_post_data_state()
            return verdict
        if status is MISSING:
            envelope.mail_options.extend(options)
        if envelope.mail_from is None:
            envelope.mail_from = sender
        session.sender = address(envelope.mail_from, empty=True)
        return verdict

    def rcpt(self, client: Client, recipient: str, params: Params | None) -> Said:
        """handle_RCPT."""
        if not isinstance(client, HandledSession):
            return ACCEPTED
        session, options = client, words(params)
        before = len(session.server.envelope.rcpt_tos)
        then = partial(self._added, session, recipient, options, before)
        return session.ask("RCPT", then, recipient, options)

    def _added(
        self, session: HandledSession, recipient: str, options: list[str], before: int, status: Any
    ) -> Verdict:
        verdict, envelope = verdict_of(status), session.server.envelope
        if verdict.refuses:
            del envelope.rcpt_tos[before:]
            return verdict
        if len(envelope.rcpt_tos) == before:
            envelope.rcpt_tos.append(recipient)
            envelope.rcpt_options.extend(options)
        for added in envelope.rcpt_tos[before:]:
            address(added)
        return verdict

    def message(self, arrival: Arrival) -> Said:
        """handle_DATA."""
        session = arrival.client
        if not isinstance(session, HandledSession):
            return ACCEPTED
        content = arrival.content
        envelope = session.server.envelope
        envelope.content = envelope.original_content = content
        return session.ask("DATA", partial(self._read, session, arrival, content))

    def _read(
        self, session: HandledSession, arrival: Arrival, content: bytes, status: Any
    ) -> Verdict:
        verdict, envelope = verdict_of(status), session.server.envelope
        if not verdict.refuses:
            if envelope.content is not content:
                arrival.change(*changed(envelope.content, arrival.flags))
            use(envelope, arrival)
        session.server._set_post_data_state()
        return verdict
