"""The messengers that are set up: who asks them for messages, and what is said of those that nobody asks."""

from __future__ import annotations

import asyncio
import math
from functools import partial

import pytest

import bot.messengers
from bot.lease import Presence
from bot.messengers import Messengers, _poll
from handoff.settings import Settings


class RecordingIntake:
    """A messenger's way in that is asked only as long as it takes to note it."""

    def __init__(self) -> None:
        self.asked = 0

    async def poll(self, lease) -> None:
        self.asked += 1


async def test_a_messenger_is_not_asked_by_who_may_have_lost_it(database, running, eventually, monkeypatch):
    """While only our database is away another service asks, and Telegram gives a conflict to one of two."""
    monkeypatch.setattr(bot.messengers, "RETRY_S", 0.01)
    presence, intake = Presence(database), RecordingIntake()
    lease = presence.lease("telegram:1")
    lease.set(True, None, -math.inf)  # as the database said last, long ago

    async with running(partial(_poll, intake, lease)):
        await asyncio.sleep(0.2)
        assert intake.asked == 0
        async with presence.kept():
            await eventually(lambda: intake.asked > 0)


@pytest.mark.parametrize(("callback_secret", "age"), [("", None), ("s3cret", 0.0)])
async def test_a_community_that_calls_us_is_never_silent(database, texts, tmp_path, callback_secret, age):
    """Two quiet minutes of its customers are no reason to get up at night."""
    settings = Settings(
        _env_file=None, data_dir=tmp_path, vk_token="token", vk_group_id=777,
        vk_callback_secret=callback_secret, vk_confirmation="a1b2c3",
    )  # fmt: skip
    messengers = Messengers(
        settings, database, texts, {}, presence=Presence(database), received=lambda: None, demo=False
    )

    assert {name: seconds() for name, seconds in messengers.ages().items()} == {"vk": age}
    await messengers.close()
