"""What is said in a conversation that already has a ticket: it is added to that ticket."""

from __future__ import annotations

from typing import Any

from rasa_sdk.interfaces import Tracker
from sqlalchemy.orm import Session

from actions.conversation import (
    language,
    message_key,
    named_addresses,
    named_facts,
    named_numbers,
    times_angry,
    topic,
    urgency,
)
from actions.services import Services
from handoff.bounces import take_other_address
from handoff.files import unattached_files
from handoff.identifiers import mask_address
from handoff.late_facts import take_late_facts
from handoff.models import Ticket
from handoff.tickets import FILES_BELONG, add_to_ticket


async def add(services: Services, tracker: Tracker, ticket: Ticket, text: str) -> None:
    """Add the latest message and photos that wait to a ticket."""

    def work(session: Session) -> None:
        now = services.now()
        files = unattached_files(session, tracker.sender_id, now - FILES_BELONG)
        urgent_for = urgency(tracker, topic(tracker)) if times_angry(tracker) else None
        key = message_key(tracker)
        add_to_ticket(session, ticket.number, text, files, key, services.desk, now, urgent_for=urgent_for)

    await services.database.run(work)
    services.letters_waiting()


async def other_address(services: Services, tracker: Tracker) -> Ticket | None:
    """The ticket that took the address of the latest message, because letters about it came back; else None."""
    named = named_addresses(tracker)
    if not named or "order_number" in named_facts(tracker):  # with a number it is a case of its own
        return None

    def work(session: Session) -> Ticket | None:
        key, now = message_key(tracker), services.now()
        return take_other_address(session, tracker.sender_id, named[-1], key, services.desk, now)

    ticket = await services.database.run(work)
    services.letters_waiting()
    return ticket


async def late_facts(services: Services, tracker: Tracker) -> Ticket | None:
    """The ticket that lacked the number or the address of the latest message; else None."""
    numbers, named = named_numbers(tracker), named_addresses(tracker)

    def work(session: Session) -> Ticket | None:
        number, reference = (found[-1] if found else None for found in (numbers, named))
        key, now = message_key(tracker), services.now()
        return take_late_facts(session, tracker.sender_id, number, reference, key, services.desk, now)

    ticket = await services.database.run(work)
    services.letters_waiting()
    return ticket


def ticket_words(ticket: Ticket, tracker: Tracker) -> dict[str, Any]:
    """What a response may say about a ticket."""
    return {
        "ticket": ticket.number,
        "agent": ticket.agent_names[language(tracker)],
        "masked": mask_address(ticket.requester or ""),
    }
