"""What handoff tells the customers' side, so that it can say in the messenger that a letter is on its way."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, Protocol

from sqlalchemy.orm import Session

from handoff.models import Binding, Ticket

#: answer_sent: an agent's answer is on its way to the registered mailbox.
#: ticket_disputed: the owner of the mailbox said that it was not him who wrote in the messenger.
#: pair_matched, pair_joined, pair_unmatched: the CRM is back, and number and address belong together; they do and are
#: about a ticket that was open already; they do not.
#: answer_late: the time that was promised for the first answer has passed.
#: letter_bounced: the registered mailbox takes no letters; is there another address?
NoticeKind = Literal[
    "answer_sent", "ticket_disputed", "pair_matched", "pair_joined", "pair_unmatched", "answer_late", "letter_bounced"
]


class Notices(Protocol):
    """Implemented by the side that talks to messengers; what it notes is noted in the same transaction."""

    def announce(self, session: Session, ticket: Ticket, kind: NoticeKind, now: datetime) -> None:
        """The conversation `ticket.sender_id` is to hear about `kind`."""

    def reaches(self, session: Session, sender_id: str) -> bool:
        """Whether the conversation takes messages, as far as is known: customers block bots."""

    def ask_mark(self, session: Session, ticket: Ticket, now: datetime) -> None:
        """The conversation `ticket.sender_id` is to be asked for its mark of the closed ticket, from 1 to 5."""

    def unlinked(self, session: Session, binding: Binding, now: datetime) -> None:
        """The conversation `binding.sender_id` is to hear that it is bound to nobody any more."""
