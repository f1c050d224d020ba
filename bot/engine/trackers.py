"""Keeps the trackers of living conversations in memory, and every event of theirs in Rasa's own table.

Read against Rasa 3.6.21, `rasa.core.tracker_store.SQLTrackerStore`: it builds a tracker anew from all its events each
turn, counts them again before it saves, and writes row by row. Here a turn costs one short look at the table, whether
anybody else has written meanwhile (another engine, `support erase`), and one write of what is new, which fails if
another engine played the same conversation at the same time. A conversation that is not in memory is read by Rasa's own
query, which is built once and asked for the one column that is needed.
"""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from itertools import islice
from typing import Any, NamedTuple

import sqlalchemy as sa
from rasa.core.tracker_store import FailSafeTrackerStore, SQLTrackerStore
from rasa.shared.core.domain import Domain
from rasa.shared.core.events import ActiveLoop, Event, SessionStarted, SlotSet
from rasa.shared.core.trackers import DialogueStateTracker
from sqlalchemy.orm import sessionmaker
from sqlalchemy.pool import QueuePool

from bot.engine.group_commit import GroupCommit
from bot.engine.turn_times import note_word

#: Conversations held in memory, the longest silent leave first; a tracker takes some 20 kB.
MOST_LIVE = 500
#: Events of a conversation held in memory, some eight a turn: beyond the most it is shortened to what is kept.
MOST_EVENTS, EVENTS_KEPT = 320, 240


class Stored(NamedTuple):
    """How much of a tracker is stored: how many of its events, and the row of the conversation's last."""

    events: int
    last_row: int | None


class PlayedElsewhere(Exception):
    """Another engine stored a turn of the conversation while this one was played: it has to be played again."""


