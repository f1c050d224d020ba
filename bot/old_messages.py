"""What the customers' side keeps for a while and no longer; see `handoff.retention`."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import delete, or_, select
from sqlalchemy.orm import Session

from bot.models import Button, Conversation, InboxItem, KnowledgeGap, OutboxItem
from bot.trackers import delete_events_before, place_of_trackers
from handoff.erase import Erased, counted
from handoff.models import Binding
from handoff.retention import BATCH, Rule, RuleElsewhere, days_of, older_rows
from handoff.settings import Settings


def message_rules(settings: Settings) -> list[Rule]:
    """The rules for messages on both sides."""
    return days_of(settings.keep_messages_days, old_messages_in, old_messages_out, silent_conversations)


def tracker_rules(settings: Settings) -> list[RuleElsewhere]:
    """What Rasa remembers of a conversation goes with its messages; a Rasa that is not ours keeps its own rules."""
    place = place_of_trackers(settings)
    if place is None or not settings.keep_messages_days:
        return []
    keep = timedelta(days=settings.keep_messages_days)
    return [RuleElsewhere("tracker events", keep, partial(delete_events_before, place))]


def _without_gaps(session: Session, keys: list[Any], done: Erased) -> None:
    counted(session, done, "knowledge gaps", delete(KnowledgeGap).where(KnowledgeGap.inbox_id.in_(keys)))


def _without_buttons(session: Session, keys: list[Any], done: Erased) -> None:
    counted(session, done, "buttons", delete(Button).where(Button.outbox_id.in_(keys)))


old_messages_in = older_rows(
    "messages in", InboxItem.id, InboxItem.received_at, InboxItem.state != "waiting", before=_without_gaps
)
old_messages_out = older_rows(
    "messages out", OutboxItem.id, OutboxItem.created_at, OutboxItem.state != "waiting", before=_without_buttons
)


def silent_conversations(session: Session, moment: datetime) -> Erased:
    """Conversations of which no message is left; the language of a bound one is still needed."""
    done = Erased()
    said = (
        select(table.sender_id).where(table.sender_id == Conversation.sender_id).exists()
        for table in (InboxItem, OutboxItem, Binding)
    )
    left_alone = or_(Conversation.paused_until.is_(None), Conversation.paused_until < moment)
    silent = select(Conversation.sender_id).where(left_alone, *(~each for each in said))
    keys = session.scalars(silent.limit(BATCH)).all()
    counted(session, done, "conversations", delete(Conversation).where(Conversation.sender_id.in_(keys)))
    return done
