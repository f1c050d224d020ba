"""Deletes conversations from Rasa's table of tracker events, by SQL: Rasa 3.6 has no call that deletes anything.

The table is `events` of its `SQLTrackerStore`, in the SQLite file that endpoints.yml names. A tracker in the engine's
memory counts no more once its rows are gone (`bot.engine.trackers`). One that is deleted while a turn is played comes
back whole when the turn is saved.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path

#: How long the engine may be writing; our own database, which is held meanwhile, is waited for twice as long.
BUSY_S = 10.0

#: What was said in ended sessions, and everything once a conversation has fallen silent. A session that goes on is left
#: whole: Rasa counts its stored events to know which ones are new.
OLD_EVENTS = """
DELETE FROM events WHERE sender_id = :sender_id AND timestamp < :moment AND (
  timestamp < (SELECT max(timestamp) FROM events WHERE sender_id = :sender_id AND type_name = 'session_started')
  OR (SELECT max(timestamp) FROM events WHERE sender_id = :sender_id) < :moment)
"""


def delete_conversations(path: Path, sender_ids: Collection[str], *, dry_run: bool = False) -> int:
    """Delete all events of these conversations; how many there were. None of them may be in the middle of a turn."""
    with _events(path) as connection:
        if connection is None:
            return 0
        marks = ", ".join("?" * len(sender_ids))
        command = "SELECT count(*)" if dry_run else "DELETE"
        found = connection.execute(f"{command} FROM events WHERE sender_id IN ({marks})", [*sender_ids])
        return int(found.fetchone()[0]) if dry_run else found.rowcount


def delete_events_before(path: Path, moment: datetime) -> int:
    """Delete what was said before a moment, but for sessions that go on; how many events went.

    One conversation after the other, or a long table would keep the engine from writing.
    """
    gone = 0
    with _events(path) as connection:
        if connection is None:
            return 0
        for [sender_id] in connection.execute("SELECT DISTINCT sender_id FROM events").fetchall():
            with connection:
                old = {"sender_id": sender_id, "moment": moment.timestamp()}
                gone += connection.execute(OLD_EVENTS, old).rowcount
    return gone


@contextmanager
def _events(path: Path) -> Iterator[sqlite3.Connection | None]:
    """Rasa's file, in one transaction unless the block makes smaller ones; None when Rasa has kept nothing yet."""
    if not path.exists():
        yield None
        return
    with closing(sqlite3.connect(path, timeout=BUSY_S)) as connection:
        with connection:
            connection.execute("PRAGMA secure_delete = ON")  # deleted words are overwritten, not only unlinked
            known = connection.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'events'")
            yield connection if known.fetchone() else None
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # and the log of what was written holds them no longer
