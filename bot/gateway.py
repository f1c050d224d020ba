"""Takes each conversation's oldest waiting message to Rasa and puts the answer into the outbox, in one transaction."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta

from sqlalchemy.orm import Session

from bot import outbox
from bot.channel import Channel, FileGone
from bot.claims import ClaimLost, claim_messages, claimed_item, finish, put_back
from bot.codes import holds_code, take_code
from bot.engines import Engines
from bot.inbox import (
    album_of,
    keep_addresses,
    keep_language,
    next_messages,
    retry_all,
    typed_addresses,
    waiting_since,
    words_for_engine,
)
from bot.lease import THIS_PROCESS
from bot.metrics import ANSWER_SECONDS, INBOX_SECONDS, TURNS
from bot.models import InboxItem, KnowledgeGap, RemoteFile
from bot.notices import ConversationNotices
from bot.rasa import Answer, EngineAway
from handoff.database import Database
from handoff.desk import Desk
from handoff.files import ACCEPTED_TYPES, MAX_FILE_BYTES, FileTooLarge, FileTypeRefused, keep_file
from handoff.log_lines import follow

log = logging.getLogger(__name__)

#: Conversations answered at once. Rasa is one event loop: more only wait there instead of here.
PARALLEL = 16
#: How often the table is looked at when nothing wakes the gateway.
POLL_S = 0.1
#: Looked at once, it is left alone for so long: who becomes free meanwhile is found by one look instead of several.
GATHER_S = 0.02
#: How often Rasa is asked whether it is back.
AWAY_POLL_S = 0.5
#: After this long without an answer the customer is told that it takes longer. A word within a minute is the promise;
#: a turn that hangs is noticed after `bot.rasa.TURN_TIMEOUT_S`.
SILENCE = timedelta(seconds=20)
#: Waits between attempts while Rasa is away: short, since messages pile up, and it comes back within seconds.
LONGEST_WAIT = timedelta(seconds=5)
#: An answer that takes longer is announced by "is typing"; it costs a call, and most answers are quicker.
TYPING_AFTER_S = 1.0
#: A file that the messenger has not handed over after this long is given up, and the customer asked for it again.
FILE_PATIENCE = timedelta(minutes=10)
#: A message whose turn fails this often, with Rasa itself well, is given to a person.
MOST_FAILURES = 8


class FileAway(Exception):
    """A file cannot be fetched from the messenger now: the message waits."""


class Gateway:
    """One message's way between inbox and outbox.

    `answered` is called when there is something to send. `holder` is who we are among the services that share the
    inbox. `may_send` says whether we are the one who sends on a channel: only he may call its API for "is typing".
    """

    def __init__(
        self,
        database: Database,
        rasa: Engines,
        notices: ConversationNotices,
        channels: Mapping[str, Channel],
        desk: Desk,
        answered: Callable[[], None],
        *,
        holder: str = THIS_PROCESS,
        may_send: Callable[[str], bool] = lambda channel: True,
    ) -> None:
        self._database = database
        self._rasa = rasa
        self._notices = notices
        self._channels = channels
        self._desk = desk
        self._answered = answered
        self._holder = holder
        self._may_send = may_send
        self._busy: set[str] = set()
        self._failures: Counter[int] = Counter()
        self._wake = asyncio.Event()
        self._engine_there = False
        self._told: set[int] = set()
        self._started_at = datetime.now(UTC)

    def wake(self) -> None:
        """Look at the inbox now."""
        self._wake.set()

    async def run(self) -> None:
        """Answer until cancelled; a loop that broke may be run again."""
        # Turns were cut off, some before they began. What came before now may have been played.
        self._started_at = datetime.now(UTC)
        self._busy.clear()
        if self._database.is_shared:
            await self._database.run(put_back, self._holder)
        async with asyncio.TaskGroup() as tasks:
            while True:
                if not self._engine_there:
                    await self._engine_back()
                self._wake.clear()
                for item in await self._due():
                    self._busy.add(item.sender_id)
                    tasks.create_task(self._answer(item))
                await asyncio.sleep(GATHER_S)
                # Not `wait_for`: before Python 3.12 it swallows a cancellation that comes together with a wake.
                with suppress(TimeoutError):
                    async with asyncio.timeout(POLL_S):
                        await self._wake.wait()

    async def _due(self) -> Sequence[InboxItem]:
        """As many messages to answer as there is room for; where others take from the same inbox, they are claimed."""
        busy, now, free = frozenset(self._busy), datetime.now(UTC), PARALLEL - len(self._busy)
        if not free:
            return []
        if self._database.is_shared:
            return await self._database.run(claim_messages, self._holder, busy, now, free)
        return await self._database.read(next_messages, busy, now, free)

    async def _engine_back(self) -> None:
        """Wait for Rasa; customers are told that it takes longer, and once it is there all waits are over."""
        was_away = False
        while not await self._rasa.ready():
            if not was_away:
                log.info("the engine is not ready, messages wait")
            was_away = True
            await self._database.run(self._tell_the_waiting, datetime.now(UTC))
            self._answered()
            await asyncio.sleep(AWAY_POLL_S)
        if was_away:
            log.info("the engine is ready")
            await self._database.run(retry_all, datetime.now(UTC))
        self._engine_there = True

    def _tell_the_waiting(self, session: Session, now: datetime) -> None:
        for item in waiting_since(session, now - SILENCE, self._told):
            self._notices.about(session, item, "takes_longer", now)
            self._told.add(item.id)

    async def _answer(self, item: InboxItem) -> None:
        follow(key=item.key)
        if not item.attempts:
            INBOX_SECONDS.observe((datetime.now(UTC) - item.received_at).total_seconds())
        try:
            async with self._typing(item):
                album = await self._database.read(album_of, item) if item.album else [item]
                if await self._fetched(album) and not await self._code_taken(item):
                    answer = await self._turn(item)
                    await self._database.run(self._finish, item, album, answer, datetime.now(UTC))
            took_s = (datetime.now(UTC) - item.received_at).total_seconds()
            ANSWER_SECONDS.observe(took_s)
            log.info("message %s answered after %.3f s", item.id, took_s)
            TURNS.labels("answered").inc()
        except EngineAway as problem:
            TURNS.labels("engine away").inc()
            log.warning("message %s waits: %s", item.id, problem)
            await self._wait(item, str(problem))
            self._engine_there = False
        except FileAway as problem:
            TURNS.labels("file away").inc()
            log.warning("message %s waits: %s", item.id, problem)
            await self._wait(item, str(problem))
        except ClaimLost as problem:
            TURNS.labels("claim lost").inc()
            log.warning("%s", problem)
        except Exception as problem:  # one message must not stop the others; after some tries a person looks
            TURNS.labels("failed").inc()
            log.exception("turn of message %s failed", item.id)
            self._failures[item.id] += 1
            give_up = self._failures[item.id] >= MOST_FAILURES
            await self._wait(item, repr(problem), give_up=give_up)
        finally:
            self._busy.discard(item.sender_id)
            self._answered()
            self.wake()

    @asynccontextmanager
    async def _typing(self, item: InboxItem) -> AsyncIterator[None]:
        async def show() -> None:
            await asyncio.sleep(TYPING_AFTER_S)
            if self._may_send(item.channel):
                with suppress(Exception):  # only a courtesy
                    await self._channels[item.channel].typing(item.sender_id)

        showing = asyncio.create_task(show())
        try:
            yield
        finally:
            showing.cancel()

    async def _fetched(self, album: Sequence[InboxItem]) -> bool:
        """Fetch the files of a message or an album; False when none can be taken, which the customer then was told."""
        refused = None
        for item in album:
            if item.remote_file is None or item.photo is not None:
                continue
            try:
                await self._fetch(item, item.remote_file)
            except FileTooLarge:
                refused = "photo_too_large"
            except FileTypeRefused:
                refused = "photo_wrong_type"
            except FileGone:
                refused = "photo_gone"
            except Exception as problem:
                if datetime.now(UTC) - item.received_at < FILE_PATIENCE:
                    raise FileAway(f"its file cannot be fetched: {problem!r}") from problem
                refused = "photo_gone"
        if refused is None:
            return True
        kept = any(item.photo for item in album)
        await self._database.run(self._refuse, album, refused, answered=not kept)
        return kept

    async def _fetch(self, item: InboxItem, file: RemoteFile) -> None:
        if file["type"] is not None and file["type"] not in ACCEPTED_TYPES:
            raise FileTypeRefused(file["type"])
        if (file["size"] or 0) > MAX_FILE_BYTES:
            raise FileTooLarge(file["size"] or 0)
        content = await self._channels[item.channel].download(file)

        def keep(session: Session) -> str:
            now = datetime.now(UTC)
            name = keep_file(session, self._desk.data_dir, item.sender_id, content, item.key, now).name
            session.get_one(InboxItem, item.id).photo = name
            return name

        item.photo = await self._database.run(keep)

    def _refuse(self, session: Session, album: Sequence[InboxItem], notice: str, *, answered: bool) -> None:
        now = datetime.now(UTC)
        claimed_item(session, album[0].id, self._holder)
        self._notices.about(session, album[0], notice, now)
        if answered:
            for item in album:
                row = session.get_one(InboxItem, item.id)
                row.state, row.done_at = "answered", now

    async def _code_taken(self, item: InboxItem) -> bool:
        """Whether the message was a code from a letter; then it is answered, and Rasa never hears of it."""
        if not holds_code(item):
            return False
        return await self._database.run(take_code, item, self._holder, self._desk, self._notices, datetime.now(UTC))

    async def _turn(self, item: InboxItem) -> Answer:
        references = {}
        if typed_addresses(item):
            references = await self._database.run(keep_addresses, item, datetime.now(UTC))
        words = words_for_engine(item, references)
        # Rasa may have heard it: at an attempt that failed, or from a service that died, ourselves if there is only us.
        left = item.claimed_by is not None if self._database.is_shared else item.received_at < self._started_at
        if item.attempts or left:
            await self._rasa.undo_turn(item.sender_id, item.key)
        metadata = {"key": item.key, "language": item.language, "display_name": item.display_name}
        if item.kind == "button":
            metadata["shown"] = item.text
        if item.kind == "start" and item.payload:
            metadata["link"] = item.payload
        return await self._rasa.say(item.sender_id, words, item.channel, metadata)

    async def _wait(self, item: InboxItem, reason: str, *, give_up: bool = False) -> None:
        with suppress(ClaimLost):
            await self._database.run(self._postpone, item.id, reason, give_up=give_up)

    def _postpone(self, session: Session, item_id: int, reason: str, *, give_up: bool) -> None:
        now = datetime.now(UTC)
        item = claimed_item(session, item_id, self._holder)
        item.attempts += 1
        item.claimed_by, item.last_error = None, reason
        item.not_before = now + min(timedelta(seconds=2 ** min(item.attempts - 1, 6)), LONGEST_WAIT)
        if give_up:
            item.state, item.done_at = "stuck", now
            self._notices.about(session, item, "not_answered", now)
        elif now - item.received_at > SILENCE:
            self._notices.about(session, item, "takes_longer", now)

    def _finish(
        self, session: Session, item: InboxItem, album: Sequence[InboxItem], answer: Answer, now: datetime
    ) -> None:
        """The message, with its album, is answered and the answer waits to be sent: both or neither."""
        finish(session, [item, *(other for other in album if other.id != item.id)], self._holder, answer.topic, now)
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
        keep_language(session, item.sender_id, item.channel, answer.language)
