"""The case form as actions change it: its slots, its end, and what a bound conversation need not be asked."""

from __future__ import annotations

from typing import Any

from rasa_sdk.events import ActiveLoop, SlotSet
from rasa_sdk.interfaces import Tracker
from sqlalchemy.orm import Session

from actions.conversation import named_facts
from actions.services import Services
from handoff.crm.port import CrmUnavailable, OrderBrief
from handoff.identity import address_behind, binding_of, bound_reference
from handoff.links import order_meant, own_orders

Events = list[dict[str, Any]]

CONFIRMED, TOPIC, MISMATCHES = "case_form__confirmed", "case_form__topic", "case_form__mismatches"
WORDS = "case_form__words"

RESET: Events = [SlotSet(CONFIRMED, None), SlotSet(TOPIC, None), SlotSet(WORDS, None), SlotSet(MISMATCHES, 0)]
CLOSE_FORM: Events = [ActiveLoop(None), SlotSet("requested_slot", None), *RESET]


async def begun(services: Services, tracker: Tracker, about: str, words: str) -> Events:
    """A case begins: what it is about, and what need not be asked because the conversation is bound.

    What the message itself names counts more than what is known, and an address whose time is over is asked for again.
    """
    events: Events = [SlotSet(TOPIC, about), SlotSet(WORDS, words), SlotSet(CONFIRMED, None), SlotSet(MISMATCHES, 0)]
    named, orders = named_facts(tracker), await customers_orders(services, tracker)
    address = await services.database.run(_known_address, services, tracker)
    if "address" not in named and address != tracker.get_slot("address"):
        events.append(SlotSet("address", address))
    meant = order_meant(orders, about)
    if meant is not None and tracker.get_slot("order_number") is None:
        events.append(SlotSet("order_number", meant.number))
    return events


async def asked_anew(services: Services, tracker: Tracker) -> Events:
    """Number and address are asked for again, but for the address of a bound conversation."""
    return [SlotSet("order_number", None), SlotSet("address", await bound_address(services, tracker))]


async def bound_address(services: Services, tracker: Tracker) -> str | None:
    """What stands for the address of a bound conversation; None in any other."""

    def find(session: Session) -> str | None:
        binding = binding_of(session, tracker.sender_id, services.now())
        return bound_reference(binding) if binding else None

    return await services.database.run(find)


async def customers_orders(services: Services, tracker: Tracker) -> list[OrderBrief]:
    """The newest orders of whom the conversation is bound to; none of a stranger, and none while the CRM is away."""
    try:
        return await own_orders(services.database, services.crm, tracker.sender_id, services.now())
    except CrmUnavailable:
        return []


def _known_address(session: Session, services: Services, tracker: Tracker) -> str | None:
    """The bound address, which is relied on now, else one that was typed and is still kept."""
    now = services.now()
    binding = binding_of(session, tracker.sender_id, now)
    if binding is not None:
        binding.used_at = now
        return bound_reference(binding)
    typed = tracker.get_slot("address")
    return typed if typed and address_behind(session, tracker.sender_id, typed, now) else None
