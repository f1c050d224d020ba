"""Deleting from Rasa's table of events: what is gone stays gone, and Rasa goes on as if nothing had happened."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from bot.engine_process import PYTHON, ROOT
from bot.trackers import delete_conversations, delete_events_before

NOW = datetime(2026, 11, 20, 12, 20, tzinfo=UTC)

#: Rasa's own store: says something in the conversations named on the command line, each in a session of its own.
SPEAK = """
import asyncio, json, sys
from rasa.core.tracker_store import SQLTrackerStore
from rasa.shared.core.domain import Domain
from rasa.shared.core.events import SessionStarted, UserUttered
from rasa.shared.core.trackers import DialogueStateTracker

async def main(path, said):
    store = SQLTrackerStore(Domain.empty(), dialect="sqlite", db=path)
    for sender_id, text, timestamp, starts in said:
        tracker = await store.retrieve(sender_id) or DialogueStateTracker(sender_id, [])
        if starts:
            tracker.update(SessionStarted(timestamp=timestamp))
        tracker.update(UserUttered(text, timestamp=timestamp))
        await store.save(tracker)

asyncio.run(main(sys.argv[1], json.loads(sys.argv[2])))
"""


def speak(path, *said):
    """`said`: sender_id, text, days ago, whether a session starts with it."""
    lines = [(who, text, (NOW - timedelta(days=ago)).timestamp(), starts) for who, text, ago, starts in said]
    subprocess.run([PYTHON, "-c", SPEAK, str(path), json.dumps(lines)], check=True, cwd=ROOT, capture_output=True)


def kept(path):
    """What the conversations' messages say, in order."""
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT sender_id, data FROM events WHERE type_name = 'user' ORDER BY id").fetchall()
    return [(sender_id, json.loads(data)["text"]) for sender_id, data in rows]


def test_before_rasa_has_said_anything_there_is_nothing_to_delete(tmp_path):
    sqlite3.connect(tmp_path / "empty.db").close()

    for name in ("none.db", "empty.db"):
        assert delete_conversations(tmp_path / name, ["web:a"]) == 0
        assert delete_events_before(tmp_path / name, NOW) == 0
    assert not (tmp_path / "none.db").exists()


@pytest.mark.engine
def test_rasa_goes_on_after_deletions(tmp_path):
    """It counts stored events to know which are new: of a session that goes on none may be missing."""
    path = tmp_path / "trackers.db"
    speak(
        path,
        ("web:a", "a year ago", 400, True),
        ("web:a", "long ago, and it goes on", 100, True),
        ("web:a", "today", 0, False),
        ("web:b", "silent since", 200, True),
        ("web:c", "erase me", 0, True),
        ("web:d", "lately", 1, True),
    )

    assert delete_events_before(path, NOW - timedelta(days=90)) == 4  # each message with the start of its session
    assert delete_conversations(path, ["web:c"], dry_run=True) == delete_conversations(path, ["web:c"]) == 2
    speak(path, ("web:a", "more", 0, False), ("web:b", "back again", 0, True), ("web:c", "anew", 0, True))

    assert kept(path) == [
        ("web:a", "long ago, and it goes on"),
        ("web:a", "today"),
        ("web:d", "lately"),
        ("web:a", "more"),
        ("web:b", "back again"),
        ("web:c", "anew"),
    ]
    assert b"erase me" not in path.read_bytes()
