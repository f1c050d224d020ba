"""Takes each conversation's oldest waiting message to Rasa and puts the answer into the outbox, in one transaction."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from sqlalchemy.orm import Session

from bot import outbox
from bot.inbox import next_messages, words_for_engine
from bot.metrics import ANSWER_SECONDS, TURNS
from bot.models import Conversation, InboxItem, KnowledgeGap
from bot.notices import ConversationNotices
from bot.rasa import Answer, EngineAway, RasaClient, TurnFailed
from handoff.database import Database

log = logging.getLogger(__name__)

#: Conversations answered at once. Rasa is one event loop: more only wait there instead of here.
PARALLEL = 16
#: How often the table is looked at when nothing wakes the gateway.
POLL_S = 0.2
#: After this long without an answer the customer is told that it takes longer. A word within a minute is the promise;
#: a turn that hangs is noticed after `bot.rasa.TURN_TIMEOUT_S`.
SILENCE = timedelta(seconds=20)
#: Waits between attempts while Rasa is away: short, since messages pile up, and it comes back within seconds.
LONGEST_WAIT = timedelta(seconds=5)
#: A message whose turn fails this often, with Rasa itself well, is given to a person.
MOST_FAILURES = 8


class Gateway:
    """One message's way between inbox and outbox."""

    def __init__(
        self, database: Database, rasa: RasaClient, notices: ConversationNotices, answered: Callable[[], None]
    ) -> None:
        self._database = database
        self._rasa = rasa
        self._notices = notices
        self._answered = answered
        self._busy: set[str] = set()
        self._failed_turns: set[str] = set()
        self._failures: Counter[int] = Counter()
        self._wake = asyncio.Event()
        # Messages from before our start may have been on their way to Rasa when we died.
        self._started_at = datetime.now(UTC)

    def wake(self) -> None:
        """Look at the inbox now."""
        self._wake.set()

    def turn_failed(self, key: str) -> None:
        """An action of this message's turn broke: Rasa goes on without its result, so the turn must be played again."""
        self._failed_turns.add(key)

    async def run(self) -> None:
        """Answer until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._wake.clear()
                free = PARALLEL - len(self._busy)
                due = await self._database.run(next_messages, frozenset(self._busy), datetime.now(UTC), free)
                for item in due:
                    self._busy.add(item.sender_id)
                    tasks.create_task(self._answer(item))
                # Not `wait_for`: before Python 3.12 it swallows a cancellation that comes together with a wake.
                with suppress(TimeoutError):
                    async with asyncio.timeout(POLL_S):
                        await self._wake.wait()

    async def _answer(self, item: InboxItem) -> None:
        try:
            answer = await self._turn(item)
            await self._database.run(_finish, item, answer, datetime.now(UTC))
            ANSWER_SECONDS.observe((datetime.now(UTC) - item.received_at).total_seconds())
            TURNS.labels("answered").inc()
        except EngineAway as problem:
            TURNS.labels("engine away").inc()
            log.warning("message %s waits: %s", item.id, problem)
            await self._database.run(self._postpone, item.id, str(problem), give_up=False)
        except Exception as problem:  # one message must not stop the others; after some tries a person looks
            TURNS.labels("failed").inc()
            log.exception("turn of message %s failed", item.id)
            self._failures[item.id] += 1
            give_up = self._failures[item.id] >= MOST_FAILURES
            await self._database.run(self._postpone, item.id, repr(problem), give_up=give_up)
        finally:
            self._busy.discard(item.sender_id)
            self._answered()
            self.wake()

    async def _turn(self, item: InboxItem) -> Answer:
        words = await self._database.run(words_for_engine, item, datetime.now(UTC))
        if item.attempts or item.received_at < self._started_at:
            await self._rasa.undo_turn(item.sender_id, item.key)
        metadata = {"key": item.key, "language": item.language, "display_name": item.display_name}
        if item.kind == "button":
            metadata["shown"] = item.text
        answer = await self._rasa.say(item.sender_id, words, item.channel, metadata)
        if item.key in self._failed_turns:
            self._failed_turns.discard(item.key)
            raise TurnFailed("an action of this turn failed")
        return answer

    def _postpone(self, session: Session, item_id: int, reason: str, *, give_up: bool) -> None:
        now = datetime.now(UTC)
        item = session.get_one(InboxItem, item_id)
        item.attempts += 1
        item.last_error = reason
        item.not_before = now + min(timedelta(seconds=2 ** min(item.attempts - 1, 6)), LONGEST_WAIT)
        if give_up:
            item.state, item.done_at = "stuck", now
            self._notices.about(session, item, "not_answered", now)
        elif now - item.received_at > SILENCE:
            self._notices.about(session, item, "takes_longer", now)


def _finish(session: Session, item: InboxItem, answer: Answer, now: datetime) -> None:
    """The message is answered and the answer waits to be sent: both or neither."""
    row = session.get_one(InboxItem, item.id)
    row.state, row.done_at, row.topic = "answered", now, answer.topic
    outbox.put(
        session,
        purpose=f"answer:{item.id}",
        sender_id=item.sender_id,
        channel=item.channel,
        text=answer.text,
        now=now,
        buttons=answer.buttons,
    )
    for fact in dict.fromkeys(answer.gaps):
        session.add(KnowledgeGap(inbox_id=item.id, fact=fact, asked_at=now))
    conversation = session.get(Conversation, item.sender_id)
    if conversation is None:
        session.add(Conversation(sender_id=item.sender_id, channel=item.channel, language=answer.language))
    else:
        conversation.language = answer.language
