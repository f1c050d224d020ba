"""Many customers at once, without a page: their messages lie in the inbox as a channel leaves them there."""

from __future__ import annotations

import json
import secrets
from datetime import UTC, datetime

from sqlalchemy import select, text

from bot.inbox import Incoming, receive
from bot.models import InboxItem, OutboxItem
from handoff.database import Database

from .running import wait_for

QUESTIONS = ["How do I measure myself?", "как снять мерки?", "how do I wash them?", "сколько стоит доставка", "привет"]

#: A start on a busy machine lies in between at most.
PATIENCE_S = 300.0


class Crowd:
    """Each writes several messages, all at once, so that they wait for each other."""

    def __init__(self, database: Database, customers: int) -> None:
        self.said: dict[str, list[str]] = {f"web:{secrets.token_urlsafe(12)}": [] for _ in range(customers)}
        self._database = database

    def write(self, messages: int = 1) -> None:
        """Everybody writes so many more."""
        with self._database.session_scope() as session:
            for _ in range(messages):
                for sender_id, keys in self.said.items():
                    keys.append(f"{sender_id}:{len(keys)}")
                    words = QUESTIONS[len(keys) % len(QUESTIONS)]
                    message = Incoming(keys[-1], sender_id, "web", "text", words, language="en")
                    assert receive(session, message, datetime.now(UTC))

    def answered(self) -> int:
        """How many messages have been answered."""
        with self._database.session_scope() as session:
            mine = InboxItem.sender_id.in_(self.said)
            return len(session.scalars(select(InboxItem.id).where(mine, InboxItem.state == "answered")).all())

    def wait(self, least: int | None = None) -> None:
        """Until so many are answered, or all."""
        enough = least or sum(map(len, self.said.values()))
        wait_for(lambda: self.answered() >= enough, f"{enough} answers", PATIENCE_S)

    def check_answers(self) -> dict[str, float]:
        """Every message has one answer, in the order they were written; seconds from message to answer, by key."""
        with self._database.session_scope() as session:
            items = session.scalars(select(InboxItem).where(InboxItem.sender_id.in_(self.said))).all()
            answers = session.scalars(
                select(OutboxItem).where(OutboxItem.sender_id.in_(self.said)).order_by(OutboxItem.id)
            ).all()
        by_purpose = {f"answer:{item.id}": item for item in items}
        for sender_id, keys in self.said.items():
            found = [answer.purpose for answer in answers if answer.sender_id == sender_id]
            assert [by_purpose[purpose].key for purpose in found if purpose in by_purpose] == keys
        return {item.key: (item.done_at - item.received_at).total_seconds() for item in items if item.done_at}

    def check_trackers(self, trackers: Database) -> None:
        """Rasa heard every message once, in the order they were written."""
        rows = "SELECT type_name, data FROM events WHERE sender_id = :sender_id ORDER BY id"
        with trackers.engine.connect() as connection:
            for sender_id, keys in self.said.items():
                heard: list[str] = []
                for kind, data in connection.execute(text(rows), {"sender_id": sender_id}):
                    if kind == "restart":  # a turn was undone, and what came before it told again
                        heard.clear()
                    elif kind == "user":
                        heard.append(json.loads(data)["metadata"]["key"])
                assert heard == keys, sender_id
