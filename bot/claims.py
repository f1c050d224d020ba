"""Takes messages from an inbox that several services share; on SQLite there is one service, which needs no claims.

A claimed message is its service's until it is answered or put back, or that service is gone (`bot.lease`). The next
message of a conversation waits for it, whichever service that comes to: so conversations stay in order. So does an
older one that appears late, committed after the next or given up once and revived.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import ARRAY, ColumnElement, Integer, Select, func, literal, or_, select, update
from sqlalchemy.orm import Session, aliased

from bot.inbox import in_turn
from bot.models import InboxItem, ServiceRow
from bot.oldest import oldest_waiting

#: Messages that are looked at for one claim: more than are taken, because other services are taking of them just now.
SEEN_AT_ONCE = 100


class ClaimLost(Exception):
    """We were taken for gone, and another service answers the message."""


def claim_messages(
    session: Session, holder: str, busy: Collection[str], now: datetime, limit: int
) -> Sequence[InboxItem]:
    """As `bot.inbox.next_messages`, for PostgreSQL; they are ours from now on.

    `claimed_by` of what is returned is who had it before: it may have been in the middle of its turn.
    """
    item = oldest_waiting(session, InboxItem, busy)
    chosen = select(item.id).where(*_claimable(item, now), item.sender_id.not_in(_in_hand()))
    chosen = chosen.order_by(*in_turn(item)).limit(SEEN_AT_ONCE)
    ids = session.scalars(chosen).all()
    if not ids:
        return []
    claim = select(InboxItem).where(InboxItem.id.in_(ids), InboxItem.state == "waiting", *_claimable(InboxItem, now))
    claim = claim.order_by(func.array_position(literal(ids, ARRAY(Integer)), InboxItem.id)).limit(limit)
    found = aliased(InboxItem, claim.with_for_update(skip_locked=True).subquery())
    # Another service may be claiming another message of the conversation. Only who has its lock goes on, and looks
    # again: the other one may have had it until just now.
    locked = func.pg_try_advisory_xact_lock(func.hashtext(found.sender_id))
    claimed = session.scalars(select(found).where(locked)).all()
    ours = update(InboxItem).where(InboxItem.id.in_([item.id for item in claimed]))
    ours = ours.where(InboxItem.sender_id.not_in(_in_hand())).values(claimed_by=holder).returning(InboxItem.id)
    ids = session.scalars(ours.execution_options(synchronize_session=False)).all()
    return [item for item in claimed if item.id in ids]


def _claimable(item: type[InboxItem], now: datetime) -> tuple[ColumnElement[bool], ...]:
    free = or_(item.claimed_by.is_(None), item.claimed_by.not_in(select(ServiceRow.holder)))
    return item.not_before <= now, free


def _in_hand() -> Select[str]:
    """The conversations of which a service is answering a message."""
    item = aliased(InboxItem)
    return select(item.sender_id).where(item.state == "waiting", item.claimed_by.in_(select(ServiceRow.holder)))


def claimed_item(session: Session, item_id: int, holder: str) -> InboxItem:
    """The message, to be changed by who answers it.

    Raises:
        ClaimLost: that is no longer us.
    """
    item = session.get_one(InboxItem, item_id, with_for_update=True)
    if item.claimed_by not in (None, holder):
        raise ClaimLost(f"message {item_id} is answered by {item.claimed_by}")
    return item


def put_back(session: Session, holder: str) -> None:
    """Free what we had claimed before our loop broke; its turns may have been played (`attempts`)."""
    left = InboxItem.claimed_by == holder, InboxItem.state == "waiting"
    session.execute(update(InboxItem).where(*left).values(claimed_by=None, attempts=InboxItem.attempts + 1))
