"""Messages of customers wait here: written before they are acknowledged, one open conversation step at a time."""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Insert, Integer, Select, bindparam, func, select, update
from sqlalchemy.orm import Session

from bot.models import Button, Conversation, InboxItem, MessageKind, OutboxItem, RemoteFile
from bot.oldest import oldest_waiting
from handoff.database import dialect_of, insert_for, insert_new, table_of
from handoff.identifiers import ADDRESS, mask_cards, spell_out
from handoff.identity import keep_address
from handoff.log_lines import follow

log = logging.getLogger(__name__)

#: Telegram's limit of one message (Bot API, sendMessage); longer ones cannot come from a messenger.
MAX_TEXT_CHARACTERS = 4096

#: What Rasa is told of messages without words; a contact is somebody's phone number, and we do not phone.
WORDLESS = {kind: f"/{kind}" for kind in ("start", "photo", "voice", "sticker", "place", "forget")}
WORDLESS["contact"] = "/faq/contact_phone"

#: On Telegram the pictures of one album come as messages of their own, within this time.
ALBUM_GATHERS = timedelta(seconds=1)

#: How long the bot is silent after a person has answered in the messenger by hand.
OPERATOR_PAUSE = timedelta(hours=1)

#: How the payload of a button begins that names the ticket it is about, and so counts whatever was said since.
LASTING = "/mark{"

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u2060\ufeff\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


# Statements of every message are built once: that takes longer than running them.
_INBOX, _CONVERSATIONS = table_of(InboxItem), table_of(Conversation)
_KEPT = select(_INBOX.c.id).where(_INBOX.c.key == bindparam("key"))
_SPOKEN = select(_CONVERSATIONS.c.language).where(_CONVERSATIONS.c.sender_id == bindparam("sender_id"))
_PAUSED_UNTIL = select(_CONVERSATIONS.c.paused_until).where(_CONVERSATIONS.c.sender_id == bindparam("sender_id"))


@dataclass(frozen=True)
class Incoming:
    """One message of a customer as a channel hands it over; `button` is the key of a pressed one (`bot.models.Button`).

    `album_whole` says that the rest of its album is handed over with it. See `bot.models.InboxItem` for the others.
    """

    key: str
    sender_id: str
    channel: str
    kind: MessageKind
    text: str = ""
    payload: str | None = None
    button: str | None = None
    photo: str | None = None
    remote_file: RemoteFile | None = None
    album: str | None = None
    album_whole: bool = False
    language: str | None = None
    display_name: str = ""


def clean_text(text: str) -> str:
    """The text without control and direction characters and without bank cards, in one Unicode form, trimmed."""
    text = unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))
    return mask_cards(_CONTROL.sub("", text).strip())


def receive(session: Session, message: Incoming, now: datetime) -> bool:
    """Keep a message; False when this delivery was here before, or its button counts no longer."""
    text, payload = message.text, message.payload
    if message.button is not None:
        if session.scalar(_KEPT, {"key": message.key}) is not None:
            return False
        # The press and the message it makes are kept together, or a crash between them would lose the press.
        button = press_button(session, message.sender_id, message.button, now)
        if button is None:
            return False
        text, payload = button.title, button.payload
    known = session.execute(_PAUSED_UNTIL, {"sender_id": message.sender_id}).one_or_none()
    paused = known is not None and known.paused_until is not None and now < known.paused_until
    if message.language and known is None:
        conversation_of(session, message.sender_id, message.channel, message.language)
    # It may be here; and another service may be keeping another delivery of it just now.
    kept = insert_new(
        session,
        InboxItem,
        key=message.key,
        sender_id=message.sender_id,
        channel=message.channel,
        kind=message.kind,
        text=text,
        payload=payload,
        photo=message.photo,
        remote_file=message.remote_file,
        album=message.album,
        language=message.language,
        display_name=message.display_name,
        received_at=now,
        not_before=now + ALBUM_GATHERS if message.album and not message.album_whole else now,
        state="operator" if paused else "waiting",
    )
    if kept is None:
        return False
    follow(key=message.key)
    log.info("message taken in")
    follow(key=None)
    return True


def conversation_of(session: Session, sender_id: str, channel: str, language: str) -> Conversation:
    """What is known of a conversation; one that is new begins in this language."""
    known = session.get(Conversation, sender_id)
    if known is None:
        insert_new(session, Conversation, sender_id=sender_id, channel=channel, language=language)
        known = session.get_one(Conversation, sender_id)
    return known


def keep_language(session: Session, sender_id: str, channel: str, language: str) -> None:
    """The conversation goes on in this language."""
    # Most of the time it is; then the row must not be locked, or an operator who pauses it now would wait in a circle.
    if session.scalar(_SPOKEN, {"sender_id": sender_id}) != language:
        spoken = {"sender_id": sender_id, "channel": channel, "language": language}
        session.execute(_language(dialect_of(session)), spoken)


@cache
def _language(dialect: str) -> Insert:
    new = insert_for(dialect)(_CONVERSATIONS)
    return new.on_conflict_do_update(index_elements=["sender_id"], set_={"language": new.excluded.language})


