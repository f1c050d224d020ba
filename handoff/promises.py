"""What customers are promised: by when the first answer comes, and who hears of it when it does not.

Tickets are looked at again and again; each step is a letter whose purpose exists once. After a pause of ours only the
newest step that is due is taken, so nobody gets a reminder of what is late already.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from handoff.compensation import days_late
from handoff.database import Database
from handoff.desk import Desk
from handoff.entries import add_entry
from handoff.hours import after_work, answer_by, written_deadline
from handoff.mail.posting import post_letter
from handoff.marks import ask_the_unreached
from handoff.models import Ticket

log = logging.getLogger(__name__)

#: How often tickets are looked at: a reminder need not come on the second.
LOOK_EVERY_S = 15.0

#: A ticket that has waited longer than this was overlooked by people, not by us: nobody is told of it any more.
OVERLOOKED = timedelta(days=14)


def promised(ticket: Ticket, desk: Desk, now: datetime) -> datetime:
    """The first promise while it can be kept, else one counted from now."""
    first = answer_by(desk.shop, ticket.opened_at).promised
    if ticket.first_answer_at is not None or first < now:
        first = answer_by(desk.shop, now).promised
    return first


def promise_text(ticket: Ticket, desk: Desk, now: datetime, language: str | None = None) -> str:
    """By when the next answer comes, as letters say it; in the customer's language unless another is named."""
    return written_deadline(desk.shop, promised(ticket, desk, now), language or ticket.language)


def keep_promises(session: Session, desk: Desk, now: datetime) -> bool:
    """Take the step that is due for each ticket without an answer; whether there was any.

    Three quarters of the promised time remind the agents. All of it makes the ticket urgent, tells agents and manager,
    and the customer that it takes longer. So do 24 hours, in which the shop may have been closed: the customer hears
    of nothing then, since what he was promised still holds.
    """
    waiting = (
        select(Ticket)
        .where(Ticket.state == "open", Ticket.first_answer_at.is_(None), ~Ticket.disputed)
        .where(Ticket.opened_at > now - OVERLOOKED, Ticket.opened_at <= now)
        .order_by(Ticket.number)
    )
    taken = False
    for ticket in session.scalars(waiting).all():
        try:
            with session.begin_nested():
                taken |= _take_step(session, ticket, desk, now)
        except OperationalError:
            raise  # the database's trouble, not the ticket's
        except Exception:  # one ticket must not keep the others waiting; it is looked at again
            log.exception("the promise of ticket %s could not be looked after", ticket.number)
    return taken


class PromiseKeeper:
    """The loop that looks after promises; `told` is called when letters or messages wait."""

    def __init__(self, database: Database, desk: Desk, told: Callable[[], None]) -> None:
        self._database = database
        self._desk = desk
        self._told = told

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            if await self._database.run(self._look, datetime.now(UTC)):
                self._told()
            await asyncio.sleep(LOOK_EVERY_S)

    def _look(self, session: Session, now: datetime) -> bool:
        kept = keep_promises(session, self._desk, now)
        return ask_the_unreached(session, self._desk, now) or kept


def _take_step(session: Session, ticket: Ticket, desk: Desk, now: datetime) -> bool:
    due = answer_by(desk.shop, ticket.opened_at)
    steps = [
        (after_work(desk.shop, ticket.opened_at, desk.shop.first_answer * 3 / 4), "reminder"),
        (due.promised, "late"),
        (due.ceiling, "day_passed"),
    ]
    step = max((step for step in steps if step[0] <= now), default=None)
    if step is None or not add_entry(session, ticket, "system", "note", step[1], now, source_key=f"step:{step[1]}"):
        return False
    late = due.promised <= now
    facts: dict[str, Any] = {
        "promised": written_deadline(desk.shop, due.promised, desk.shop.language),
        "late": late,
        "day_passed": due.ceiling <= now,
        "in_chat": desk.notices.reaches(session, ticket.sender_id),
        "days_late": days_late(ticket.snapshot.get("order"), ticket.opened_at, desk.shop.zone),
        "urgent": "",  # the letter itself says why
    }
    if step[1] == "reminder":
        post_letter(session, ticket, desk, "agents", "reminder", f"reminder:{ticket.number}", facts, now)
        return True
    ticket.make_urgent("late" if late else "day")
    if late and add_entry(session, ticket, "system", "note", "told that it is late", now, source_key="told:late"):
        desk.notices.announce(session, ticket, "answer_late", now)
    for reader, address in (("agents", desk.agents_address), ("manager", desk.escalation_address)):
        if address:
            purpose = f"{step[1]}:{ticket.number}:{reader}"
            post_letter(session, ticket, desk, "agents", "late", purpose, facts, now, to_address=address)
    log.warning("ticket %s has no answer: %s", ticket.number, step[1].replace("_", " "))
    return True
