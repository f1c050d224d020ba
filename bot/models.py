"""The tables of the customers' side: what came in, what goes out, and what answers were missing."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, TypedDict

from sqlalchemy import JSON, ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from handoff.database import Base

MessageKind = Literal["text", "button", "photo", "voice", "sticker", "place", "contact", "start", "forget"]


class RemoteFile(TypedDict):
    """A file that waits at its messenger: where (an id or an address), bytes and media type as the messenger says."""

    id: str
    size: int | None
    type: str | None


class InboxItem(Base):
    """One message of a customer, kept from before it is acknowledged until it is answered.

    `key` is the messenger's own, so that a second delivery is recognised. `payload` is what a pressed button says to
    Rasa, or what a deep link carried. `remote_file` waits at the messenger, `photo` is here; files of one `album` are
    answered together. `stuck` items were given up; a person must look (`support stuck`) and may have them `dismissed`.
    `operator` items were left to a person who answers in the messenger. `topic` is what an answered message was taken
    for, such as "faq/care". `claimed_by` is the service that answers it, where several share the inbox (`bot.claims`).
    """

    __tablename__ = "inbox"
    __table_args__ = (Index("ix_inbox_waiting", "state", "sender_id", "id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(String(255), unique=True)
    sender_id: Mapped[str] = mapped_column(String(255), index=True)
    channel: Mapped[str] = mapped_column(String(32))
    kind: Mapped[MessageKind] = mapped_column(String(16))
    text: Mapped[str] = mapped_column(Text)
    payload: Mapped[str | None] = mapped_column(Text)
    remote_file: Mapped[RemoteFile | None] = mapped_column(JSON(none_as_null=True))
    album: Mapped[str | None] = mapped_column(String(64))
    photo: Mapped[str | None] = mapped_column(String(255))
    language: Mapped[str | None] = mapped_column(String(8))
    display_name: Mapped[str] = mapped_column(Text, default="")
    received_at: Mapped[datetime]
    state: Mapped[Literal["waiting", "answered", "stuck", "operator", "dismissed"]] = mapped_column(
        String(16), default="waiting"
    )
    topic: Mapped[str | None] = mapped_column(String(64), index=True)
    attempts: Mapped[int] = mapped_column(default=0)
    not_before: Mapped[datetime]
    claimed_by: Mapped[str | None] = mapped_column(String(255))
    done_at: Mapped[datetime | None]
    last_error: Mapped[str | None] = mapped_column(Text)


class OutboxItem(Base):
    """One message to a customer; `purpose` makes it unique, so that a repeated turn cannot say it twice.

    `message_key`: of the message that it answers, if any. `maybe_sent`: an attempt ended without an answer. `refused`:
    the messenger takes nothing to this customer; `stuck`: a person must look, and may have it `dismissed`.
    """

    __tablename__ = "outbox"
    __table_args__ = (UniqueConstraint("purpose"), Index("ix_outbox_waiting", "state", "sender_id", "id"))

    id: Mapped[int] = mapped_column(primary_key=True)
    purpose: Mapped[str] = mapped_column(String(255))
    message_key: Mapped[str | None] = mapped_column(String(255))
    sender_id: Mapped[str] = mapped_column(String(255), index=True)
    channel: Mapped[str] = mapped_column(String(32))
    text: Mapped[str] = mapped_column(Text)
    buttons: Mapped[list[dict[str, Any]]] = mapped_column(JSON, default=list)
    created_at: Mapped[datetime]
    state: Mapped[Literal["waiting", "sent", "refused", "stuck", "dismissed"]] = mapped_column(
        String(16), default="waiting"
    )
    maybe_sent: Mapped[bool] = mapped_column(default=False)
    attempts: Mapped[int] = mapped_column(default=0)
    not_before: Mapped[datetime]
    sent_at: Mapped[datetime | None]
    remote_id: Mapped[str | None] = mapped_column(String(255))
    last_error: Mapped[str | None] = mapped_column(Text)


class Button(Base):
    """What a button says to Rasa. Messengers only carry the short opaque `key`: payloads never come from outside."""

    __tablename__ = "button"

    key: Mapped[str] = mapped_column(String(32), primary_key=True)
    outbox_id: Mapped[int] = mapped_column(ForeignKey("outbox.id"), index=True)
    sender_id: Mapped[str] = mapped_column(String(255))
    title: Mapped[str] = mapped_column(Text)
    payload: Mapped[str] = mapped_column(Text)
    pressed_at: Mapped[datetime | None]


class Conversation(Base):
    """What is known of a conversation outside Rasa; until `paused_until` a person answers in the messenger."""

    __tablename__ = "conversation"

    sender_id: Mapped[str] = mapped_column(String(255), primary_key=True)
    channel: Mapped[str] = mapped_column(String(32))
    language: Mapped[str] = mapped_column(String(8))
    paused_until: Mapped[datetime | None]


class ChannelState(Base):
    """What a channel has to know after a restart, such as the place in VK's row of events."""

    __tablename__ = "channel_state"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[str] = mapped_column(Text)


class ServiceRow(Base):
    """A process that is there, and until when that is certain; see `bot.lease`."""

    __tablename__ = "service"

    holder: Mapped[str] = mapped_column(String(255), primary_key=True)
    until: Mapped[datetime]


class LeaseRow(Base):
    """Which process alone may do a thing, such as poll a messenger; `polled_at` is when that last answered."""

    __tablename__ = "lease"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    holder: Mapped[str] = mapped_column(String(255))
    polled_at: Mapped[datetime | None]


class KnowledgeGap(Base):
    """A customer asked for a fact that shop.yml does not set (`support gaps`)."""

    __tablename__ = "knowledge_gap"
    __table_args__ = (UniqueConstraint("inbox_id", "fact"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    inbox_id: Mapped[int] = mapped_column(ForeignKey("inbox.id"))
    fact: Mapped[str] = mapped_column(String(64), index=True)
    asked_at: Mapped[datetime]
