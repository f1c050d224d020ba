"""VK's messages and presses as messages of ours: what is kept of them and under which key."""

from __future__ import annotations

import json
import mimetypes
import re
from functools import partial
from typing import Any

from bot.channels.vk import CHANNEL
from bot.inbox import Incoming, clean_text
from bot.models import MessageKind, RemoteFile

Json = dict[str, Any]

#: Attachments without words and without a file for us.
KINDS: dict[str, MessageKind] = {
    "audio_message": "voice",
    "audio": "voice",
    "video_message": "voice",
    "sticker": "sticker",
    "ugc_sticker": "sticker",
    "graffiti": "sticker",
    "gift": "sticker",
}

#: The key of a button of ours; a customer's program may send anything.
BUTTON_KEY = re.compile(r"[\w-]{1,32}", re.ASCII)


def read_message(message: Json, group_id: int) -> list[Incoming]:
    """The messages to keep: none from chats and communities or that say nothing; a caption is one of its own."""
    if not message["from_id"] == message["peer_id"] > 0:
        return []
    new = partial(Incoming, sender_id=sender_of(message), channel=CHANNEL)
    key = key_of(message, group_id)
    text, ref = clean_text(message.get("text") or ""), clean_text(message.get("ref") or "")
    payload = _payload(message)
    if payload.get("command") == "start":
        return [new(key=key, kind="start", payload=ref or None)]
    # Who follows a link into a conversation that exists already sends its parameter with his next words.
    found = [new(key=f"{key}:start", kind="start", payload=ref)] if ref else []
    attachments = message.get("attachments") or []
    files = [file for file in map(_file, attachments) if file]
    wordless = [KINDS[each["type"]] for each in attachments if each["type"] in KINDS]
    if message.get("geo"):
        wordless.append("place")
    if len(files) > 1:
        picture = partial(new, kind="photo", album=key, album_whole=True)
        found += [picture(key=f"{key}:{n}", remote_file=file) for n, file in enumerate(files, 1)]
    elif files:
        found.append(new(key=key, kind="photo", remote_file=files[0]))
    if text:
        key = f"{key}:caption" if files else key
        if button := _button(payload):
            found.append(new(key=key, kind="button", button=button, text=text))
        elif text.lower() == "/forget":
            found.append(new(key=key, kind="forget"))
        else:
            found.append(new(key=key, kind="text", text=text))
    elif wordless and not files:
        found.append(new(key=key, kind=wordless[0]))
    return found


def read_press(press: Json, group_id: int) -> list[Incoming]:
    """A pressed callback button as a message, if the button is one of ours."""
    button = _button(_payload(press))
    if button is None or press["user_id"] != press["peer_id"]:
        return []
    key = f"{CHANNEL}:{group_id}:event:{press['event_id']}"
    return [Incoming(key=key, sender_id=sender_of(press), channel=CHANNEL, kind="button", button=button)]


def sender_of(message: Json) -> str:
    """The conversation that a message belongs to, whoever wrote it."""
    return f"{CHANNEL}:{message['peer_id']:d}"


def key_of(message: Json, group_id: int) -> str:
    """The same whichever event brings the message and in VK's history: messages of a conversation are numbered."""
    return f"{CHANNEL}:{group_id}:{message['peer_id']:d}:{message['conversation_message_id']:d}"


def _payload(message: Json) -> Json:
    """What a button carries: JSON, which comes read already with a press; nothing if it is no object."""
    payload = message.get("payload")
    try:
        found = json.loads(payload) if isinstance(payload, str) else payload
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _button(payload: Json) -> str | None:
    key = payload.get("key")
    return key if isinstance(key, str) and BUTTON_KEY.fullmatch(key) else None


def _file(attachment: Json) -> RemoteFile | None:
    """The file to fetch, with what VK says of its size and type; a video is told to be what it is, and refused."""
    match attachment:
        case {"type": "photo", "photo": photo}:
            largest = max(photo.get("sizes") or [{}], key=lambda size: size.get("width", 0) * size.get("height", 0))
            return RemoteFile(id=largest.get("url", ""), size=None, type="image/jpeg")
        case {"type": "doc", "doc": doc}:
            media_type, _ = mimetypes.guess_type(f"file.{doc.get('ext')}")
            return RemoteFile(id=doc.get("url", ""), size=doc.get("size"), type=media_type)
        case {"type": "video"}:
            return RemoteFile(id="", size=None, type="video/mp4")
    return None
