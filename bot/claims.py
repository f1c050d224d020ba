"""Takes messages from an inbox that several services share; on SQLite there is one service, which needs no claims.

A claimed message is its service's until it is answered or put back, or that service is gone (`bot.lease`). The next
message of a conversation waits for it, whichever service that comes to: so conversations stay in order. So does an
older one that appears late, committed after the next or given up once and revived.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from functools import cache
from typing import Any, cast

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    CursorResult,
    Integer,
    Select,
    bindparam,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.orm import Session, aliased
from sqlalchemy.sql.dml import ReturningUpdate

from bot.inbox import in_turn
from bot.models import InboxItem, ServiceRow
from bot.oldest import oldest_waiting
from handoff.database import table_of

#: Messages that are looked at for one claim: more than are taken, because other services are taking of them just now.
SEEN_AT_ONCE = 100


_INBOX = table_of(InboxItem)
#: Built once: that takes longer than running it.
_FINISH = (
    update(_INBOX)
    .where(_INBOX.c.id.in_(bindparam("ids", expanding=True)))
    .where(
        or_(
            _INBOX.c.claimed_by == bindparam("holder"),
            _INBOX.c.claimed_by.is_(None),
            _INBOX.c.id != bindparam("first"),
        )
    )
    .values(state="answered", done_at=bindparam("now"), topic=bindparam("topic"))
)


class ClaimLost(Exception):
    """We were taken for gone, and another service answers the message."""


def claim_messages(
    session: Session, holder: str, busy: Collection[str], now: datetime, limit: int
) -> Sequence[InboxItem]:
    """As `bot.inbox.next_messages`, for PostgreSQL; they are ours from now on.

    `claimed_by` of what is returned is who had it before: it may have been in the middle of its turn.
    """
    ids = session.scalars(_chosen(), {"busy": list(busy), "now": now}).all()
    if not ids:
        return []
    claimed = session.scalars(_locked(), {"ids": ids, "now": now, "limit": limit}).all()
    ours = session.scalars(_ours(), {"ids": [item.id for item in claimed], "holder": holder}).all()
    return [item for item in claimed if item.id in ours]


# Statements are built once: that takes longer than running them.


@cache
def _chosen() -> Select[int]:
    item = oldest_waiting(InboxItem, "postgresql")
    chosen = select(item.id).where(*_claimable(item), item.sender_id.not_in(_in_hand()))
    return chosen.order_by(*in_turn(item)).limit(SEEN_AT_ONCE)


@cache
def _locked() -> Select[InboxItem]:
    ids = bindparam("ids", type_=ARRAY(Integer))
    claim = select(InboxItem).where(InboxItem.id == func.any(ids), InboxItem.state == "waiting", *_claimable(InboxItem))
    claim = claim.order_by(func.array_position(ids, InboxItem.id)).limit(bindparam("limit", type_=Integer))
    found = aliased(InboxItem, claim.with_for_update(skip_locked=True).subquery())
    # Another service may be claiming another message of the conversation. Only who has its lock goes on, and looks
    # again (`_ours`): the other one may have had it until just now.
    return select(found).where(func.pg_try_advisory_xact_lock(func.hashtext(found.sender_id)))


@cache
def _ours() -> ReturningUpdate[int]:
    ours = update(_INBOX).where(_INBOX.c.id.in_(bindparam("ids", expanding=True)))
    ours = ours.where(_INBOX.c.sender_id.not_in(_in_hand())).values(claimed_by=bindparam("holder"))
    return ours.returning(_INBOX.c.id)


def _claimable(item: type[InboxItem]) -> tuple[ColumnElement[bool], ...]:
    free = or_(item.claimed_by.is_(None), item.claimed_by.not_in(select(ServiceRow.holder)))
    return item.not_before <= bindparam("now"), free


def _in_hand() -> Select[str]:
    """The conversations of which a service is answering a message."""
    item = aliased(InboxItem)
    return select(item.sender_id).where(item.state == "waiting", item.claimed_by.in_(select(ServiceRow.holder)))


def claimed_item(session: Session, item_id: int, holder: str) -> InboxItem:
    """The message, to be changed by who answers it.

    Raises:
        ClaimLost: that is no longer us, or it was erased meanwhile.
    """
    item = session.get(InboxItem, item_id, with_for_update=True)
    if item is None or item.claimed_by not in (None, holder):
        raise ClaimLost(f"message {item_id} is answered by another service, or erased")
    return item


def finish(session: Session, items: Sequence[InboxItem], holder: str, topic: str | None, now: datetime) -> None:
    """A message, with the rest of its album, is answered.

    Raises:
        ClaimLost: not by us, or it was erased meanwhile.
    """
    ids = [item.id for item in items]
    done = session.execute(_FINISH, {"ids": ids, "first": ids[0], "holder": holder, "topic": topic, "now": now})
    if cast(CursorResult[Any], done).rowcount != len(ids):
        raise ClaimLost(f"message {ids[0]} is answered by another service, or erased")


def put_back(session: Session, holder: str) -> None:
    """Free what we had claimed before our loop broke; its turns may have been played (`attempts`)."""
    left = InboxItem.claimed_by == holder, InboxItem.state == "waiting"
    session.execute(update(InboxItem).where(*left).values(claimed_by=None, attempts=InboxItem.attempts + 1))
