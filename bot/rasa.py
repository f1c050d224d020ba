"""Talks to Rasa over HTTP: one turn of a conversation, and the undoing of a turn that was cut off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx

#: A turn takes a few hundredths of a second; the first ones after a start a few seconds.
TURN_TIMEOUT_S = 25.0


class EngineAway(Exception):
    """Rasa cannot be reached or is not ready: the message waits."""


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
        self._http = httpx.AsyncClient(base_url=base_url, params={"token": token}, timeout=TURN_TIMEOUT_S)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def ready(self) -> bool:
        """Whether a model is loaded and would answer."""
        try:
            status = await self._http.get("/status", timeout=3)
            return status.status_code == 200 and bool(status.json().get("model_file"))
        except (httpx.HTTPError, ValueError):
            return False

    async def say(self, sender_id: str, text: str, channel: str, metadata: dict[str, Any]) -> Answer:
        """Play one turn.

        Raises:
            EngineAway: Rasa could not be asked.
            TurnFailed: Rasa's REST channel answers `[]` on every error inside; that is never an answer.
        """
        body = {"sender": sender_id, "message": text, "input_channel": channel, "metadata": metadata}
        said = await self._call("POST", "/webhooks/rest/webhook", json=body)
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
        tracker = await self._call("GET", path, params={"include_events": "AFTER_RESTART"})
        events = tracker["events"]
        messages = [place for place, event in enumerate(events) if event["event"] == "user"]
        if messages and (events[messages[-1]].get("metadata") or {}).get("key") == key:
            await self._call("POST", path + "/events", json=[{"event": "restart"}, *events[: messages[-1]]])

    async def _call(self, method: str, path: str, **arguments: Any) -> Any:
        try:
            response = await self._http.request(method, path, **arguments)
            response.raise_for_status()
            return response.json()
        except httpx.HTTPStatusError as error:  # its own text holds the address, and that the token
            raise EngineAway(f"{method} {path.split('/')[1]}: status {error.response.status_code}") from None
        except (httpx.HTTPError, ValueError) as error:
            raise EngineAway(f"{method} {path.split('/')[1]}: {error!r}") from error


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
