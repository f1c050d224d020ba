"""A form that nobody went on with: the next day the conversation begins anew."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from .chat import Chat
from .running import Running

pytestmark = pytest.mark.engine

DAY_AND_HOUR_S = 25 * 60 * 60


def test_a_form_left_open_for_a_day_is_gone_and_nothing_of_it_is_sent(own_demo: Running):
    """What the customer says then is understood by itself; it is not taken for the missing number."""
    own_demo.start()
    chat = Chat(own_demo, "en")
    chat.begin()
    assert "number" in chat.say("the zip on my jeans broke").text

    own_demo.end()
    _age(own_demo.data_dir / "trackers.db")
    own_demo.start()
    next_day = chat.say("what are your working hours?").text

    assert "10:00" in next_day
    assert "number" not in next_day, "the form asks on"
    assert own_demo.tickets() == []


def _age(trackers: Path) -> None:
    """All that the engine remembers happened a day and an hour earlier."""
    with closing(sqlite3.connect(trackers)) as database, database:
        rows = database.execute("SELECT id, timestamp, data FROM events").fetchall()
        assert rows
        for number, timestamp, data in rows:
            event = json.loads(data)
            event["timestamp"] -= DAY_AND_HOUR_S
            changed = timestamp - DAY_AND_HOUR_S, json.dumps(event), number
            database.execute("UPDATE events SET timestamp = ?, data = ? WHERE id = ?", changed)
