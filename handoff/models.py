"""The tables of customers, tickets and letters."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, Literal

from sqlalchemy import (
    JSON,
    BigInteger,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import Mapped, mapped_column

from handoff.database import Base

#: Numbers are said aloud and put into subjects, so they begin where they look like a number.
FIRST_TICKET_NUMBER = 1001

Audience = Literal["agents", "customer"]
LetterState = Literal["waiting", "sending", "sent", "stuck", "dismissed"]
#: Why a ticket is answered before others: how the customer spoke, what it is about, a promise that was not kept, a day
#: that passed before the promise was due, a low mark.
Urgency = Literal["anger", "complaint", "late", "day", "mark"]
Outcome = Literal["threaded", "new", "ignored", "bounce", "duplicate", "quarantined", "refused"]


class CrmCustomer(Base):
    """A customer of the embedded CRM."""

    __tablename__ = "crm_customer"

    customer_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(Text, default="")
    language: Mapped[str] = mapped_column(String(8), default="ru")


class CrmAddress(Base):
    """A registered address, normalised; it belongs to one customer only, or it could not identify him."""

    __tablename__ = "crm_address"

    address: Mapped[str] = mapped_column(String(320), primary_key=True)
    customer_id: Mapped[str] = mapped_column(ForeignKey("crm_customer.customer_id"), index=True)


class CrmOrder(Base):
    """An order; `number` is normalised, `shown_number` is how the shop writes it, `sum` as well, with its currency."""

    __tablename__ = "crm_order"

    number: Mapped[str] = mapped_column(String(64), primary_key=True)
    customer_id: Mapped[str] = mapped_column(ForeignKey("crm_customer.customer_id"), index=True)
    shown_number: Mapped[str] = mapped_column(String(64))
    status: Mapped[str] = mapped_column(Text, default="")
    item: Mapped[str] = mapped_column(Text, default="")
    sum: Mapped[str] = mapped_column(Text, default="")
    address: Mapped[str] = mapped_column(Text, default="")
    promised_on: Mapped[date | None]
    placed_on: Mapped[date | None]


class Ticket(Base):
    """One case.

    `requester` is a registered address as the CRM holds it, or None for an unverified ticket, which keeps what was
    claimed instead. `verified` says that a letter came from the registered mailbox. `answer_by` is when an alarm is
    due: the promise, at most 24 hours of wall time after the question. `match_at` is when the CRM, which was away, is
    asked again about what was claimed (`handoff.matching`).
    """

    __tablename__ = "ticket"
    __table_args__ = (
        UniqueConstraint("sender_id", "opening_key"),
        Index("ix_ticket_case", "customer_id", "order_number", "topic", "state"),
        {"sqlite_autoincrement": True},
    )

    number: Mapped[int] = mapped_column(Integer, Identity(start=FIRST_TICKET_NUMBER), primary_key=True)
    state: Mapped[Literal["open", "closed"]] = mapped_column(String(8), default="open")
    topic: Mapped[str] = mapped_column(String(128))
    topic_title: Mapped[str] = mapped_column(Text)
    language: Mapped[str] = mapped_column(String(8))
    channel: Mapped[str] = mapped_column(String(32))
    sender_id: Mapped[str] = mapped_column(String(255))
    opening_key: Mapped[str] = mapped_column(String(255))
    display_name: Mapped[str] = mapped_column(Text)
    customer_id: Mapped[str | None] = mapped_column(String(64))
    requester: Mapped[str | None] = mapped_column(String(320))
    verified: Mapped[bool] = mapped_column(default=False)
    disputed: Mapped[bool] = mapped_column(default=False)
    order_number: Mapped[str | None] = mapped_column(String(64))
    claimed_address: Mapped[str | None] = mapped_column(Text)
    claimed_order: Mapped[str | None] = mapped_column(Text)
    match_at: Mapped[datetime | None] = mapped_column(index=True)
    priority: Mapped[Literal["normal", "urgent"]] = mapped_column(String(8), default="normal")
    urgent_for: Mapped[Urgency | None] = mapped_column(String(16))
    agent_names: Mapped[dict[str, str]] = mapped_column(JSON)
    suggested_compensation: Mapped[str | None] = mapped_column(String(64))
    snapshot: Mapped[dict[str, Any]] = mapped_column(JSON)
    opened_at: Mapped[datetime] = mapped_column(index=True)
    answer_by: Mapped[datetime]
    first_answer_at: Mapped[datetime | None]

    def make_urgent(self, reason: Urgency) -> None:
        """Let it be answered before others; the letters say the latest reason."""
        self.priority, self.urgent_for = "urgent", reason

    @property
    def shown_order(self) -> str | None:
        """The order number as people write it: the CRM's spelling, else what was claimed."""
        order = self.snapshot.get("order")
        return order["shown_number"] if order else self.claimed_order


