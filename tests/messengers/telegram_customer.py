"""A person who talks to the bot on the fake Telegram."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .telegram_updates import Json

if TYPE_CHECKING:
    from .fake_telegram import FakeTelegram

BOT: Json = {"id": 123456789, "is_bot": True, "first_name": "Getwear", "username": "getwear_bot"}


@dataclass
class Received:
    """A message that reached a customer. `raw` is Telegram's Message, `at` is by the monotonic clock.

    `ambiguous`: the bot was not told that it arrived, so a copy of it is no fault of the bot.
    """

    chat_id: int
    text: str
    at: float
    raw: Json
    markup: Json
    ambiguous: bool = False

    @property
    def message_id(self) -> int:
        """Telegram's number of the message."""
        return int(self.raw["message_id"])

    @property
    def buttons(self) -> dict[str, str]:
        """Titles of the inline buttons that are still there, and what they send or open."""
        rows = self.raw.get("reply_markup", {}).get("inline_keyboard", [])
        return {button["text"]: button.get("callback_data") or button["url"] for row in rows for button in row}


class Customer:
    """Writes to the bot and keeps what it answers in `received`; every method returns the update it caused."""

    def __init__(self, telegram: FakeTelegram, chat_id: int, first_name: str, language_code: str) -> None:
        self.chat_id = chat_id
        self.blocked = False
        self.received: list[Received] = []
        self.person: Json = {
            "id": chat_id, "is_bot": False, "first_name": first_name, "language_code": language_code
        }  # fmt: skip
        self.chat: Json = {"id": chat_id, "type": "private", "first_name": first_name}
        self._telegram = telegram
        self._newest: Json = {}

    def sends(self, **content: Any) -> Json:
        """Send a message of any kind; `content` is what it holds besides sender, chat and date."""
        who = {"message_id": self._telegram.next_id(), "from": self.person, "chat": self.chat, "date": int(time.time())}
        self._newest = {**who, **content}
        return self._telegram.inject("message", self._newest)

    def says(self, text: str) -> Json:
        """Write a text."""
        command = text.split()[0] if text.startswith("/") else ""
        entities = [{"type": "bot_command", "offset": 0, "length": len(command)}] if command else []
        return self.sends(text=text, **({"entities": entities} if entities else {}))

    def starts(self, payload: str = "") -> Json:
        """Press "Start", perhaps by a link with a payload; this unblocks the bot."""
        if self.blocked:
            self._becomes("kicked", "member")
        return self.says(f"/start {payload}".strip())

    def edits(self, text: str) -> Json:
        """Change the text of the newest own message."""
        self._newest = {**self._newest, "text": text, "edit_date": int(time.time())}
        return self._telegram.inject("edited_message", self._newest)

    def presses(self, title: str) -> Json:
        """Press the inline button with this title under the newest message that has one."""
        for message in reversed(self.received):
            if title in message.buttons:
                return self.presses_data(message.buttons[title], message)
        raise AssertionError(f"no button {title!r} under {[(seen.text, seen.buttons) for seen in self.received]}")

    def presses_data(self, data: str, under: Received | None = None) -> Json:
        """Send what an inline button would send, whether there is such a button or not."""
        under = under or self.received[-1]
        query = {"id": self._telegram.new_query(), "from": self.person, "chat_instance": str(self.chat_id)}
        return self._telegram.inject("callback_query", {**query, "message": {**under.raw}, "data": data})

    def sends_photo(self, content: bytes, caption: str = "", album: str | None = None) -> Json:
        """Send a photo; Telegram offers it in two sizes, the larger one last. `album` joins several photos."""
        sizes = [
            {**self._telegram.keep_file(b"small", "photos", "jpg"), "width": 90, "height": 67},
            {**self._telegram.keep_file(content, "photos", "jpg"), "width": 1280, "height": 960},
        ]
        more = {"caption": caption, "media_group_id": album}
        return self.sends(photo=sizes, **{name: value for name, value in more.items() if value})

    def sends_document(self, content: bytes, file_name: str, mime: str) -> Json:
        """Send a file."""
        kept = self._telegram.keep_file(content, "documents", file_name.rpartition(".")[2])
        return self.sends(document={**kept, "file_name": file_name, "mime_type": mime})

    def sends_sticker(self) -> Json:
        """Send a sticker."""
        kept = self._telegram.keep_file(b"sticker", "stickers", "webp")
        shape = {"type": "regular", "width": 512, "height": 512, "is_animated": False, "is_video": False}
        return self.sends(sticker={**kept, **shape, "emoji": "👍"})

    def sends_voice(self) -> Json:
        """Send a voice message."""
        kept = self._telegram.keep_file(b"voice", "voice", "oga")
        return self.sends(voice={**kept, "duration": 3, "mime_type": "audio/ogg"})

    def sends_location(self) -> Json:
        """Send a place."""
        return self.sends(location={"latitude": 55.75, "longitude": 37.62})

    def sends_contact(self) -> Json:
        """Send the own phone number."""
        contact = {"phone_number": "+79990000000", "first_name": self.person["first_name"], "user_id": self.chat_id}
        return self.sends(contact=contact)

    def blocks(self) -> Json:
        """Block the bot: what it sends from now on is refused."""
        return self._becomes("member", "kicked")

    def wait_for(self, count: int, timeout: float = 10) -> list[Received]:
        """Wait until so many messages have come in all.

        Raises:
            AssertionError: they have not come in time.
        """
        if not self._telegram.wait_until(lambda: len(self.received) >= count, timeout):
            raise AssertionError(f"{len(self.received)} of {count} messages within {timeout} s: {self.received}")
        return list(self.received)

    def _becomes(self, old: str, new: str) -> Json:
        self.blocked = new == "kicked"
        members = [{"user": BOT, "status": status} | ({"until_date": 0} if status == "kicked" else {})
                   for status in (old, new)]  # fmt: skip
        changed = {"chat": self.chat, "from": self.person, "date": int(time.time())}
        changed |= {"old_chat_member": members[0], "new_chat_member": members[1]}
        return self._telegram.inject("my_chat_member", changed)
