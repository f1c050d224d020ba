"""Whose a ticket is, found out later: an operator says it, or the CRM that was away is asked again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from handoff.crm.port import CrmPort, CrmUnavailable
from handoff.database import Database
from handoff.desk import Desk
from handoff.identifiers import normalise_order_number
from handoff.identity import identify_later
from handoff.models import Ticket
from handoff.ownership import NotAssignable, assign_requester, settle_claim

log = logging.getLogger(__name__)

#: How often waiting tickets are looked for.
LOOK_EVERY_S = 5.0

#: A ticket's attempts are a quarter of its age apart, within these bounds: after a short outage nobody waits for long,
#: and a long one is not made longer by asking.
SHORTEST_WAIT = timedelta(seconds=20)
LONGEST_WAIT = timedelta(minutes=15)


async def assign(
    database: Database, crm: CrmPort, number: int, customer_id: str, order_number: str | None, desk: Desk, now: datetime
) -> None:
    """An operator says whose unverified ticket this is, and which order it is about.

    Raises:
        UnknownTicket: there is no such ticket.
        NotAssignable: it has a requester, or the CRM has no such customer, address or order of his.
        CrmUnavailable: the CRM does not say.
    """
    customer = await crm.customer(customer_id)
    if customer is None:
        raise NotAssignable(f"the CRM has no customer {customer_id!r}")
    order = await crm.order(normalise_order_number(order_number)) if order_number else None
    if order_number and (order is None or order.customer_id != customer_id):
        raise NotAssignable(f"order {order_number!r} is not one of customer {customer_id!r}")
    await database.run(assign_requester, number, customer, order, desk, now)


class Matching:
    """Asks the CRM again about the tickets that were opened while it was away."""

    def __init__(self, database: Database, crm: CrmPort, desk: Desk, letters_waiting: Callable[[], None]) -> None:
        self._database = database
        self._crm = crm
        self._desk = desk
        self._letters_waiting = letters_waiting

    async def run(self) -> None:
        """Match until cancelled."""
        while True:
            await self.match_due(datetime.now(UTC))
            await asyncio.sleep(LOOK_EVERY_S)

    async def match_due(self, now: datetime) -> None:
        """One round: ask about each ticket whose time has come, the longest waiting first, until the CRM is away.

        A ticket's next attempt is written down before this one: whatever goes wrong with one holds up no other, and one
        that was cut off is made again.
        """
        while (ticket := await self._database.run(_take, now)) is not None:
            try:
                requester = await identify_later(
                    self._database, self._crm, ticket.sender_id, ticket.claimed_order, ticket.claimed_address, now
                )
            except CrmUnavailable as problem:
                log.info("ticket %d waits for the CRM: %s", ticket.number, problem)
                return
            await self._database.run(settle_claim, ticket.number, requester, self._desk, now)
            self._letters_waiting()
            log.info("ticket %d: %s", ticket.number, "the pair matches" if requester else "the pair does not match")


def _take(session: Session, now: datetime) -> Ticket | None:
    """A ticket to ask about now, with its next attempt put off."""
    ticket = session.scalar(
        select(Ticket)
        .where(Ticket.match_at <= now, Ticket.state == "open", Ticket.requester.is_(None))
        .order_by(Ticket.match_at, Ticket.number)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    if ticket is not None:
        ticket.match_at = now + min(max((now - ticket.opened_at) / 4, SHORTEST_WAIT), LONGEST_WAIT)
    return ticket
