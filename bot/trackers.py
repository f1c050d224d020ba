"""Deletes conversations from Rasa's table of tracker events, by SQL: Rasa 3.6 has no call that deletes anything.

The table is `events` of its `SQLTrackerStore`, in an SQLite file or in our PostgreSQL database. A tracker in an
engine's memory counts no more once its rows are gone (`bot.engine.trackers`). One that is deleted while a turn is
played comes back whole when the turn is saved.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, NullPool, column, create_engine, delete, func, inspect, select, table, text
from sqlalchemy.engine import make_url

from handoff.settings import Settings

#: An SQLite file, or the address of a PostgreSQL database.
Place = Path | str

#: How long the engine may be writing; our own database, which is held meanwhile, is waited for twice as long.
BUSY_S = 10.0

EVENTS = table("events", column("sender_id"))

#: What was said in ended sessions, and everything once a conversation has fallen silent. A session that goes on is left
#: whole: Rasa counts its stored events to know which ones are new.
OLD_EVENTS = text("""
DELETE FROM events WHERE sender_id = :sender_id AND timestamp < :moment AND (
  timestamp < (SELECT max(timestamp) FROM events WHERE sender_id = :sender_id AND type_name = 'session_started')
  OR (SELECT max(timestamp) FROM events WHERE sender_id = :sender_id) < :moment)
""")


def place_of_trackers(settings: Settings) -> Place | None:
    """Where the settings' engines keep them; None when only an engine of somebody else's making knows."""
    if make_url(settings.database).get_backend_name() == "postgresql":
        return settings.database
    return None if settings.rasa_url else settings.data_dir / "trackers.db"


def for_rasa(place: Place) -> str:
    """The same place as the engine's environment writes it: it has another driver for PostgreSQL than we."""
    if isinstance(place, Path):
        return str(place.resolve())
    return make_url(place).set(drivername="postgresql").render_as_string(hide_password=False)


def delete_conversations(place: Place, sender_ids: Collection[str], *, dry_run: bool = False) -> int:
    """Delete all events of these conversations; how many there were. None of them may be in the middle of a turn."""
    theirs = EVENTS.c.sender_id.in_(sender_ids)
    with _events(place) as connection:
        if connection is None:
            return 0
        with connection.begin():
            if dry_run:
                return connection.scalar(select(func.count()).where(theirs)) or 0
            return connection.execute(delete(EVENTS).where(theirs)).rowcount


def delete_events_before(place: Place, moment: datetime) -> int:
    """Delete what was said before a moment, but for sessions that go on; how many events went.

    One conversation after the other, or a long table would keep the engine from writing.
    """
    gone = 0
    with _events(place) as connection:
        if connection is None:
            return 0
        with connection.begin():
            known = connection.scalars(select(EVENTS.c.sender_id).distinct()).all()
        for sender_id in known:
            with connection.begin():
                old = {"sender_id": sender_id, "moment": moment.timestamp()}
                gone += connection.execute(OLD_EVENTS, old).rowcount
    return gone


@contextmanager
def _events(place: Place) -> Iterator[Connection | None]:
    """A connection to Rasa's table, without a transaction; None when Rasa has kept nothing yet."""
    file = isinstance(place, Path)
    if isinstance(place, Path) and not place.exists():
        yield None
        return
    address = f"sqlite:///{place}" if file else str(place)
    engine = create_engine(
        address, poolclass=NullPool, hide_parameters=True, connect_args={"timeout": BUSY_S} if file else {}
    )
    if not inspect(engine).has_table("events"):
        yield None
        return
    with engine.connect() as connection:
        if file:  # deleted words are overwritten, not only unlinked
            connection.connection.cursor().execute("PRAGMA secure_delete = ON")
        yield connection
        if file:  # and the log of what was written holds them no longer
            connection.connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
