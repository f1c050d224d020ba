"""Talks to Rasa over HTTP: one turn of a conversation, and the undoing of a turn that was cut off."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import aiohttp

from bot.engine_times import note_engine_times
from bot.metrics import TURN_SECONDS

#: A turn takes a few hundredths of a second; the first ones after a start a few seconds.
TURN_TIMEOUT_S = 25.0
#: A machine that is there takes a connection at once; one that is not must not cost a turn's whole time.
CONNECT_TIMEOUT_S = 2.0
#: Asking whether it is ready is answered at once or not at all.
READY_TIMEOUT_S = 3.0
#: Rasa's server hangs up after five idle seconds; a message that met that moment would have to be sent again.
KEPT_S = 4.0


class EngineAway(Exception):
    """Rasa cannot be reached or is not ready: the message waits."""


class NoModel(EngineAway):
    """Rasa runs without a model: loading it failed."""


class TurnFailed(Exception):
    """Rasa answered without an answer: the turn has to be played again."""


@dataclass(frozen=True)
class Answer:
    """What the assistant says in one turn.

    `buttons` are (title, payload), `gaps` facts that shop.yml does not set, `topic` is what the message was taken for.
    """

    text: str
    buttons: tuple[tuple[str, str], ...]
    language: str
    gaps: tuple[str, ...]
    topic: str | None = None


class RasaClient:
    """Rasa's REST channel and tracker API."""

    def __init__(self, base_url: str, token: str) -> None:
        self.base_url, self.token = base_url.rstrip("/"), token

    @cached_property
    def _http(self) -> aiohttp.ClientSession:
        # With the first call: it belongs to the running event loop.
        connections = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEPT_S)
        within = aiohttp.ClientTimeout(total=TURN_TIMEOUT_S, sock_connect=CONNECT_TIMEOUT_S)
        return aiohttp.ClientSession(connector=connections, timeout=within)

    async def close(self) -> None:
        """Close the connections."""
        if "_http" in vars(self):
            await self._http.close()

    async def ready(self) -> bool:
        """Whether a model is loaded and would answer."""
        try:
            return await self.loaded()
        except EngineAway:
            return False

    async def loaded(self) -> bool:
        """The same, with the reason.

        Raises:
            NoModel, EngineAway: it would not answer.
        """
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                return bool((await self._call("GET", "/status")).get("model_file"))
        except (TimeoutError, AttributeError) as problem:
            raise EngineAway(f"GET status: {type(problem).__name__}") from None

    async def parse(self, text: str) -> dict[str, Any]:
        """What Rasa takes a message for, outside any conversation.

        Raises:
            EngineAway: Rasa could not be asked.
        """
        parsed: dict[str, Any] = await self._call("POST", "/model/parse", {"text": text})
        return parsed

    async def say(self, sender_id: str, text: str, channel: str, metadata: dict[str, Any]) -> Answer:
        """Play one turn.

        Raises:
            EngineAway: Rasa could not be asked.
            TurnFailed: Rasa's REST channel answers `[]` on every error inside; that is never an answer.
        """
        body = {"sender": sender_id, "message": text, "input_channel": channel, "metadata": metadata}
        with TURN_SECONDS.time():
            said = await self._call("POST", "/webhooks/rest/webhook", body)
        answer = _joined(said)
        if not answer.text:
            raise TurnFailed("Rasa gave no answer")
        return answer

    async def undo_turn(self, sender_id: str, key: str) -> None:
        """Take back the turn of this message if Rasa had played it: its answer never left us, so it is played again.

        Rasa's own "rewind" looks for the last message that counts, and inside a form the messages that filled slots do
        not: it would take back too much. So the tracker is restarted and told again what came before the message.
        """
        path = f"/conversations/{sender_id}/tracker"
        tracker = await self._call("GET", path, include_events="AFTER_RESTART")
        events = tracker["events"]
        messages = [place for place, event in enumerate(events) if event["event"] == "user"]
        if messages and (events[messages[-1]].get("metadata") or {}).get("key") == key:
            await self._call("POST", path + "/events", [{"event": "restart"}, *events[: messages[-1]]])

    async def _call(self, method: str, path: str, body: Any = None, **query: str) -> Any:
        what = f"{method} {path.split('/')[1]}"
        query["token"] = self.token
        try:
            async with self._http.request(method, self.base_url + path, json=body, params=query) as response:
                if response.status == 409:
                    raise NoModel(f"{what}: no model is loaded")
                if not response.ok:
                    raise EngineAway(f"{what}: status {response.status}")
                note_engine_times(response.headers)
                return await response.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:  # its text may hold the address with the token
            raise EngineAway(f"{what}: {type(error).__name__}") from None


def _joined(said: list[dict[str, Any]]) -> Answer:
    """One message from what Rasa's channel split at blank lines and between actions."""
    notes = [message["custom"] for message in said if message.get("custom")]
    buttons = [message["buttons"] for message in said if message.get("buttons")]
    return Answer(
        text="\n\n".join(message["text"].strip() for message in said if message.get("text")),
        buttons=tuple((button["title"], button["payload"]) for button in (buttons[-1] if buttons else [])),
        language=notes[-1].get("language", "ru") if notes else "ru",
        gaps=tuple(fact for note in notes for fact in note.get("gaps", [])),
        topic=next((note["topic"] for note in notes if note.get("topic")), None),
    )
