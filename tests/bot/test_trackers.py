"""Deleting from Rasa's table of events: what is gone stays gone, and Rasa goes on as if nothing had happened."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import NullPool, create_engine, text

from bot.engine_process import PYTHON, ROOT
from bot.trackers import delete_conversations, delete_events_before, for_rasa, place_of_trackers
from handoff.settings import Settings

from ..postgresql import is_installed, own_server

NOW = datetime(2026, 11, 20, 12, 20, tzinfo=UTC)

#: Rasa's own store: says something in the conversations named on the command line, each in a session of its own.
SPEAK = """
import asyncio, json, sys
from rasa.core.tracker_store import SQLTrackerStore
from rasa.shared.core.domain import Domain
from rasa.shared.core.events import SessionStarted, UserUttered
from rasa.shared.core.trackers import DialogueStateTracker

async def main(place, said):
    store = SQLTrackerStore(Domain.empty(), **{"host" if "://" in place else "db": place})
    for sender_id, text, timestamp, starts in said:
        tracker = await store.retrieve(sender_id) or DialogueStateTracker(sender_id, [])
        if starts:
            tracker.update(SessionStarted(timestamp=timestamp))
        tracker.update(UserUttered(text, timestamp=timestamp))
        await store.save(tracker)

asyncio.run(main(sys.argv[1], json.loads(sys.argv[2])))
"""


def speak(place, *said):
    """`said`: sender_id, text, days ago, whether a session starts with it."""
    lines = [(who, text, (NOW - timedelta(days=ago)).timestamp(), starts) for who, text, ago, starts in said]
    subprocess.run([PYTHON, "-c", SPEAK, for_rasa(place), json.dumps(lines)], check=True, cwd=ROOT, capture_output=True)


def kept(place):
    """What the conversations' messages say, in order."""
    engine = create_engine(f"sqlite:///{place}" if isinstance(place, Path) else place, poolclass=NullPool)
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT sender_id, data FROM events WHERE type_name = 'user' ORDER BY id")).all()
    return [(sender_id, json.loads(data)["text"]) for sender_id, data in rows]


def test_before_rasa_has_said_anything_there_is_nothing_to_delete(tmp_path):
    sqlite3.connect(tmp_path / "empty.db").close()

    for name in ("none.db", "empty.db"):
        assert delete_conversations(tmp_path / name, ["web:a"]) == 0
        assert delete_events_before(tmp_path / name, NOW) == 0
    assert not (tmp_path / "none.db").exists()


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request, tmp_path):
    if request.param == "sqlite":
        yield tmp_path / "trackers.db"
        return
    if not is_installed():
        pytest.skip("PostgreSQL's initdb and pg_ctl are not installed")
    with own_server() as address:
        yield address


@pytest.mark.engine
def test_rasa_goes_on_after_deletions(place):
    """It counts stored events to know which are new: of a session that goes on none may be missing."""
    assert delete_conversations(place, ["web:a"]) == delete_events_before(place, NOW) == 0
    speak(
        place,
        ("web:a", "a year ago", 400, True),
        ("web:a", "long ago, and it goes on", 100, True),
        ("web:a", "today", 0, False),
        ("web:b", "silent since", 200, True),
        ("web:c", "erase me", 0, True),
        ("web:d", "lately", 1, True),
    )

    assert delete_events_before(place, NOW - timedelta(days=90)) == 4  # each message with the start of its session
    assert delete_conversations(place, ["web:c"], dry_run=True) == delete_conversations(place, ["web:c"]) == 2
    speak(place, ("web:a", "more", 0, False), ("web:b", "back again", 0, True), ("web:c", "anew", 0, True))

    assert kept(place) == [
        ("web:a", "long ago, and it goes on"),
        ("web:a", "today"),
        ("web:d", "lately"),
        ("web:a", "more"),
        ("web:b", "back again"),
        ("web:c", "anew"),
    ]
    if isinstance(place, Path):
        assert b"erase me" not in place.read_bytes()


def test_trackers_are_where_the_settings_say():
    """Beside everything else in PostgreSQL, which Rasa reaches by another driver; elsewhere nobody knows."""
    own = Settings(_env_file=None, data_dir="/var/lib/support")
    shared = own.model_copy(update={"database_url": "postgresql+psycopg://shop:p%40ss@db/support"})

    assert place_of_trackers(own) == Path("/var/lib/support/trackers.db")
    assert place_of_trackers(own.model_copy(update={"rasa_url": "http://elsewhere:5005"})) is None
    assert place_of_trackers(shared.model_copy(update={"rasa_url": "http://elsewhere:5005"})) == shared.database_url
    assert for_rasa(shared.database_url) == "postgresql://shop:p%40ss@db/support"
