"""Who is writing: an order number and a registered address that belong together identify a customer, nothing less does.

In a conversation that is bound to a customer (`handoff.links`) the address is known. A stranger must not learn from us
whether an order or an address exists. So every failure, a used-up limit included, looks the same and takes the same
look-ups, and addresses leave this module only masked.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from handoff.crm.port import CrmPort, CrmUnavailable, Customer, Order
from handoff.database import Database
from handoff.identifiers import ADDRESS_REFERENCE, mask_address, normalise_address, normalise_order_number
from handoff.limits import forget_claim, record_claim, settle_claim
from handoff.models import Binding, Ticket, TypedAddress

#: How long a typed address is kept: longer than a conversation about one case, no longer than needed.
ADDRESS_KEPT = timedelta(hours=48)

#: A binding that no case has relied on for so long is void: messenger accounts change hands.
BINDING_LASTS = timedelta(days=180)

#: What stands for a row's id in the reference to the address of a binding; typed addresses are counted from 1.
BOUND = 0


@dataclass(frozen=True)
class Requester:
    """An identified customer, the order he named, and the one of his registered addresses that he typed.

    Without an order only in a bound conversation.
    """

    customer: Customer
    order: Order | None
    registered_address: str


def keep_address(session: Session, sender_id: str, address: str, now: datetime) -> str:
    """Keep a typed address for 48 hours and return what may be said instead of it: "m…k@example.com#17"."""
    session.execute(delete(TypedAddress).where(TypedAddress.typed_at < now - ADDRESS_KEPT))
    row = TypedAddress(sender_id=sender_id, address=address.strip(), typed_at=now)
    session.add(row)
    session.flush()
    return f"{mask_address(row.address)}#{row.id}"


def address_behind(session: Session, sender_id: str, reference: str, now: datetime) -> str | None:
    """The address behind a reference; None when it is gone or belongs to another conversation."""
    found = ADDRESS_REFERENCE.fullmatch(reference.strip())
    if found is None:
        return None
    if int(found["id"]) == BOUND:
        binding = binding_of(session, sender_id, now)
        return binding.registered_address if binding else None
    return session.scalar(
        select(TypedAddress.address).where(TypedAddress.id == int(found["id"]), TypedAddress.sender_id == sender_id)
    )


def binding_of(session: Session, sender_id: str, now: datetime) -> Binding | None:
    """The customer to whom a conversation is bound; a conversation whose claim was disputed counts for nobody."""
    binding = session.scalar(select(Binding).where(Binding.sender_id == sender_id))
    if binding is None or now - binding.used_at > BINDING_LASTS or is_disputed(session, sender_id):
        return None
    return binding


def bound_reference(binding: Binding) -> str:
    """What may be said instead of the address of a binding; it leads to the address while the binding lasts."""
    return f"{mask_address(binding.registered_address)}#{BOUND}"


def is_bound_reference(reference: str | None) -> bool:
    """Whether a reference leads to the address of a binding and not to one that was typed."""
    return bool(reference) and str(reference).endswith(f"#{BOUND}")


def is_disputed(session: Session, sender_id: str) -> bool:
    """Whether a customer has said that it was not him who wrote in this conversation."""
    disputed = select(Ticket.number).where(Ticket.sender_id == sender_id, Ticket.disputed)
    return session.scalar(disputed.limit(1)) is not None


async def identify(
    database: Database, crm: CrmPort, sender_id: str, order_number: str, address: str, now: datetime
) -> Requester | None:
    """The customer whom this order number and this address identify together.

    None for every mismatch and also when a limit is used up, even for a right pair.

    Raises:
        CrmUnavailable: nothing is known now; the attempt does not count.
    """
    number, typed = normalise_order_number(order_number), normalise_address(address)
    return await _within_limits(database, lambda: _compare(crm, number, typed), sender_id, number, typed, now)


async def identify_bound(database: Database, crm: CrmPort, sender_id: str, now: datetime) -> Requester | None:
    """The customer to whom the conversation is bound, without an order, under the limits of `identify`.

    Raises:
        CrmUnavailable: see `identify`.
    """
    binding = await database.run(binding_of, sender_id, now)
    if binding is None:
        return None
    address = normalise_address(binding.registered_address)
    return await _within_limits(database, lambda: _registered(crm, binding), sender_id, "", address, now)


async def bound_customer(database: Database, crm: CrmPort, sender_id: str, now: datetime) -> Customer | None:
    """The customer to whom the conversation is bound. A binding whose address is no longer registered ends here.

    Raises:
        CrmUnavailable: nothing is known now.
    """
    binding = await database.run(binding_of, sender_id, now)
    if binding is None:
        return None
    requester = await _registered(crm, binding)
    if requester is None:
        await database.run(lambda session: session.execute(delete(Binding).where(Binding.id == binding.id)))
        return None
    return requester.customer


async def identify_later(
    database: Database, crm: CrmPort, sender_id: str, order_number: str | None, address: str | None, now: datetime
) -> Requester | None:
    """What `identify` would have said of a claim, or `identify_bound` in a bound conversation, had the CRM been there.

    Raises:
        CrmUnavailable: it still is not.
    """
    if address is None:
        return None
    requester = await identify(database, crm, sender_id, order_number, address, now) if order_number else None
    binding = await database.run(binding_of, sender_id, now) if requester is None else None
    if binding is not None and normalise_address(binding.registered_address) == normalise_address(address):
        return await identify_bound(database, crm, sender_id, now)
    return requester


async def _within_limits(
    database: Database,
    find: Callable[[], Awaitable[Requester | None]],
    sender_id: str,
    number: str,
    address: str,
    now: datetime,
) -> Requester | None:
    """Who is found, if the limits allow to act on it."""
    claim, may_claim = await database.run(record_claim, sender_id, number, address, now)
    try:
        requester = await find()
    except CrmUnavailable:
        await database.run(forget_claim, claim)
        raise

    def settle(session: Session) -> bool:
        within_limits = settle_claim(session, claim, may_claim, number, address, matched=requester is not None, now=now)
        disputed = is_disputed(session, sender_id)  # asked in any case: the same look-ups, whatever is wrong
        return within_limits and not disputed

    return requester if await database.run(settle) else None


async def _compare(crm: CrmPort, number: str, typed: str) -> Requester | None:
    """Compare with all addresses of the order's customer; an unknown order takes the same two look-ups."""
    order = await crm.order(number)
    customer = await crm.customer(order.customer_id if order else "")
    registered = _spelling_of(customer, typed)
    if order is None or customer is None or registered is None or order.number != number:
        return None
    return Requester(customer, order, registered)


async def _registered(crm: CrmPort, binding: Binding) -> Requester | None:
    customer = await crm.customer(binding.customer_id)
    registered = _spelling_of(customer, normalise_address(binding.registered_address))
    return Requester(customer, None, registered) if customer and registered else None


def _spelling_of(customer: Customer | None, address: str) -> str | None:
    """A customer's registered address as the CRM spells it; None when this is none of his."""
    registered = None
    for candidate in sorted(customer.addresses) if customer else [""]:
        if hmac.compare_digest(normalise_address(candidate).encode(), address.encode()):
            registered = candidate
    return registered
