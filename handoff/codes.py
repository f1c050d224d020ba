"""A code in the confirmation letter: typed in the chat that opened the case, it binds this chat like a personal link.

It proves that whoever writes in the chat reads the registered mailbox. Nobody needs it: the case goes its way without.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from handoff.crm.port import Customer
from handoff.desk import Desk
from handoff.identity import binding_of
from handoff.links import bind_conversation
from handoff.mail.compose import moment
from handoff.models import Binding, BindingCode, Ticket

CODE_DIGITS = 6

#: Letters are read in the evening. Not time but `MOST_TRIES` keeps a guesser out (docs/decisions/0015-privacy.md).
CODE_LASTS = timedelta(hours=24)

#: Six confirmations a day and mailbox (`handoff.limits`) make 30 guesses a day at a million codes.
MOST_TRIES = 5


def code_facts(session: Session, ticket: Ticket, desk: Desk, now: datetime) -> dict[str, Any]:
    """What the confirmation says about a fresh code, which ends the one before; nothing in a chat that is bound."""
    binding = binding_of(session, ticket.sender_id, now)
    if binding is not None and binding.customer_id == ticket.customer_id:
        return {"code": ""}
    code, until = f"{secrets.randbelow(10**CODE_DIGITS):0{CODE_DIGITS}}", now + CODE_LASTS
    row = BindingCode(
        sender_id=ticket.sender_id,
        ticket_number=ticket.number,
        code_hash=_hash(desk, ticket.number, code),
        tries=0,
        tried_key=None,
        expires_at=until,
    )
    session.merge(row)
    return {"code": code, "code_until": moment(desk, until, ticket.language)}


def try_codes(
    session: Session, sender_id: str, typed: Sequence[str], key: str, desk: Desk, now: datetime
) -> tuple[Binding, str] | None:
    """Bind the conversation by the first of the typed codes that fits, and say which; each costs a try.

    `key` is the message's: held against the code once, it is not counted again.
    """
    row = session.get(BindingCode, sender_id, with_for_update=True)
    if row is None or row.expires_at < now or row.tried_key == key:
        return None
    row.tried_key = key
    for code in typed[: max(0, MOST_TRIES - row.tries)]:
        row.tries += 1
        if hmac.compare_digest(row.code_hash, _hash(desk, row.ticket_number, code)):
            ticket = session.get_one(Ticket, row.ticket_number)
            session.delete(row)
            binding = _bind(session, ticket, desk, now)
            return (binding, code) if binding else None
    return None


def _bind(session: Session, ticket: Ticket, desk: Desk, now: datetime) -> Binding | None:
    """To the customer as he was when the letter went out, at the mailbox that it went to."""
    if ticket.customer_id is None or ticket.requester is None:
        return None
    known = ticket.snapshot["customer"]
    customer = Customer(ticket.customer_id, known["name"], known["language"], frozenset({ticket.requester}))
    return bind_conversation(session, customer, ticket.sender_id, ticket.channel, "code", desk, now)


def _hash(desk: Desk, ticket_number: int, code: str) -> str:
    """Keyed: a million codes are tried in a second by whoever reads the database and has no key."""
    return hmac.new(desk.signing_key, f"code|{ticket_number}|{code}".encode(), hashlib.sha256).hexdigest()
