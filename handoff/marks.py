"""How customers were served: after closing one question, one mark from 1 (bad) to 5 (good), and what a low one does."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from handoff.compensation import days_late
from handoff.desk import Desk
from handoff.entries import add_entry, find_ticket
from handoff.mail.addresses import link_token
from handoff.mail.posting import post_letter
from handoff.mail.reading import storable
from handoff.models import Csat, Ticket

MARKS = (1, 2, 3, 4, 5)

#: Up to this mark the case was not solved: it opens again.
LOWEST_GOOD = 3

#: What is kept of the words that come with a mark.
MAX_WORDS = 2000

#: A question that the messenger refused is asked by mail instead, within this time.
ASK_AGAIN_FOR = timedelta(days=1)

#: "known": there was a mark before, or nobody had asked for one.
Taken = Literal["low", "good", "known"]


def ask_for_mark(session: Session, ticket: Ticket, desk: Desk, now: datetime) -> None:
    """Ask how it was, once in the life of a ticket: in the chat that opened it if it can be reached, else by mail."""
    if session.get(Csat, ticket.number) is not None:
        return
    in_chat = not ticket.disputed and desk.notices.reaches(session, ticket.sender_id)
    if not in_chat and ticket.requester is None:
        return
    session.add(Csat(ticket_number=ticket.number, how="chat" if in_chat else "mail", asked_at=now))
    session.flush()
    if in_chat:
        desk.notices.ask_mark(session, ticket, now)
    else:
        _ask_by_mail(session, ticket, desk, now)


def ask_the_unreached(session: Session, desk: Desk, now: datetime) -> bool:
    """Ask by mail where the messenger refused the question; whether there was anybody to ask."""
    unanswered = select(Csat).where(Csat.how == "chat", Csat.mark.is_(None), Csat.asked_at > now - ASK_AGAIN_FOR)
    asked = False
    for row in session.scalars(unanswered.order_by(Csat.ticket_number)).all():
        ticket = find_ticket(session, row.ticket_number)
        if ticket.requester is not None and not desk.notices.reaches(session, ticket.sender_id):
            row.how = "mail"
            _ask_by_mail(session, ticket, desk, now)
            asked = True
    return asked


def keep_mark(session: Session, number: int, mark: int, words: str, key: str, desk: Desk, now: datetime) -> Taken:
    """Keep a customer's mark, the first one only; a low one opens the ticket again, before all others.

    `key` is the message that brought it: the same message again is told the same.
    """
    row = session.get(Csat, number, with_for_update=True)
    if row is None:
        return "known"
    if row.mark is not None:
        return _taken(row.mark) if key and row.key == key else "known"
    row.mark, row.at, row.key = mark, now, key
    row.words = storable(words).strip()[:MAX_WORDS]
    ticket = find_ticket(session, number)
    add_entry(session, ticket, "customer", "note", f"mark {mark}", now, source_key="mark")
    if row.words:
        add_entry(session, ticket, "customer", "note", row.words, now, source_key="words with the mark")
    if mark < LOWEST_GOOD:
        ticket.state = "open"
        ticket.make_urgent("mark")
        late = days_late(ticket.snapshot.get("order"), ticket.opened_at, desk.shop.zone)
        facts = {"mark": mark, "words": row.words, "days_late": late, "urgent": ""}
        post_letter(session, ticket, desk, "agents", "low_mark", f"mark:{number}", facts, now)
    return _taken(mark)


def add_words(session: Session, number: int, words: str) -> None:
    """Keep what the customer says about his mark in the chat; the same words again change nothing."""
    row = session.get(Csat, number)
    words = storable(words).strip()
    if row is not None and words not in row.words.split("\n\n"):
        row.words = f"{row.words}\n\n{words}".strip()[:MAX_WORDS]


def _taken(mark: int) -> Taken:
    return "good" if mark >= LOWEST_GOOD else "low"


def _ask_by_mail(session: Session, ticket: Ticket, desk: Desk, now: datetime) -> None:
    link = f"{desk.base_url}/mark/{link_token(desk.signing_key, 'mark', ticket.number)}"
    post_letter(
        session,
        ticket,
        desk,
        "customer",
        "mark",
        f"mark_question:{ticket.number}",
        {"mark_link": link, "marks": MARKS},
        now,
    )
