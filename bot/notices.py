"""Says things outside a turn: that a letter has come, that an answer takes longer, that a message cannot be taken."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from zlib import crc32

from ruamel.yaml import YAML
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from bot import outbox
from bot.models import Conversation, InboxItem, OutboxItem
from handoff.errors import HandoffError
from handoff.files import MAX_FILE_BYTES
from handoff.identifiers import mask_address
from handoff.letter_tickets import LETTER_CHANNEL
from handoff.marks import MARKS
from handoff.models import Binding, Ticket, TicketEntry
from handoff.notices import NoticeKind
from handoff.shop import LANGUAGES, Shop


class NoticeFileInvalid(HandoffError):
    """data/notices.yml cannot be used; the message says what is missing."""


class NoticeTexts:
    """The texts of data/notices.yml."""

    def __init__(self, path: Path) -> None:
        content: Any = YAML(typ="safe").load(path)
        self._texts: dict[str, dict[str, list[str]]] = (content or {}).get("notices") or {}
        for name, texts in self._texts.items():
            for language in LANGUAGES:
                if not texts.get(language):
                    raise NoticeFileInvalid(f'{path}: {name}: no text under "{language}:"')

    def text(self, name: str, language: str, seed: str, **values: object) -> str:
        """A notice in one language; the same `seed` gives the same wording, so that a repetition changes nothing."""
        variants = self._texts[name][language]
        return variants[crc32(seed.encode()) % len(variants)].format(**values)


class ConversationNotices:
    """Puts notices into the outbox of the conversation they concern; see `handoff.notices.Notices`."""

    def __init__(self, texts: NoticeTexts, shop: Shop) -> None:
        self.texts = texts
        self._shop = shop

    def announce(self, session: Session, ticket: Ticket, kind: NoticeKind, now: datetime) -> None:
        """Tell the conversation that opened a ticket; nothing of the letter's content is said."""
        if ticket.channel == LETTER_CHANNEL:
            return  # it began with a letter: there is no conversation to tell
        # Every answer adds an entry: the count makes each notice its own.
        entries = session.scalar(
            select(func.count()).select_from(TicketEntry).where(TicketEntry.ticket_number == ticket.number)
        )
        language = self._language(session, ticket.sender_id, ticket.language)
        self._put(
            session,
            name=kind,
            purpose=f"{kind}:{ticket.number}:{entries}",
            sender_id=ticket.sender_id,
            channel=ticket.channel,
            now=now,
            language=language,
            ticket=ticket.number,
            agent=ticket.agent_names[language],
            masked=mask_address(ticket.requester or ""),
        )

    def reaches(self, session: Session, sender_id: str) -> bool:
        """Whether the messenger took what was last sent there; a ticket that a letter opened has none."""
        if sender_id.startswith(f"{LETTER_CHANNEL}:"):
            return False
        tried = select(OutboxItem.state).where(
            OutboxItem.sender_id == sender_id, OutboxItem.state.in_(("sent", "refused"))
        )
        return session.scalar(tried.order_by(OutboxItem.id.desc()).limit(1)) != "refused"

    def ask_mark(self, session: Session, ticket: Ticket, now: datetime) -> None:
        """Ask the conversation that opened a ticket how it was, with a button for each mark."""
        language = self._language(session, ticket.sender_id, ticket.language)
        self._put(
            session,
            name="mark_question",
            purpose=f"mark_question:{ticket.number}",
            sender_id=ticket.sender_id,
            channel=ticket.channel,
            now=now,
            language=language,
            buttons=[
                (str(mark), f"/mark{json.dumps({'ticket': str(ticket.number), 'mark': str(mark)})}") for mark in MARKS
            ],
            ticket=ticket.number,
            agent=ticket.agent_names[language],
        )

    def unlinked(self, session: Session, binding: Binding, now: datetime) -> None:
        """Tell a conversation that it is bound to nobody any more; not even the masked address is said."""
        self._put(
            session,
            name="unlinked",
            purpose=f"unlinked:{binding.id}",
            sender_id=binding.sender_id,
            channel=binding.channel,
            now=now,
            language=self._language(session, binding.sender_id, binding.language),
        )

    def about(self, session: Session, item: InboxItem, name: str, now: datetime, masked: str = "") -> None:
        """Say something about a message that is not answered yet; once for each message and notice."""
        language = self._language(session, item.sender_id, item.language or "ru")
        self._put(
            session,
            name=name,
            purpose=f"{name}:{item.id}",
            sender_id=item.sender_id,
            channel=item.channel,
            now=now,
            language=language,
            agent=self._shop.agent_for(item.sender_id)[language],
            megabytes=MAX_FILE_BYTES // 2**20,
            masked=masked,
        )

    def _put(
        self,
        session: Session,
        *,
        name: str,
        purpose: str,
        sender_id: str,
        channel: str,
        now: datetime,
        language: str,
        buttons: Sequence[tuple[str, str]] = (),
        **values: object,
    ) -> None:
        text = self.texts.text(name, language, purpose, **values)
        outbox.put(session, purpose=purpose, sender_id=sender_id, channel=channel, text=text, now=now, buttons=buttons)

    @staticmethod
    def _language(session: Session, sender_id: str, otherwise: str) -> str:
        conversation = session.get(Conversation, sender_id)
        return conversation.language if conversation else otherwise
