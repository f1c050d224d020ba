"""A customer of the fake VK: writes, presses buttons, sends photos, and keeps what he receives."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .fake_vk import FakeVk

Json = dict[str, Any]


@dataclass(frozen=True)
class Received:
    """A message from the community as the customer sees it."""

    message_id: int
    text: str
    buttons: tuple[str, ...]
    at: float
    random_id: int
    keyboard: Json
    attachments: tuple[str, ...]
    conversation_message_id: int
    from_operator: bool


class Customer:
    """Acts as VK's app would, from whatever thread a test is in."""

    def __init__(self, vk: FakeVk, user_id: int, first_name: str, last_name: str) -> None:
        self.user_id = user_id
        self.first_name = first_name
        self.last_name = last_name
        self.allowed = False
        self.blocked = False  # on the community's blacklist: error 900
        self.received: list[Received] = []
        self.typing: list[float] = []  # when the bot was seen typing
        self.popups: list[Json] = []  # answers to pressed buttons: event_data, {} if it was empty
        self._vk = vk

    def says(self, text: str, ref: str | None = None, payload: str | None = None, **fields: Any) -> Json:
        """Write a message, with a deep link if `ref` is given; VK takes the first one as leave to answer."""
        deep_link = {"ref": ref, "ref_source": "vk_me"} if ref else {}
        extra = {"payload": payload} if payload else {}
        with self._vk.changed:
            if not self.allowed:
                self.allows()
            message = self._vk.add_message(self.user_id, self.user_id, text, **deep_link, **extra, **fields)
            self._vk.inject("message_new", {"message": message, "client_info": CLIENT})
        return message

    def starts(self, ref: str | None = None) -> Json:
        """Press "Начать", which VK shows in an empty conversation."""
        return self.says("Начать", ref, '{"command":"start"}')

    def allows(self) -> None:
        self.allowed = True
        self._vk.inject("message_allow", {"user_id": self.user_id, "key": ""})

    def denies(self) -> None:
        """Forbid messages: error 901 until he writes again."""
        self.allowed = False
        self._vk.inject("message_deny", {"user_id": self.user_id})

    def edits(self, message: Json, text: str) -> None:
        with self._vk.changed:
            message.update(text=text, update_time=int(time.time()))
            self._vk.inject("message_edit", message)

    def presses(self, title: str, of: Received | None = None, old_app: bool = False) -> str | None:
        """Press a button of the newest keyboard, or of `of`; give the id of the press if it was a callback button.

        An `old_app` knows no callback buttons and sends a message instead, with the payload wrapped up.
        """
        shown = of or next((message for message in reversed(self.received) if message.buttons), None)
        actions = [button["action"] for row in shown.keyboard["buttons"] for button in row] if shown else []
        action = next((action for action in actions if action.get("label") == title), None)
        if shown is None or action is None:
            raise AssertionError(f"no button {title!r} but {[action.get('label') for action in actions]}")
        payload = action.get("payload")
        if action["type"] == "callback" and old_app:
            wrapped = {"command": "not_supported_button", "button_type": "callback", "payload": payload}
            self.says(title, payload=json.dumps(wrapped))
        elif action["type"] == "callback":
            # The schema calls the payload a string; it comes as the object it describes (vknet/vk#1574).
            return self._vk.press(self.user_id, json.loads(payload or "{}"), shown.conversation_message_id)
        elif action["type"] == "text":
            self.says(title, payload=payload)
        return None

    def sends_photo(self, content: bytes, caption: str = "") -> Json:
        return self.says(caption, attachments=[photo(self._vk, self.user_id, content)])

    def sends_document(self, content: bytes, title: str) -> Json:
        return self.says("", attachments=[document(self._vk, self.user_id, content, title)])

    def sends_voice(self, content: bytes = b"OggS") -> Json:
        link = self._vk.keep_file(content, "voice")
        voice = {"duration": 4, "link_ogg": f"{link}.ogg", "link_mp3": f"{link}.mp3", "waveform": [0, 3, 9, 1]}
        return self.says("", attachments=[attachment(self._vk, "audio_message", self.user_id, voice)])

    def sends_sticker(self) -> Json:
        sticker = {"inner_type": "base_sticker_new", "sticker_id": 9046, "product_id": 279, "images": []}
        return self.says("", attachments=[{"type": "sticker", "sticker": sticker}])

    def sends_location(self) -> Json:
        """A place is no attachment but a field of its own."""
        return self.says("", geo={"type": "point", "coordinates": {"latitude": 59.93, "longitude": 30.31}})

    def sends_market_item(self, title: str, text: str = "") -> Json:
        """What "write to the seller" sends from the page of a product."""
        price = {"amount": "1290000", "currency": {"id": 643, "name": "RUB"}, "text": "12 900 ₽"}
        item = {"title": title, "description": title, "price": price, "availability": 0}
        return self.says(text, attachments=[attachment(self._vk, "market", -self._vk.group_id, item)])

    def wait_for(self, count: int, timeout: float = 10.0) -> list[Received]:
        """All messages received so far, once there are `count` of them."""
        if not self._vk.wait_until(lambda: len(self.received) >= count, timeout):
            texts = [message.text for message in self.received]
            raise AssertionError(f"{len(texts)} of {count} messages within {timeout:.0f} s: {texts}")
        return list(self.received)


CLIENT = {
    "button_actions": ["text", "vkpay", "open_app", "location", "open_link", "callback"],
    "keyboard": True,
    "inline_keyboard": True,
    "carousel": True,
    "lang_id": 0,
}


def attachment(vk: FakeVk, kind: str, owner_id: int, fields: Json) -> Json:
    """What all attachments with an id have in common."""
    known = {"id": vk.new_id(), "owner_id": owner_id, "date": int(time.time()), "access_key": "abc123"}
    vk.attachments.add(f"{kind}{owner_id}_{known['id']}")
    return {"type": kind, kind: {**known, **fields}}


def photo(vk: FakeVk, owner_id: int, content: bytes) -> Json:
    """A photo in three sizes, in no order, of which only the largest has the content that was sent."""
    widths = {"s": 75, "z": 1080, "x": 604}
    sizes = [
        {
            "type": size,
            "width": width,
            "height": width * 4 // 3,
            "url": vk.keep_file(content if size == "z" else b"small " + size.encode(), f"{size}.jpg"),
        }
        for size, width in widths.items()
    ]
    return attachment(vk, "photo", owner_id, {"album_id": -3, "has_tags": False, "text": "", "sizes": sizes})


def document(vk: FakeVk, owner_id: int, content: bytes, title: str) -> Json:
    """A document, whose address redirects to the file."""
    address = vk.keep_file(content, title).replace("/files/", "/doc/")
    ext = title.rpartition(".")[2]
    return attachment(
        vk, "doc", owner_id, {"title": title, "size": len(content), "ext": ext, "type": 1, "url": address}
    )
