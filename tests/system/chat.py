"""A customer at the chat page: posts and asks as the page's script does, and keeps a message's id while it retries."""

from __future__ import annotations

import secrets
import struct
import time
import uuid
import zlib
from dataclasses import dataclass
from typing import Any

import httpx
from ruamel.yaml import YAML

from .running import ROOT, Running, wait_for

NOTICES = YAML(typ="safe").load(ROOT / "data" / "notices.yml")["notices"]
TAKES_LONGER = [text for said in NOTICES["takes_longer"].values() for text in said]

#: A start after a crash lies between two tries at most, and the first turn after it takes a few seconds.
PATIENCE_S = 300.0
RETRY_S = 0.3


@dataclass(frozen=True)
class Said:
    """An answer of the bot; `buttons` are keys by title."""

    text: str
    buttons: dict[str, str]


class Chat:
    """One visitor. `keys` are those of the messages that the service took, in order."""

    def __init__(self, running: Running, language: str) -> None:
        self.language = language
        self.visitor = secrets.token_urlsafe(18)
        self.sender_id = f"web:{self.visitor}"
        self.keys: list[str] = []
        self._http = running.http

    def begin(self) -> Said:
        """Open the page."""
        return self.answer_to(self.send(start=True))

    def say(self, text: str) -> Said:
        """Write something and wait for the answer."""
        return self.answer_to(self.send(text=text))

    def press(self, said: Said, place: int = 0) -> Said:
        """Press one of an answer's buttons."""
        return self.answer_to(self.send(button=list(said.buttons.values())[place]))

    def send_file(self, content: bytes, name: str = "photo.png") -> httpx.Response:
        """Upload a file, once."""
        fields = {"visitor": self.visitor, "id": str(uuid.uuid4()), "language": self.language}
        return self._http.post("/web/photos", data=fields, files={"file": (name, content)})

    def post(self, **content: object) -> httpx.Response:
        """Post a message, once, whatever becomes of it."""
        return self._post(str(uuid.uuid4()), content)

    def conversation(self) -> list[dict[str, Any]]:
        """What the page shows."""
        shown = self._ask()
        assert shown is not None
        return list(shown["messages"])

    def notices(self, name: str) -> list[str]:
        """Texts on the page that are the notice of this name."""
        texts = [text for said in NOTICES[name].values() for text in said]
        return [message["text"] for message in self.conversation() if message["text"] in texts]

    def answers(self) -> list[dict[str, Any]]:
        """The bot's messages on the page but those that an answer takes longer."""
        return [m for m in self.conversation() if m["author"] == "bot" and m["text"] not in TAKES_LONGER]

    def send(self, **content: object) -> set[str]:
        """Post a message until the service has it; what was on the page before, for `answer_to`."""
        known = {message["id"] for message in wait_for(self._ask, "the conversation", PATIENCE_S, RETRY_S)["messages"]}
        message_id = str(uuid.uuid4())
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                answer = self._post(message_id, content)
                if answer.status_code == 202:
                    break
                assert answer.status_code >= 500, f"{answer.status_code}: {answer.text}"
            except httpx.HTTPError:
                pass
            assert time.monotonic() < deadline, "the service does not take a message"
            time.sleep(RETRY_S)
        self.keys.append(answer.json()["key"])
        return known

    def answer_to(self, known: set[str]) -> Said:
        """Wait for the answer to what was sent."""
        return wait_for(lambda: self._answer(known), "an answer", PATIENCE_S)

    def _post(self, message_id: str, content: dict[str, object]) -> httpx.Response:
        message = {"visitor": self.visitor, "id": message_id, "language": self.language, **content}
        return self._http.post("/web/messages", json=message)

    def _answer(self, known: set[str]) -> Said | None:
        shown = self._ask()
        if shown is None or shown["waiting"]:
            return None
        fresh = [m for m in shown["messages"] if m["author"] == "bot" and m["id"] not in known]
        answers = [message for message in fresh if message["text"] not in TAKES_LONGER]
        if not answers:
            return None
        buttons = {button["title"]: button["key"] for button in answers[-1]["buttons"]}
        return Said(answers[-1]["text"], buttons)

    def _ask(self) -> dict[str, Any] | None:
        try:
            answer = self._http.get("/web/messages", params={"visitor": self.visitor})
            return dict(answer.json()) if answer.status_code == 200 else None
        except httpx.HTTPError:
            return None


def png(width: int = 24, height: int = 16) -> bytes:
    """A small real picture, denim blue."""
    rows = b"".join(b"\0" + bytes((49, 84, 128)) * width for _ in range(height))
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    )
