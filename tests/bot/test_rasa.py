"""What the client makes of Rasa's answers."""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import ExitStack

import pytest

import bot.rasa
from bot.rasa import Answer, EngineAway, RasaClient, TurnFailed

from .fake_rasa import LISTEN, TOKEN, said

METADATA = {"key": "web:a:1", "language": "en", "display_name": ""}


async def test_what_rasas_channel_split_is_one_message_again(rasa, client):
    """The channel splits at blank lines and between actions; the customer gets one bubble, with the last buttons."""
    rasa.answer = lambda request: [
        *said("I'm sorry to hear that.\n\nLet's sort it out. ", buttons=None, gap="care"),
        *said("What's your order number?", buttons=[("Cancel", "/stop"), ("I don't have it", "/no_number")]),
    ]

    answer = await client.say("web:a", "where is it", "web", METADATA)

    assert answer == Answer(
        text="I'm sorry to hear that.\n\nLet's sort it out.\n\nWhat's your order number?",
        buttons=(("Cancel", "/stop"), ("I don't have it", "/no_number")),
        language="en",
        gaps=("care",),
    )


async def test_rasa_gets_what_its_rest_channel_reads(rasa, client):
    await client.say("web:a", "привет", "web", METADATA)

    assert rasa.requests == [{"sender": "web:a", "message": "привет", "input_channel": "web", "metadata": METADATA}]


@pytest.mark.parametrize("nothing", [[], said(""), [{"custom": {"language": "en"}}]])
async def test_no_text_is_no_answer(rasa, client, nothing):
    """Rasa's channel answers `[]` with status 200 on every error inside."""
    rasa.answer = lambda request: nothing

    with pytest.raises(TurnFailed):
        await client.say("web:a", "hello", "web", METADATA)


async def test_nobody_listening_means_away(rasa_away, client):
    with pytest.raises(EngineAway):
        await client.say("web:a", "hello", "web", METADATA)
    assert await client.ready() is False


async def test_a_turn_that_hangs_means_away(rasa, monkeypatch):
    """A connection that is held for ever must not hold its conversation for ever."""
    monkeypatch.setattr(bot.rasa, "TURN_TIMEOUT_S", 0.2)
    client = RasaClient(rasa.url, TOKEN)
    rasa.held["web:a"] = threading.Event()

    with pytest.raises(EngineAway):
        await client.say("web:a", "hello", "web", METADATA)

    await client.close()


async def test_a_machine_that_is_gone_does_not_cost_a_turns_time(monkeypatch):
    """Nothing comes back from it, not even that nobody listens: other engines play the turn."""
    monkeypatch.setattr(bot.rasa, "CONNECT_TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, ExitStack() as waiting:
        for _ in range(3):  # the kernel drops what comes after them
            connection = waiting.enter_context(socket.socket())
            connection.setblocking(False)
            connection.connect_ex(full.getsockname())
        client = RasaClient(f"http://127.0.0.1:{full.getsockname()[1]}", TOKEN)

        async with asyncio.timeout(10):
            with pytest.raises(EngineAway, match="ConnectionTimeoutError"):
                await client.say("web:a", "hello", "web", METADATA)

        await client.close()


async def test_a_refusal_of_rasa_means_away_and_does_not_show_the_token(rasa):
    """Half of a restart with another token: waiting is right. The reason is kept and logged, the token is not."""
    client = RasaClient(rasa.url, "an old token")

    with pytest.raises(EngineAway) as caught:
        await client.undo_turn("web:a", "web:a:1")
    await client.close()

    assert rasa.objections == ["wrong token 'an old token'"]
    rasa.objections.clear()
    assert "401" in str(caught.value)
    assert "old" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "ready"),
    [
        ((200, {"model_file": "support.tar.gz"}), True),
        ((200, {"model_file": None}), False),
        ((409, None), False),
        ((503, None), False),
    ],
)
async def test_rasa_is_ready_once_a_model_is_loaded(rasa, client, status, ready):
    """Its server listens, and answers 409, before it can take a message."""
    rasa.status = status

    assert await client.ready() is ready


async def test_undoing_takes_back_the_turn_of_this_message(rasa, client):
    await client.say("web:a", "one", "web", {"key": "1"})
    before = list(rasa.trackers["web:a"])
    await client.say("web:a", "two", "web", {"key": "2"})

    await client.undo_turn("web:a", "2")

    assert rasa.keys("web:a") == ["1"]
    assert rasa.trackers["web:a"] == before
    assert rasa.trackers["web:a"][-1] == LISTEN


async def test_undoing_leaves_other_turns_alone(rasa, client):
    """The cut-off turn may never have reached Rasa; the one before it was answered."""
    await client.say("web:a", "one", "web", {"key": "1"})

    await client.undo_turn("web:a", "2")
    await client.undo_turn("web:new", "1")

    assert rasa.keys("web:a") == ["1"]
