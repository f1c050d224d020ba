"""The oldest waiting row of each conversation, from the inbox or the outbox: what comes next, and nothing before it."""

from __future__ import annotations

from functools import cache
from typing import TypeVar

from sqlalchemy import bindparam, func, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import aliased

from bot.models import InboxItem, OutboxItem

T = TypeVar("T", InboxItem, OutboxItem)


@cache
def oldest_waiting(table: type[T], dialect: str) -> type[T]:
    """Those rows, to select from, but for conversations that the parameter `busy` lists."""
    waiting = table.state == "waiting", table.sender_id.not_in(bindparam("busy", expanding=True))
    if dialect == "postgresql":
        # One way through the index. What PostgreSQL believes about a table that fills and empties all the time makes it
        # choose the worst plan for anything with a join (measured: 4.3 s for 3600 rows that waited).
        rows = select(table).where(*waiting).ext(distinct_on(table.sender_id)).order_by(table.sender_id, table.id)
    else:
        rows = select(table).where(table.id.in_(select(func.min(table.id)).where(*waiting).group_by(table.sender_id)))
    return aliased(table, rows.subquery())
