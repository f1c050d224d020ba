"""The endpoint that Rasa calls: for Rasa alone, and loud when an action breaks."""

from __future__ import annotations

from dataclasses import replace

import httpx
import pytest
from fastapi import FastAPI

from actions.cases import TOPIC, all_actions
from actions.server import actions_router
from handoff.database import Database

from .conversations import as_sent, user

TOKEN = "actions token"


@pytest.fixture
def rasa():
    """Calls actions as Rasa does."""

    def connect(services):
        app = FastAPI()
        app.include_router(actions_router(all_actions(services), TOKEN))
        return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1")

    return connect


@pytest.fixture
def broken(services, tmp_path):
    """A database without tables: every action that needs one breaks."""
    database = Database(f"sqlite:///{tmp_path / 'empty.db'}")
    yield replace(services, database=database)
    database.close()


def call(action, **fields):
    """What the engine sends (`bot.engine.short_calls`): the tracker, no domain."""
    message = user("my jeans are late", "k7", topic="case/delay")
    return {
        "next_action": action,
        "sender_id": "web:a",
        "tracker": as_sent(message, sender_id="web:a"),
        "version": "3.6.21",
        **fields,
    }


async def post(client, body, token=TOKEN):
    async with client:
        return await client.post("/actions/webhook", params={"token": token} if token else {}, json=body)


async def test_an_action_gives_back_events_and_responses(rasa, services):
    begun = await post(rasa(services), call("action_begin_case"))
    asked = await post(rasa(services), call("action_take_photo"))

    assert begun.status_code == asked.status_code == 200
    assert {event["name"]: event["value"] for event in begun.json()["events"]}[TOPIC] == "case/delay"
    assert begun.json()["responses"] == []
    assert [message["response"] for message in asked.json()["responses"]] == ["utter_photo_missing"]


@pytest.mark.parametrize("token", ["", "wrong", TOKEN + " ", "чужой"])
async def test_only_rasa_is_served(rasa, services, token):
    """The port may be reachable from outside, and an action opens tickets."""
    answer = await post(rasa(services), call("action_begin_case"), token)

    assert answer.status_code == 403


async def test_a_broken_action_is_an_error_for_rasa(rasa, broken):
    """The engine lets its turn fail then (`bot.engine.whole_turns`), and the gateway plays it again."""
    answer = await post(rasa(broken), call("action_begin_case"))

    assert answer.status_code == 500
    assert answer.json()["action_name"] == "action_begin_case"


async def test_an_unknown_action_is_an_error_too(rasa, services):
    """A model from before a rename: half an answer would be worse than a wait."""
    answer = await post(rasa(services), call("action_of_yesterday"))

    assert answer.status_code == 500


@pytest.mark.parametrize("body", [{}, {"next_action": None}])
async def test_a_call_without_an_action_does_nothing(rasa, services, body):
    """Rasa's own check whether the server is there."""
    answer = await post(rasa(services), body)

    assert answer.status_code == 200


@pytest.mark.parametrize("body", [{"next_action": "action_begin_case"}, {"next_action": "x", "tracker": {}}])
async def test_a_call_without_a_conversation_is_refused(rasa, services, body):
    assert (await post(rasa(services), body)).status_code == 500
