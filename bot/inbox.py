"""Messages of customers wait here: written before they are acknowledged, one open conversation step at a time."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from bot.models import Button, Conversation, InboxItem, MessageKind, OutboxItem
from handoff.identifiers import ADDRESS
from handoff.identity import keep_address

#: Telegram's limit of one message (Bot API, sendMessage); longer ones cannot come from a messenger.
MAX_TEXT_CHARACTERS = 4096

#: Kinds of messages without words: each is an intent of the same name.
WORDLESS = ("start", "photo", "voice", "sticker", "place")

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u2060\ufeff\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@dataclass(frozen=True)
class Incoming:
    """One message of a customer as a channel hands it over."""

    key: str
    sender_id: str
    channel: str
    kind: MessageKind
    text: str = ""
    payload: str | None = None
    photo: str | None = None
    language: str | None = None
    display_name: str = ""


def clean_text(text: str) -> str:
    """The text without control and direction characters, in one Unicode form, trimmed."""
    text = unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))
    return _CONTROL.sub("", text).strip()


def receive(session: Session, message: Incoming, now: datetime) -> bool:
    """Keep a message; False when this delivery was here before."""
    if session.scalar(select(InboxItem.id).where(InboxItem.key == message.key)) is not None:
        return False
    session.add(
        InboxItem(
            key=message.key,
            sender_id=message.sender_id,
            channel=message.channel,
            kind=message.kind,
            text=message.text,
            payload=message.payload,
            photo=message.photo,
            language=message.language,
            display_name=message.display_name,
            received_at=now,
            not_before=now,
        )
    )
    if message.language and session.get(Conversation, message.sender_id) is None:
        session.add(Conversation(sender_id=message.sender_id, channel=message.channel, language=message.language))
    session.flush()
    return True


def press_button(session: Session, sender_id: str, key: str, now: datetime) -> Button | None:
    """The button with this key, pressed now; None when it is not this customer's or its question is answered already.

    A button that steers the form ("/affirm") counts only under the newest message: pressed later it would answer
    another question than the one above it.
    """
    button = session.get(Button, key)
    if button is None or button.sender_id != sender_id:
        return None
    siblings = session.scalars(select(Button).where(Button.outbox_id == button.outbox_id)).all()
    newest = session.scalar(select(func.max(OutboxItem.id)).where(OutboxItem.sender_id == sender_id))
    if button.payload.startswith("/") and (newest != button.outbox_id or any(b.pressed_at for b in siblings)):
        return None
    button.pressed_at = now
    return button


def next_messages(session: Session, busy: Collection[str], now: datetime, limit: int) -> Sequence[InboxItem]:
    """The oldest waiting message of each conversation that is not busy, if its time has come."""
    oldest = select(func.min(InboxItem.id)).where(InboxItem.state == "waiting").group_by(InboxItem.sender_id)
    if busy:
        oldest = oldest.where(InboxItem.sender_id.not_in(busy))
    due = select(InboxItem).where(InboxItem.id.in_(oldest), InboxItem.not_before <= now)
    return session.scalars(due.order_by(InboxItem.id).limit(limit)).all()


def words_for_engine(session: Session, item: InboxItem, now: datetime) -> str:
    """What Rasa is sent for a message: a typed address masked and kept aside, a typed command made plain text."""
    if item.kind in WORDLESS:
        return f"/{item.kind}"
    if item.kind == "button":
        return item.payload or item.text
    return plain_words(ADDRESS.sub(lambda found: keep_address(session, item.sender_id, found.group(), now), item.text))


def plain_words(text: str) -> str:
    """A text that Rasa will not execute: it takes "/intent{...}" for a command."""
    return text.lstrip("/ \n\t") or "?"
