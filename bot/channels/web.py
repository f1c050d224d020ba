"""The chat of our own page: messages come by POST, the page fetches the conversation."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Never

from fastapi import APIRouter, Form, HTTPException, Query, UploadFile
from fastapi.responses import FileResponse
from pydantic import BaseModel, StringConstraints
from sqlalchemy import select
from sqlalchemy.orm import Session

from bot.channel import FileGone
from bot.inbox import MAX_TEXT_CHARACTERS, Incoming, clean_text, receive
from bot.metrics import MESSAGES, RECEIVE_SECONDS
from bot.models import InboxItem, OutboxItem, RemoteFile
from bot.notices import NoticeTexts
from handoff.database import Database
from handoff.files import MAX_FILE_BYTES, FileTooLarge, FileTypeRefused, file_path, keep_file
from handoff.models import StoredFile

CHANNEL = "web"

#: How much of a conversation the page shows.
SHOWN_MESSAGES = 200

Visitor = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{22,64}$")]
MessageId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]{8,64}$")]
Language = Literal["ru", "en"]


class WebMessage(BaseModel):
    """What the page posts: one of `text`, `button`, `start`; `visitor` is the page's secret, `id` survives retries."""

    visitor: Visitor
    id: MessageId
    language: Language = "ru"
    text: str | None = None
    button: str | None = None
    start: bool = False


class WebChannel:
    """See `bot.channel.Channel`: to the page a message is sent when its row says so."""

    async def send(self, item: OutboxItem, leaves: Callable[[], object] = lambda: None) -> str:
        """Nothing leaves us here; the page fetches what is marked as sent."""
        return str(item.id)

    async def typing(self, sender_id: str) -> None:
        """The page shows by itself that it waits."""

    async def download(self, file: RemoteFile) -> bytes:
        """Files of the page are posted to us."""
        raise FileGone(file["id"])

    async def close(self) -> None:
        """There are no connections."""


def web_router(database: Database, data_dir: Path, texts: NoticeTexts, received: Callable[[], None]) -> APIRouter:
    """The chat's endpoints; `received` is called after a message was kept."""
    router = APIRouter(prefix="/web")

    def refuse(status: int, name: str, language: str, **values: object) -> Never:
        raise HTTPException(status, texts.text(name, language, name, **values))

    async def keep(message: Incoming) -> dict[str, str]:
        with RECEIVE_SECONDS.labels(CHANNEL).time():
            new = await database.run(receive, message, datetime.now(UTC))
        if new:
            MESSAGES.labels(CHANNEL).inc()
            received()
        return {"key": message.key}

    @router.post("/messages", status_code=202)
    async def take_message(posted: WebMessage) -> dict[str, str]:
        sender_id, key = _sender_id(posted.visitor), f"web:{posted.visitor}:{posted.id}"
        if posted.start:
            return await keep(Incoming(key, sender_id, CHANNEL, "start", language=posted.language))
        if posted.button is not None:
            return await keep(
                Incoming(key, sender_id, CHANNEL, "button", button=posted.button, language=posted.language)
            )
        text = clean_text(posted.text or "")
        if not text:
            refuse(422, "text_empty", posted.language)
        if len(text) > MAX_TEXT_CHARACTERS:
            refuse(422, "text_too_long", posted.language, characters=MAX_TEXT_CHARACTERS)
        return await keep(Incoming(key, sender_id, CHANNEL, "text", text, language=posted.language))

    @router.post("/photos", status_code=202)
    async def take_photo(
        visitor: Annotated[Visitor, Form()],
        id: Annotated[MessageId, Form()],
        file: UploadFile,
        language: Annotated[Language, Form()] = "ru",
        caption: Annotated[str, Form()] = "",
    ) -> dict[str, str]:
        sender_id, key = _sender_id(visitor), f"web:{visitor}:{id}"
        megabytes = MAX_FILE_BYTES // 2**20
        if (file.size or 0) > MAX_FILE_BYTES:
            refuse(413, "photo_too_large", language, megabytes=megabytes)
        words = clean_text(caption)
        if len(words) > MAX_TEXT_CHARACTERS:
            refuse(422, "text_too_long", language, characters=MAX_TEXT_CHARACTERS)
        content = await file.read()
        try:
            name = await database.run(lambda s: keep_file(s, data_dir, sender_id, content, key, datetime.now(UTC)).name)
        except FileTooLarge:
            refuse(413, "photo_too_large", language, megabytes=megabytes)
        except FileTypeRefused:
            refuse(415, "photo_wrong_type", language)
        kept = await keep(Incoming(key, sender_id, CHANNEL, "photo", photo=name, language=language))
        if words:
            # The words are a message of their own: understood and answered like any other.
            await keep(Incoming(f"{key}:caption", sender_id, CHANNEL, "text", words, language=language))
        return kept

    @router.get("/photos/{name}")
    async def show_photo(name: str) -> FileResponse:
        file = await database.read(lambda s: s.scalar(select(StoredFile).where(StoredFile.name == name)))
        if file is None:
            raise HTTPException(404)
        headers = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "default-src 'none'; sandbox"}
        return FileResponse(file_path(data_dir, file), media_type=file.media_type, headers=headers)

    @router.get("/messages")
    async def conversation(visitor: Annotated[str, Query(pattern=r"^[A-Za-z0-9_-]{22,64}$")]) -> dict[str, Any]:
        return await database.read(_shown, _sender_id(visitor))

    return router


def _sender_id(visitor: str) -> str:
    return f"{CHANNEL}:{visitor}"


def _shown(session: Session, sender_id: str) -> dict[str, Any]:
    said = session.scalars(
        select(InboxItem).where(InboxItem.sender_id == sender_id).order_by(InboxItem.id.desc()).limit(SHOWN_MESSAGES)
    ).all()
    answered = session.scalars(
        select(OutboxItem)
        .where(OutboxItem.sender_id == sender_id, OutboxItem.state == "sent")
        .order_by(OutboxItem.id.desc())
        .limit(SHOWN_MESSAGES)
    ).all()
    customer: list[dict[str, Any]] = [
        {
            "id": f"in-{item.id}",
            "author": "customer",
            "text": item.text,
            "at": item.received_at.isoformat(),
            "buttons": [],
            "photo": f"/web/photos/{item.photo}" if item.photo else None,
        }
        for item in reversed(said)
        if item.kind != "start"
    ]
    bot: list[dict[str, Any]] = [
        {
            "id": f"out-{item.id}",
            "author": "bot",
            "text": item.text,
            "at": item.created_at.isoformat(),
            "buttons": item.buttons,
            "photo": None,
        }
        for item in reversed(answered)
    ]
    messages = sorted([*customer, *bot], key=lambda message: str(message["at"]))
    return {"messages": messages[-SHOWN_MESSAGES:], "waiting": any(item.state == "waiting" for item in said)}
