"""Customers, cases and letters that the tests of handoff speak about."""

from __future__ import annotations

import socket
from dataclasses import replace
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage

from sqlalchemy import select
from sqlalchemy.orm import Session

from handoff.case import Case, Line
from handoff.crm.port import Customer, Order
from handoff.identity import Requester
from handoff.models import Binding, CrmAddress, CrmCustomer, CrmOrder, LetterOut, Ticket

#: A Friday, 15:20 in Moscow.
NOW = datetime(2026, 11, 20, 12, 20, tzinfo=UTC)

#: The smallest PNG.
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
    "1f15c4890000000d49444154789c6360000002000001e221bc330000000049454e44ae426082"
)


class RecordedNotices:
    """What the messenger side was asked to say; `blocked` conversations take no messages."""

    def __init__(self) -> None:
        self.announced: list[tuple[int, str]] = []
        self.freed: list[str] = []
        self.asked: list[int] = []
        self.blocked: set[str] = set()

    def announce(self, session: Session, ticket: Ticket, kind: str, now: datetime) -> None:
        self.announced.append((ticket.number, kind))

    def reaches(self, session: Session, sender_id: str) -> bool:
        return sender_id not in self.blocked

    def ask_mark(self, session: Session, ticket: Ticket, now: datetime) -> None:
        self.asked.append(ticket.number)

    def unlinked(self, session: Session, binding: Binding, now: datetime) -> None:
        self.freed.append(binding.sender_id)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def maria() -> Requester:
    """A customer with two registered addresses, who named her order and one of them."""
    customer = Customer("c-1", "Мария Ковалёва", "ru", frozenset({"maria@example.com", "m.kovaleva@example.org"}))
    order = Order("GW48213", "c-1", "GW-48213", "в пути", "джинсы 32/34", "100 $", "Москва, Тверская 1")
    return Requester(customer, order, "maria@example.com")


def fill_crm(session: Session) -> None:
    """Maria with order GW-48213, Peter with order 50777."""
    session.add_all(
        [
            CrmCustomer(customer_id="c-1", name="Мария Ковалёва", language="ru"),
            CrmCustomer(customer_id="c-2", name="Peter Smith", language="en"),
        ]
    )
    session.flush()
    session.add_all(
        [
            CrmAddress(address="maria@example.com", customer_id="c-1"),
            CrmAddress(address="m.kovaleva@example.org", customer_id="c-1"),
            CrmAddress(address="peter@example.com", customer_id="c-2"),
            CrmOrder(number="GW48213", customer_id="c-1", shown_number="GW-48213", status="в пути"),
            CrmOrder(number="50777", customer_id="c-2", shown_number="50777"),
        ]
    )


def a_case(key: str = "case-1", **changes: object) -> Case:
    """A case from Telegram about a late order."""
    case = Case(
        key=key,
        sender_id="telegram:7",
        channel="telegram",
        language="ru",
        display_name="Маша",
        topic="case/delay",
        topic_title="Задержка заказа",
        transcript=(
            Line("customer", "Где мои джинсы? Обещали восемнадцатого", NOW),
            Line("bot", "Простите, что ждёте. Какой номер заказа?", NOW),
        ),
        urgent_for=None,
        claimed_order="GW-48213",
        claimed_address="maria@example.com",
        own_words="Где мои джинсы? Обещали восемнадцатого",
    )
    return replace(case, **changes)  # type: ignore[arg-type]


def letters(session: Session, audience: str | None = None) -> list[EmailMessage]:
    """The letters in the outbox as their readers get them, oldest first."""
    rows = session.scalars(select(LetterOut).order_by(LetterOut.id))
    return [
        message_from_bytes(row.raw, policy=policy.default)  # type: ignore[misc]
        for row in rows
        if audience in (None, row.audience)
    ]


def body(letter: EmailMessage, kind: str = "plain") -> str:
    part = letter.get_body((kind,))
    assert part is not None
    content: str = part.get_content()
    return content.replace("\r\n", "\n")
