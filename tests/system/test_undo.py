"""Taking back a turn and playing it again, with the real engine."""

import asyncio
import threading
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
import uvicorn
from sqlalchemy import select

from bot.app import create_app
from bot.engine_process import free_port
from bot.engines import Engines
from bot.rasa import RasaClient
from handoff.database import Database
from handoff.identity import keep_address
from handoff.models import Ticket
from handoff.settings import Settings

pytestmark = pytest.mark.engine

TALK = [
    "hello",
    "my zip broke",
    "do you exchange jeans?",
    "47731",
    "sophie.brown@post.example",
    "yes",
]


@pytest.fixture
def service(tmp_path):
    """The demo in this process, so that the engine's client can be reached."""
    settings = Settings(_env_file=None, data_dir=tmp_path, http_port=free_port(), demo_port=0)
    app = create_app(settings, demo=True)
    server = uvicorn.Server(
        uvicorn.Config(app, port=settings.http_port, log_level="critical", ws="none", timeout_graceful_shutdown=2)
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    while not app.state.rasa._places:  # the service starts its engine
        thread.join(0.01)
    yield settings, app.state.rasa
    server.should_exit = True
    thread.join(20)


def test_every_turn_of_a_case_can_be_taken_back_and_played_again(service):
    """After a crash nobody knows how far a turn came: played again it must give the same answer, once, also where
    Rasa's own "rewind" would take the whole form back."""
    settings, rasa = service

    asyncio.run(_talk(settings, rasa))


async def _talk(settings: Settings, started: Engines) -> None:
    deadline = asyncio.get_running_loop().time() + 120
    theirs = started._places["1"].client
    rasa = RasaClient(theirs.base_url, theirs.token)
    sender = "web:undo"
    while not await rasa.ready():
        assert asyncio.get_running_loop().time() < deadline, (Path(settings.data_dir) / "engine.log").read_text()[
            -2000:
        ]
        await asyncio.sleep(0.2)
    database = Database(settings.database)
    with database.session_scope() as session:
        reference = keep_address(session, sender, "sophie.brown@post.example", datetime.now(UTC))
    async with httpx.AsyncClient(base_url=rasa.base_url, params={"token": rasa.token}) as http:
        for number, text in enumerate(TALK):
            words = text.replace("sophie.brown@post.example", reference)
            before = await _state(http, sender)
            first = await rasa.say(sender, words, "web", {"key": f"k{number}"})
            after = await _state(http, sender)

            await rasa.undo_turn(sender, f"k{number}")

            assert await _state(http, sender) == before, text
            again = await rasa.say(sender, words, "web", {"key": f"k{number}"})
            assert (again.text, again.buttons) == (first.text, first.buttons)
            assert await _state(http, sender) == after, text
    with database.session_scope() as session:
        assert [ticket.order_number for ticket in session.scalars(select(Ticket))] == ["47731"]
    database.close()
    await rasa.close()


async def _state(http: httpx.AsyncClient, sender: str) -> dict[str, object]:
    tracker = (await http.get(f"/conversations/{sender}/tracker")).json()
    messages = [e["metadata"]["key"] for e in tracker["events"] if e["event"] == "user"]
    slots = {name: value for name, value in tracker["slots"].items() if name != "session_started_metadata"}
    return {"slots": slots, "form": tracker["active_loop"].get("name"), "messages": messages}