class TicketEntry(Base):
    """Something said or noted in a ticket; `source_key` makes adding it twice impossible."""

    __tablename__ = "ticket_entry"
    __table_args__ = (UniqueConstraint("ticket_number", "source_key"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    ticket_number: Mapped[int] = mapped_column(ForeignKey("ticket.number"), index=True)
    author: Mapped[Literal["customer", "agent", "bot", "system"]] = mapped_column(String(16))
    kind: Mapped[Literal["chat", "letter", "note"]] = mapped_column(String(16))
    text: Mapped[str] = mapped_column(Text)
    at: Mapped[datetime]
    letter_in_id: Mapped[int | None] = mapped_column(ForeignKey("letter_in.id"))
    source_key: Mapped[str | None] = mapped_column(String(512))


class TicketChat(Base):
    """A further conversation of a ticket: its customer has told the same case from there as well."""

    __tablename__ = "ticket_chat"

    sender_id: Mapped[str] = mapped_column(String(255), primary_key=True)
    ticket_number: Mapped[int] = mapped_column(
        ForeignKey("ticket.number", ondelete="CASCADE"), primary_key=True, index=True
    )


class Csat(Base):
    """The one question for a mark that a closed ticket is worth, and the answer: 1 (bad) to 5 (good), None before.

    `how` it was asked; `words` the customer added to the mark; `key` is the message that brought it, "" for the page.
    """

    __tablename__ = "csat"

    ticket_number: Mapped[int] = mapped_column(ForeignKey("ticket.number", ondelete="CASCADE"), primary_key=True)
    how: Mapped[Literal["chat", "mail"]] = mapped_column(String(8))
    asked_at: Mapped[datetime] = mapped_column(index=True)
    mark: Mapped[int | None]
    at: Mapped[datetime | None]
    words: Mapped[str] = mapped_column(Text, default="")
    key: Mapped[str] = mapped_column(String(255), default="")


class StoredFile(Base):
    """A file from a conversation; its bytes lie in DATA_DIR/files under the unguessable `name`. `size` is in bytes."""

    __tablename__ = "stored_file"
    __table_args__ = (Index("ix_stored_file_sender", "sender_id", "received_at"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    media_type: Mapped[str] = mapped_column(String(64))
    size: Mapped[int]
    sender_id: Mapped[str] = mapped_column(String(255))
    received_at: Mapped[datetime]
    ticket_number: Mapped[int | None] = mapped_column(ForeignKey("ticket.number"), index=True)
    source_key: Mapped[str] = mapped_column(String(512), unique=True)


class LetterOut(Base):
    """A letter that has to leave; `raw` is complete, so every attempt sends the same bytes and the same Message-ID.

    `purpose` says what the letter is for ("opened:1001:agents") and exists once. Only a notice about a messenger
    account belongs to no ticket. `not_before` is the next attempt while waiting, and the moment from which the letter
    counts as interrupted while sending. `unanswered` counts how often the letter's end was sent without an answer that
    we know: each time it may have arrived.
    """

    __tablename__ = "letter_out"
    __table_args__ = (
        Index("ix_letter_out_due", "state", "not_before"),
        Index("ix_letter_out_address", "to_address", "created_at"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    purpose: Mapped[str] = mapped_column(String(640), unique=True)
    ticket_number: Mapped[int | None] = mapped_column(ForeignKey("ticket.number"), index=True)
    audience: Mapped[Audience] = mapped_column(String(16))
    message_id: Mapped[str] = mapped_column(String(255), unique=True)
    to_address: Mapped[str] = mapped_column(String(320))
    template: Mapped[str] = mapped_column(String(64))
    raw: Mapped[bytes] = mapped_column(LargeBinary, deferred=True)
    state: Mapped[LetterState] = mapped_column(String(16), default="waiting")
    attempts: Mapped[int] = mapped_column(default=0)
    unanswered: Mapped[int] = mapped_column(default=0)
    not_before: Mapped[datetime]
    last_error: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime]
    sent_at: Mapped[datetime | None]

    @property
    def about(self) -> str:
        """What the letter is about, for whoever reads the log."""
        return f"ticket {self.ticket_number}" if self.ticket_number else "a messenger account"


class LetterIn(Base):
    """A letter that was taken in, whatever became of it; `text` is what a person is shown, `attachments` a count."""

    __tablename__ = "letter_in"

    id: Mapped[int] = mapped_column(primary_key=True)
    dedupe_key: Mapped[str] = mapped_column(String(128), unique=True)
    message_id: Mapped[str | None] = mapped_column(Text)
    received_at: Mapped[datetime] = mapped_column(index=True)
    outcome: Mapped[Outcome] = mapped_column(String(16))
    reason: Mapped[str] = mapped_column(Text, default="")
    ticket_number: Mapped[int | None] = mapped_column(ForeignKey("ticket.number"), index=True)
    author: Mapped[Literal["customer", "agent", "other"] | None] = mapped_column(String(16))
    from_address: Mapped[str] = mapped_column(Text, default="")
    recipients: Mapped[list[str]] = mapped_column(JSON, default=list)
    raw: Mapped[bytes] = mapped_column(LargeBinary, deferred=True)
    text: Mapped[str] = mapped_column(Text, default="")
    attachments: Mapped[int] = mapped_column(default=0)


class MailboxPlace(Base):
    """How far a mailbox has been read: moved on by the transaction that keeps the letter.

    `mailbox` is "user@host/folder". Letters up to `last_uid` are taken in, except those in `owed`, which the server
    listed and did not hand out. With another `uid_validity` the numbers mean nothing (RFC 3501 2.3.1.1).
    """

    __tablename__ = "mailbox_place"

    mailbox: Mapped[str] = mapped_column(String(512), primary_key=True)
    uid_validity: Mapped[int] = mapped_column(BigInteger)
    last_uid: Mapped[int] = mapped_column(BigInteger)
    owed: Mapped[list[int]] = mapped_column(JSON, default=list)
    moved_at: Mapped[datetime]


class Claim(Base):
    """One attempt to identify a customer, kept for the limits; `matched` says whether the pair was right."""

    __tablename__ = "claim"
    __table_args__ = (
        Index("ix_claim_sender", "sender_id", "at"),
        Index("ix_claim_order", "order_number", "at"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    sender_id: Mapped[str] = mapped_column(String(255))
    order_number: Mapped[str] = mapped_column(Text)
    address_hash: Mapped[str] = mapped_column(String(64))
    matched: Mapped[bool] = mapped_column(default=False)
    at: Mapped[datetime]


class TypedAddress(Base):
    """An address as somebody typed it; the rest of the system only knows it masked, with this row's id."""

    __tablename__ = "typed_address"

    id: Mapped[int] = mapped_column(primary_key=True)
    sender_id: Mapped[str] = mapped_column(String(255))
    address: Mapped[str] = mapped_column(Text)
    typed_at: Mapped[datetime] = mapped_column(index=True)


class Link(Base):
    """A personal link that the shop sends to a customer: tapped in a messenger, it binds that account to him, once.

    Of the link's token only the SHA-256 is kept: whoever reads the database cannot tap. `used_by` is a sender_id.
    """

    __tablename__ = "link"

    token_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    customer_id: Mapped[str] = mapped_column(String(64))
    expires_at: Mapped[datetime] = mapped_column(index=True)
    used_by: Mapped[str | None] = mapped_column(String(255))


class BindingCode(Base):
    """The code in a conversation's newest confirmation letter; it is deleted when it has bound the conversation.

    Of the code only an HMAC is kept. `tried_key` is the message that was last held against it.
    """

    __tablename__ = "binding_code"

    sender_id: Mapped[str] = mapped_column(String(255), primary_key=True)
    ticket_number: Mapped[int] = mapped_column(ForeignKey("ticket.number"))
    code_hash: Mapped[str] = mapped_column(String(64))
    tries: Mapped[int] = mapped_column(default=0)
    tried_key: Mapped[str | None] = mapped_column(String(255))
    expires_at: Mapped[datetime] = mapped_column(index=True)


class Binding(Base):
    """A conversation that belongs to a customer, as long as `handoff.identity.binding_of` says so.

    `language` is the customer's in the CRM. `used_at` is when a case last relied on it. Ids are never given twice: they
    are in links that may be pressed years later.
    """

    __tablename__ = "binding"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(primary_key=True)
    sender_id: Mapped[str] = mapped_column(String(255), unique=True)
    channel: Mapped[str] = mapped_column(String(32))
    customer_id: Mapped[str] = mapped_column(String(64))
    registered_address: Mapped[str] = mapped_column(String(320))
    language: Mapped[str] = mapped_column(String(8))
    bound_at: Mapped[datetime]
    used_at: Mapped[datetime]
