"""The oldest waiting row of each conversation, from the inbox or the outbox: what comes next, and nothing before it."""

from __future__ import annotations

from collections.abc import Collection
from typing import TypeVar

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session, aliased

from bot.models import InboxItem, OutboxItem

T = TypeVar("T", InboxItem, OutboxItem)


def oldest_waiting(session: Session, table: type[T], busy: Collection[str]) -> type[T]:
    """Those rows, to select from, but for conversations that are `busy`."""
    waiting = [table.state == "waiting"]
    if busy:
        waiting.append(table.sender_id.not_in(busy))
    if session.get_bind().dialect.name == "postgresql":
        # One way through the index. What PostgreSQL believes about a table that fills and empties all the time makes it
        # choose the worst plan for anything with a join (measured: 4.3 s for 3600 rows that waited).
        rows = select(table).where(*waiting).ext(distinct_on(table.sender_id)).order_by(table.sender_id, table.id)
    else:
        rows = select(table).where(table.id.in_(select(func.min(table.id)).where(*waiting).group_by(table.sender_id)))
    return aliased(table, rows.subquery())
