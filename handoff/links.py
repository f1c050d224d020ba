"""Personal links: the shop sends one to a customer, one tap binds his messenger account to him, and a letter tells him.

The link proves as much as the mailbox or the account page that it was sent to. Whatever is wrong with it, whoever taps
learns only that it does not work; what a binding gives ends with it, wherever the conversation stands.
"""

from __future__ import annotations

import hashlib
import logging
import re
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Session

from handoff.crm.port import CrmPort, Customer, OrderBrief
from handoff.database import Database
from handoff.desk import Desk
from handoff.identity import bound_customer, is_disputed
from handoff.mail.addresses import link_token
from handoff.mail.compose import first_name, moment
from handoff.mail.posting import post_notice
from handoff.models import Binding, BindingCode, Link, TypedAddress
from handoff.words import words

log = logging.getLogger(__name__)

#: How long a link can be tapped: letters about an order are read while it is under way.
LINK_LASTS = timedelta(days=30)

#: 128 bits, 22 characters of A-Z, a-z, 0-9, - and _; Telegram passes on at most 64 of these (Bot API, deep linking).
TOKEN_BYTES = 16
TOKEN = re.compile(r"[A-Za-z0-9_-]{22}")

#: Orders that are over, by their status in the CRM; every other one is under way.
FINISHED = frozenset({"delivered", "returned", "cancelled", "доставлен", "возвращён", "отменён"})

#: Topics about an order that is still to come, and about one that has come.
OF_COMING = frozenset(
    {
        *("case/order_status", "case/delay", "case/cancel", "case/order_edit", "case/address_change"),
        *("case/delivery_problem_courier", "case/lost_parcel"),
    }
)
OF_ARRIVED = frozenset({"case/defect", "case/exchange_my_order", "case/wrong_item", "case/refund"})


def make_links(session: Session, customer_ids: Sequence[str], now: datetime) -> list[str]:
    """A fresh token for each customer, in this order; nobody can be told them later. Old links are cleared away."""
    session.execute(delete(Link).where(Link.expires_at < now))
    tokens = [secrets.token_urlsafe(TOKEN_BYTES) for _ in customer_ids]
    rows = [
        {"token_hash": _hash(token), "customer_id": customer_id, "expires_at": now + LINK_LASTS}
        for token, customer_id in zip(tokens, customer_ids, strict=True)
    ]
    if rows:
        session.execute(insert(Link), rows)
    return tokens


def is_token(text: str) -> bool:
    """Whether what led into a chat may be one of our links; shops mark their advertisements in the same place."""
    return TOKEN.fullmatch(text) is not None


async def bind(
    database: Database, crm: CrmPort, desk: Desk, token: str, sender_id: str, channel: str, now: datetime
) -> Binding | None:
    """Bind the conversation in which a link was tapped, and write to the customer; None when the link does not work.

    The same tap again changes nothing.

    Raises:
        CrmUnavailable: nothing is known now; the link can be tapped again.
    """
    customer_id = await database.run(lambda session: _customer_of(session, token, sender_id, now))
    customer = await crm.customer(customer_id) if customer_id else None
    if customer is None or not customer.addresses:
        return None
    return await database.run(lambda session: _bind(session, token, customer, sender_id, channel, desk, now))


def revoke(session: Session, binding: Binding, desk: Desk, now: datetime) -> None:
    """The owner of the mailbox ends a binding; the conversation hears that it is a stranger's again."""
    session.delete(binding)
    session.execute(delete(BindingCode).where(BindingCode.sender_id == binding.sender_id))
    session.flush()
    desk.notices.unlinked(session, binding, now)
    log.info("binding %s of customer %s is revoked", binding.id, binding.customer_id)


def forget(session: Session, sender_id: str) -> None:
    """The customer ends the binding of his conversation himself; typed addresses and a code go as well."""
    session.execute(delete(Binding).where(Binding.sender_id == sender_id))
    session.execute(delete(BindingCode).where(BindingCode.sender_id == sender_id))
    session.execute(delete(TypedAddress).where(TypedAddress.sender_id == sender_id))


async def own_orders(database: Database, crm: CrmPort, sender_id: str, now: datetime) -> list[OrderBrief]:
    """The newest orders of the customer to whom the conversation is bound; a stranger has none.

    Raises:
        CrmUnavailable: nothing is known now.
    """
    customer = await bound_customer(database, crm, sender_id, now)
    return await crm.orders_of(customer.customer_id) if customer else []


def order_meant(orders: Sequence[OrderBrief], topic: str) -> OrderBrief | None:
    """The one order that a case of this topic can only be about; None when there is none or a choice."""
    fitting = list(orders)
    if topic in OF_COMING | OF_ARRIVED:
        over = topic in OF_ARRIVED
        fitting = [order for order in orders if (order.status.strip().casefold() in FINISHED) == over] or fitting
    return fitting[0] if len(fitting) == 1 else None


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _customer_of(session: Session, token: str, sender_id: str, now: datetime) -> str | None:
    link = _usable(session, token, sender_id, now)
    return link.customer_id if link else None


def _usable(session: Session, token: str, sender_id: str, now: datetime) -> Link | None:
    """The link, if this conversation may use it: for the first time, or once more while what it made still lasts."""
    link = session.get(Link, _hash(token), with_for_update=True)
    if link is None or link.expires_at < now:
        return None
    if link.used_by is None:
        return link
    made = select(Binding.id).where(Binding.sender_id == sender_id, Binding.customer_id == link.customer_id)
    return link if link.used_by == sender_id and session.scalar(made) is not None else None


def _bind(
    session: Session, token: str, customer: Customer, sender_id: str, channel: str, desk: Desk, now: datetime
) -> Binding | None:
    link = _usable(session, token, sender_id, now)
    if link is None:
        return None
    link.used_by = sender_id  # whatever follows: nobody else gets to tap it
    return bind_conversation(session, customer, sender_id, channel, "link", desk, now)


def bind_conversation(
    session: Session,
    customer: Customer,
    sender_id: str,
    channel: str,
    by: Literal["link", "code"],
    desk: Desk,
    now: datetime,
) -> Binding | None:
    """Bind a conversation to a customer who has proven himself, and write to him; None when it was disputed."""
    if is_disputed(session, sender_id):
        return None
    known = session.scalar(select(Binding).where(Binding.sender_id == sender_id))
    if (
        known is not None
        and known.customer_id == customer.customer_id
        and known.registered_address in customer.addresses
    ):
        known.used_at = now
        return known
    if known is not None:
        session.delete(known)
        session.flush()
    binding = Binding(
        sender_id=sender_id,
        channel=channel,
        customer_id=customer.customer_id,
        registered_address=min(customer.addresses),
        language=customer.language,
        bound_at=now,
        used_at=now,
    )
    session.add(binding)
    session.flush()
    facts = {
        "first_name": first_name(customer.name),
        "channel": words(binding.language)["channels"].get(channel, channel),
        "by": by,
        "bound_at": moment(desk, now, binding.language),
        "unlink_link": f"{desk.base_url}/unlink/{link_token(desk.signing_key, 'unlink', binding.id)}",
    }
    purpose = f"linked:{binding.id}"
    post_notice(session, desk, binding.language, binding.registered_address, "linked", purpose, facts, now)
    log.info("binding %s: %s belongs to customer %s", binding.id, sender_id, customer.customer_id)
    return binding