class LiveTrackers(SQLTrackerStore):  # type: ignore[misc]
    """The tracker store that endpoints.yml names."""

    engine: sa.engine.Engine

    def __init__(self, domain: Domain | None = None, *, db: str, **options: Any) -> None:
        """`db` is an SQLite file or the address of a PostgreSQL database, which Rasa takes as a host."""
        super().__init__(domain, **options | ({"host": db} if "://" in db else {"db": db}))
        if self.engine.dialect.name == "sqlite":
            # Rasa's engine opens the file anew for each look into it.
            shared = {"check_same_thread": False}
            self.engine = sa.create_engine(self.engine.url, poolclass=QueuePool, connect_args=shared)
            sa.event.listen(self.engine, "connect", _safe_and_quick)
            self.sessionmaker = sessionmaker(bind=self.engine)
        self._live: OrderedDict[str, DialogueStateTracker] = OrderedDict()
        self._writer = GroupCommit(self.engine)
        self._saving: dict[str, asyncio.Future[int | None]] = {}
        table = self.SQLEvent.__table__
        self._add = table.insert()
        of_sender = table.c.sender_id == sa.bindparam("sender_id")
        self._newest = sa.select(sa.func.max(table.c.id)).where(of_sender)
        since = table.c.id > sa.bindparam("last_row")
        self._since = sa.select(sa.func.max(table.c.id), sa.func.count()).where(of_sender, since)
        with self.session_scope() as session:
            whole_rows = self._event_query(session, sa.bindparam("sender_id"), fetch_events_from_all_sessions=False)
        self._events = whole_rows.with_entities(self.SQLEvent.data).statement
        # SQLite has one writer anyway.
        self._one_writer = sa.text("SELECT pg_advisory_xact_lock(hashtext(:sender_id))")

    async def retrieve(self, sender_id: str) -> DialogueStateTracker | None:
        """See `TrackerStore.retrieve`."""
        note_word("live", str(len(self._live)))
        if sender_id in self._saving:
            await asyncio.wait([self._saving[sender_id]])
        with self.engine.connect() as connection:
            last_row = self._last_row(connection, sender_id)
        if last_row is None:
            self._live.pop(sender_id, None)
            note_word("tracker", "new")
            return None
        live = self._live.get(sender_id)
        # A turn that broke leaves events behind that were never stored: such a tracker is not the conversation.
        if live is not None and live.stored == Stored(len(live.events), last_row):
            self._live.move_to_end(sender_id)
            note_word("tracker", "memory")
            return live
        self._live.pop(sender_id, None)
        note_word("tracker", "table")
        with self.engine.connect() as connection:
            rows = connection.execute(self._events, {"sender_id": sender_id}).scalars().all()
        events = [json.loads(event) for event in rows]
        if not events:  # erased meanwhile
            return None
        tracker = DialogueStateTracker.from_dict(sender_id, events, self.domain.slots)
        self._shorten(tracker)
        self._keep(tracker, last_row)
        return tracker

    async def save(self, tracker: DialogueStateTracker) -> None:
        """See `TrackerStore.save`."""
        await self.stream_events(tracker)
        stored: Stored | None = getattr(tracker, "stored", None)
        if stored is None and not tracker.events:
            self._keep(tracker, None)
            return
        if stored is None:
            with self.session_scope() as session:
                new = list(self._additional_events(session, tracker))
        else:
            new = list(islice(tracker.events, stored.events, None))
        rows = [_row(tracker.sender_id, event) for event in new]

        def write(connection: Any) -> int | None:
            whose = {"sender_id": tracker.sender_id}
            if self.engine.dialect.name == "postgresql":
                connection.execute(self._one_writer, whose)
            if rows:
                connection.execute(self._add, rows)
            if rows and stored is not None:
                newest: int
                newest, since = connection.execute(self._since, whose | {"last_row": stored.last_row or 0}).one()
                if since != len(rows):
                    raise PlayedElsewhere
                return newest
            return self._last_row(connection, tracker.sender_id)

        # Meanwhile other turns go on: Rasa is one event loop. Whoever called for this turn may hang up, which cancels
        # it; what is being written is written all the same.
        saving = self._saving[tracker.sender_id] = asyncio.wrap_future(self._writer.put(tracker.sender_id, write))
        saving.add_done_callback(lambda _: self._saving.pop(tracker.sender_id, None))
        last_row = await asyncio.shield(saving)
        self._shorten(tracker)
        self._live.pop(tracker.sender_id, None)
        # With a new session only its events are read back, so it is no longer this tracker that would be.
        if len(new) == len(tracker.events) or not any(isinstance(event, SessionStarted) for event in new):
            self._keep(tracker, last_row)

    def _shorten(self, tracker: DialogueStateTracker) -> None:
        """Replace the oldest events of a long conversation by what they led to: slots, and the form that is open."""
        if len(tracker.events) <= MOST_EVENTS:
            return
        old = [tracker.events.popleft() for _ in range(len(tracker.events) - EVENTS_KEPT)]
        before = DialogueStateTracker.from_events(tracker.sender_id, old, self.domain.slots)
        kept = [SlotSet(name, value) for name, value in before.current_slot_values().items() if value is not None]
        if before.active_loop:
            kept.insert(0, ActiveLoop(before.active_loop_name))
        tracker.events.extendleft(reversed(kept))

    def _keep(self, tracker: DialogueStateTracker, last_row: int | None) -> None:
        tracker.stored = Stored(len(tracker.events), last_row)
        self._live[tracker.sender_id] = tracker
        if len(self._live) > MOST_LIVE:
            self._live.popitem(last=False)

    def _last_row(self, connection: Any, sender_id: str) -> int | None:
        row: int | None = connection.execute(self._newest, {"sender_id": sender_id}).scalar()
        return row


def fail_loudly() -> None:
    """Let a turn whose tracker cannot be read or stored fail, so that it is played again.

    Rasa would go on with a conversation that knows nothing of what was said, or keep it in memory only.
    """

    def broken(self: FailSafeTrackerStore, error: Exception) -> None:
        raise error

    FailSafeTrackerStore.on_tracker_store_error = broken
    FailSafeTrackerStore.on_tracker_store_retrieve_error = broken


def _safe_and_quick(connection: Any, _record: Any) -> None:
    """What was saved survives a power cut, for one wait for the disk instead of three."""
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=20000"):
        connection.execute(f"PRAGMA {pragma}")


def _row(sender_id: str, event: Event) -> dict[str, Any]:
    """An event as `SQLTrackerStore.save` stores it."""
    data = event.as_dict()
    return {
        "sender_id": sender_id,
        "type_name": event.type_name,
        "timestamp": data.get("timestamp"),
        "intent_name": data.get("parse_data", {}).get("intent", {}).get("name"),
        "action_name": data.get("name"),
        "data": json.dumps(data),
    }
