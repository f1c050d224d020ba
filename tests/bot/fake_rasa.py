"""Speaks Rasa's REST channel and tracker API as Rasa 3.6 does, and objects to what Rasa would not take."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import uvicorn
from fastapi import Body, FastAPI, HTTPException, Query

TOKEN = "rasa token"

LISTEN = {"event": "action", "name": "action_listen"}

Message = dict[str, Any]


def said(
    text: str = "", *, buttons: list[tuple[str, str]] | None = None, language: str = "en", gap: str | None = None
) -> list[Message]:
    """A response as the REST channel returns it: split at blank lines unless it has buttons, `custom` on its own."""
    custom = {"language": language, **({"gaps": [gap]} if gap else {})}
    if buttons:
        shown = [{"title": title, "payload": payload} for title, payload in buttons]
        return [{"text": text, "buttons": shown}, {"custom": custom}]
    return [*({"text": part} for part in text.split("\n\n")), {"custom": custom}]


class FakeRasa:
    """Keeps the events of every conversation since its last restart.

    `answer` may be replaced; it gets the request and returns the messages. A turn of a conversation in `held` waits
    for its event before it is played.
    """

    def __init__(self, port: int, token: str = TOKEN) -> None:
        self.port = port
        self.token = token
        self.url = f"http://127.0.0.1:{port}"
        self.answer: Callable[[Message], list[Message]] = lambda request: said(f"About {request['message']}")
        self.parsed: Callable[[str], Message] = lambda text: {"intent": {"name": "nlu_fallback"}}
        self.held: dict[str, threading.Event] = {}
        self.status: tuple[int, Any] = (200, {"model_file": "support.tar.gz", "num_active_training_jobs": 0})
        self.requests: list[Message] = []
        self.trackers: dict[str, list[Message]] = {}
        self.asked_for_trackers: list[str] = []
        self.objections: list[str] = []
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        config = uvicorn.Config(
            self._app(), port=self.port, ws="none", lifespan="off", log_level="critical", timeout_graceful_shutdown=1
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run)
        self._thread.start()
        while not self._server.started and self._thread.is_alive():
            self._thread.join(0.01)

    def stop(self) -> None:
        for turn in self.held.values():
            turn.set()
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join(10)
        self._server = self._thread = None

    def messages(self, sender_id: str | None = None) -> list[str]:
        """What Rasa was told, in the order in which it came."""
        return [r["message"] for r in self.requests if sender_id in (None, r["sender"])]

    def keys(self, sender_id: str) -> list[str]:
        """The messages that count in a conversation, by their keys."""
        return [e["metadata"]["key"] for e in self.trackers.get(sender_id, []) if e["event"] == "user"]

    def play(self, request: Message) -> list[Message]:
        """What a turn leaves in the tracker."""
        events = self.trackers.setdefault(request["sender"], [{"event": "session_started"}, LISTEN])
        self.object_if(events[-1] != LISTEN, f"rules cannot match, the bot does not listen: {events[-1]}")
        self.object_if(request["metadata"]["key"] in self.keys(request["sender"]), f"played twice: {request}")
        metadata = {**request["metadata"], "model_id": "c0a364c24c04", "assistant_id": "jeans-support"}
        events.append({"event": "user", "text": request["message"], "metadata": metadata})
        events.append({"event": "action", "name": "utter_faq"})
        messages = self.answer(request)
        events += [{"event": "bot", "text": message["text"]} for message in messages if "text" in message]
        events.append(LISTEN)
        return messages

    def object_if(self, wrong: bool, objection: str) -> None:
        if wrong:
            self.objections.append(objection)

    def _app(self) -> FastAPI:
        app = FastAPI()

        def check(token: str) -> None:
            self.object_if(token != self.token, f"wrong token {token!r}")
            if token != self.token:
                raise HTTPException(401)

        @app.get("/status")
        def status(token: str = "") -> Any:
            check(token)
            code, content = self.status
            if code != 200:
                raise HTTPException(code)
            return content

        @app.post("/webhooks/rest/webhook")
        def webhook(request: Message = Body(), token: str = "") -> list[Message]:  # noqa: B008
            check(token)
            self.object_if(set(request) != {"sender", "message", "input_channel", "metadata"}, f"fields: {request}")
            self.object_if(not request["metadata"].get("key"), f"no key: {request}")
            self.requests.append(request)
            if request["sender"] in self.held:
                self.held[request["sender"]].wait(10)
            messages = self.play(request)
            return [{"recipient_id": request["sender"], **message} for message in messages]

        @app.post("/model/parse")
        def parse(request: Message = Body(), token: str = "") -> Message:  # noqa: B008
            check(token)
            self.object_if(set(request) != {"text"}, f"fields: {request}")
            return {"text": request["text"], "entities": [], **self.parsed(request["text"])}

        @app.get("/conversations/{sender_id}/tracker")
        def tracker(sender_id: str, token: str = "", include_events: str = Query("AFTER_RESTART")) -> Any:
            check(token)
            self.object_if(include_events != "AFTER_RESTART", f"undone events would be counted: {include_events}")
            self.asked_for_trackers.append(sender_id)
            return {"sender_id": sender_id, "events": self.trackers.get(sender_id, [])}

        @app.post("/conversations/{sender_id}/tracker/events")
        def append(sender_id: str, events: list[Message] = Body(), token: str = "") -> Any:  # noqa: B008
            check(token)
            kept = self.trackers.setdefault(sender_id, [])
            for event in events:
                if event["event"] == "restart":
                    kept.clear()
                else:
                    kept.append(event)
            return {"sender_id": sender_id, "events": kept}

        return app