def receive_all(session: Session, messages: Iterable[Incoming], now: datetime) -> int:
    """Keep messages that came together; how many of them were new."""
    return sum(receive(session, message, now) for message in messages)


def change_text(session: Session, key: str, text: str) -> None:
    """A customer has edited a message: it counts if the message still waits, and is not answered a second time."""
    item = session.scalar(select(InboxItem).where(InboxItem.key == key, InboxItem.state == "waiting"))
    if item is not None and item.kind == "text" and text:
        item.text = text


def pause(session: Session, sender_id: str, channel: str, now: datetime) -> None:
    """A person has answered in the messenger by hand: what waits and comes next is left to him for a while."""
    conversation_of(session, sender_id, channel, "ru").paused_until = now + OPERATOR_PAUSE
    waiting = select(InboxItem).where(InboxItem.sender_id == sender_id, InboxItem.state == "waiting")
    for item in session.scalars(waiting):
        item.state, item.done_at = "operator", now


def press_button(session: Session, sender_id: str, key: str, now: datetime) -> Button | None:
    """The button with this key, pressed now; None when it is not this customer's or its question is answered already.

    A button that steers the form ("/affirm") counts only under the newest message: pressed later it would answer
    another question than the one above it. One that names its ticket (`LASTING`) counts whenever it is pressed.
    """
    button = session.get(Button, key)
    if button is None or button.sender_id != sender_id:
        return None
    siblings = session.scalars(select(Button).where(Button.outbox_id == button.outbox_id)).all()
    newest = session.scalar(select(func.max(OutboxItem.id)).where(OutboxItem.sender_id == sender_id))
    steers = button.payload.startswith("/") and not button.payload.startswith(LASTING)
    if steers and (newest != button.outbox_id or any(b.pressed_at for b in siblings)):
        return None
    button.pressed_at = now
    return button


def next_messages(session: Session, busy: Collection[str], now: datetime, limit: int) -> Sequence[InboxItem]:
    """The oldest waiting message of each conversation that is not busy, if its time has come.

    The channels take turns: a crowd on one of them does not keep the other waiting.
    """
    return session.scalars(_next(dialect_of(session)), {"busy": list(busy), "now": now, "limit": limit}).all()


@cache
def _next(dialect: str) -> Select[InboxItem]:
    item = oldest_waiting(InboxItem, dialect)
    due = select(item).where(item.not_before <= bindparam("now")).order_by(*in_turn(item))
    return due.limit(bindparam("limit", type_=Integer))


def in_turn(item: type[InboxItem]) -> tuple[ColumnElement[Any], ...]:
    """The order in which messages are taken: one of each channel, then the next of each."""
    return func.row_number().over(partition_by=item.channel, order_by=item.id), item.id.expression


def waiting_since(session: Session, moment: datetime, known: Collection[int]) -> Sequence[InboxItem]:
    """The oldest waiting message of each conversation, if it came before `moment` and is not one of `known`."""
    oldest = select(func.min(InboxItem.id)).where(InboxItem.state == "waiting").group_by(InboxItem.sender_id)
    waiting = session.scalars(select(InboxItem).where(InboxItem.id.in_(oldest), InboxItem.received_at < moment))
    return [item for item in waiting if item.id not in known]


def retry_all(session: Session, now: datetime) -> None:
    """Let every waiting message be tried now; an album goes on gathering."""
    postponed = InboxItem.state == "waiting", InboxItem.attempts > 0, InboxItem.not_before > now
    # Other services do the same at the same moment: what one of them has in hand is left to it.
    free = select(InboxItem.id).where(*postponed).with_for_update(skip_locked=True)
    session.execute(update(InboxItem).where(InboxItem.id.in_(free)).values(not_before=now))


def album_of(session: Session, item: InboxItem) -> Sequence[InboxItem]:
    """The message with all others of its album that wait."""
    if item.album is None:
        return [item]
    album = select(InboxItem).where(
        InboxItem.sender_id == item.sender_id, InboxItem.album == item.album, InboxItem.state == "waiting"
    )
    return session.scalars(album.order_by(InboxItem.id)).all()


def typed_addresses(item: InboxItem) -> list[str]:
    """The addresses in a message's text."""
    return ADDRESS.findall(spell_out(item.text)) if item.kind == "text" else []


def keep_addresses(session: Session, item: InboxItem, now: datetime) -> dict[str, str]:
    """Keep a message's addresses aside; what may be said instead of each."""
    return {address: keep_address(session, item.sender_id, address, now) for address in typed_addresses(item)}


def words_for_engine(item: InboxItem, references: Mapping[str, str]) -> str:
    """What Rasa is sent for a message: typed addresses as their `references`, a typed command made plain text."""
    if item.kind in WORDLESS:
        return WORDLESS[item.kind]
    if item.kind == "button":
        return item.payload or item.text
    return plain_words(ADDRESS.sub(lambda found: references[found.group()], spell_out(item.text)))


def plain_words(text: str) -> str:
    """A text that Rasa will not execute: it takes "/intent{...}" for a command."""
    return text.lstrip("/ \n\t") or "?"
