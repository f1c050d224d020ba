"""What a conversation hands over, and what may be said in it afterwards."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from handoff.mail.reading import storable
from handoff.models import Urgency


@dataclass(frozen=True)
class Line:
    """Something said in the conversation."""

    author: Literal["customer", "bot"]
    text: str
    at: datetime


@dataclass(frozen=True)
class Case:
    """What a conversation hands over.

    `key` is the same whenever the same case is handed over again. `topic_title` is in the customer's language.
    `claimed_order` and `claimed_address` are what was typed, kept only while nobody is identified; `unchecked` says
    that the CRM was away and is to be asked about them later. `own_words` is the message that the case began with.
    """

    key: str
    sender_id: str
    channel: str
    language: str
    display_name: str
    topic: str
    topic_title: str
    transcript: tuple[Line, ...]
    urgent_for: Urgency | None
    claimed_order: str | None
    claimed_address: str | None
    own_words: str = ""
    unchecked: bool = False

    def storable(self) -> Case:
        """The case with texts that every database and mail program takes."""
        return replace(
            self,
            display_name=storable(self.display_name),
            topic_title=storable(self.topic_title),
            transcript=tuple(replace(line, text=storable(line.text)) for line in self.transcript),
            claimed_order=storable(self.claimed_order) if self.claimed_order else None,
            claimed_address=storable(self.claimed_address) if self.claimed_address else None,
            own_words=storable(self.own_words),
        )


@dataclass(frozen=True)
class Opened:
    """What may be said in the conversation about the ticket.

    `joined` says that the case was added to an open ticket; `verified_pair` that order and address belong together;
    `waits` that the CRM has yet to be asked about them.
    """

    number: int
    agent: str
    deadline_text: str
    masked_address: str | None
    joined: bool
    verified_pair: bool
    waits: bool = False
