"""What the tests of the actions share: a shop with two customers, its desk, and a way to run an action."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rasa_sdk.executor import CollectingDispatcher
from rasa_sdk.interfaces import Tracker
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from actions.services import CaseAction, Services
from actions.topics import read_titles
from handoff.crm.port import CrmUnavailable, Customer, Order, OrderBrief
from handoff.crm.sql import SqlCrm
from handoff.database import Database
from handoff.desk import Desk
from handoff.files import keep_file
from handoff.identity import keep_address
from handoff.models import Binding, CrmAddress, CrmCustomer, CrmOrder, Ticket, TicketEntry
from handoff.shop import load_shop

from . import conversations
from .conversations import NOW, SENDER

ROOT = Path(__file__).parents[2]

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
    "1f15c4890000000d49444154789c6360000002000001e221bc330000000049454e44ae426082"
)


@dataclass(frozen=True)
class Done:
    """What an action gave back: its events, and what it wants said."""

    events: list[dict[str, Any]]
    said: list[dict[str, Any]]

    @property
    def responses(self) -> list[str]:
        return [message["response"] for message in self.said]

    @property
    def slots(self) -> dict[str, Any]:
        return {event["name"]: event["value"] for event in self.events if event["event"] == "slot"}

    @property
    def next_action(self) -> str | None:
        return next((event["name"] for event in self.events if event["event"] == "followup"), None)

    @property
    def closes_form(self) -> bool:
        return {"event": "active_loop", "timestamp": None, "name": None} in self.events


Run = Callable[[type[CaseAction], Tracker], Awaitable[Done]]


class RecordedNotices:
    """What the messenger side was asked to say."""

    def __init__(self) -> None:
        self.announced: list[tuple[int, str]] = []

    def announce(self, session: Session, ticket: Ticket, kind: str, now: datetime) -> None:
        self.announced.append((ticket.number, kind))

    def reaches(self, session: Session, sender_id: str) -> bool:
        return True

    def ask_mark(self, session: Session, ticket: Ticket, now: datetime) -> None:
        """The question is the messenger side's; what follows the answer is tested here."""

    def unlinked(self, session: Session, binding: Binding, now: datetime) -> None:
        raise AssertionError("no action revokes a binding")


class CrmAway:
    """A CRM that does not answer."""

    async def order(self, number: str) -> Order | None:
        raise CrmUnavailable("connection refused")

    async def customer(self, customer_id: str) -> Customer | None:
        raise CrmUnavailable("connection refused")

    async def orders_of(self, customer_id: str, limit: int = 5) -> list[OrderBrief]:
        raise CrmUnavailable("connection refused")


@pytest.fixture
def tracker() -> Callable[..., Tracker]:
    return conversations.tracker


@pytest.fixture(scope="session")
def titles() -> dict[str, dict[str, str]]:
    return read_titles(ROOT / "data")


@pytest.fixture
def woken() -> list[str]:
    """How often the letters' loop was told that there may be letters."""
    return []


@pytest.fixture
def services(database: Database, tmp_path: Path, titles: dict[str, dict[str, str]], woken: list[str]) -> Services:
    """Maria with orders 47655 and GW-48213, Daniel with order 47988."""
    with database.session_scope() as session:
        session.add_all(
            [
                CrmCustomer(customer_id="c-1", name="Мария Соколова", language="ru"),
                CrmCustomer(customer_id="c-2", name="Daniel Novak", language="en"),
            ]
        )
        session.flush()
        session.add_all(
            [
                CrmAddress(address="maria.sokolova@mail.example", customer_id="c-1"),
                CrmAddress(address="daniel.novak@mail.example", customer_id="c-2"),
                CrmOrder(number="47655", customer_id="c-1", shown_number="47655"),
                CrmOrder(number="GW48213", customer_id="c-1", shown_number="GW-48213"),
                CrmOrder(number="47988", customer_id="c-2", shown_number="47988"),
            ]
        )
    desk = Desk(
        shop=load_shop(ROOT / "shop.yml"),
        support_address="support@jeans.example",
        agents_address="agents@jeans.example",
        base_url="https://jeans.example",
        data_dir=tmp_path / "var",
        signing_key=b"test key",
        notices=RecordedNotices(),
    )
    return Services(
        database, SqlCrm(database), desk, titles, now=lambda: NOW, letters_waiting=lambda: woken.append("letters")
    )


@pytest.fixture
def services_without_crm(services: Services) -> Services:
    return replace(services, crm=CrmAway())


@pytest.fixture
def said_in(database: Database) -> Callable[[int], list[str]]:
    """What the customer said in a ticket."""

    def read(number: int) -> list[str]:
        with database.session_scope() as session:
            entries = select(TicketEntry).where(TicketEntry.ticket_number == number, TicketEntry.author == "customer")
            return [entry.text for entry in session.scalars(entries.order_by(TicketEntry.id))]

    return read


@pytest.fixture
def quiet_since(database: Database) -> Callable[[int, datetime], None]:
    """Make a ticket one in which nothing was said after a moment."""

    def move(number: int, moment: datetime) -> None:
        with database.session_scope() as session:
            session.get_one(Ticket, number).opened_at = moment
            session.execute(update(TicketEntry).where(TicketEntry.ticket_number == number).values(at=moment))

    return move


@pytest.fixture
def typed(database: Database) -> Callable[..., str]:
    """Keeps an address as the gateway does and returns what the slot holds."""

    def keep(address: str, sender_id: str = SENDER, at: datetime | None = None) -> str:
        with database.session_scope() as session:
            return keep_address(session, sender_id, address, at or NOW)

    return keep


@pytest.fixture
def photo(database: Database, services: Services) -> Callable[..., None]:
    """Keeps a photo as the web channel does."""

    def keep(key: str = "photo-1", sender_id: str = SENDER, ago: timedelta = timedelta(minutes=1)) -> None:
        with database.session_scope() as session:
            keep_file(session, services.desk.data_dir, sender_id, PNG, key, NOW - ago)

    return keep


@pytest.fixture
def run_with() -> Callable[[Services], Run]:
    """Runs an action against other services than the usual ones."""

    def use(services: Services) -> Run:
        async def run(kind: type[CaseAction], tracker: Tracker) -> Done:
            dispatcher = CollectingDispatcher()
            events: Sequence[dict[str, Any]] = await kind(services).run(dispatcher, tracker, {})
            return Done(list(events), dispatcher.messages)

        return run

    return use


@pytest.fixture
def run(services: Services, run_with: Callable[[Services], Run]) -> Run:
    return run_with(services)
