"""The tables as code describes them and as migrations make them."""

from __future__ import annotations

from runpy import run_path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from handoff_cases import NOW, a_case
from sqlalchemy import insert, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

import handoff.models
from handoff.database import Base, Database
from handoff.desk import Desk
from handoff.entries import add_entry
from handoff.models import Csat, Ticket, TypedAddress
from handoff.tickets import open_ticket

OURS = {
    mapper.local_table.name for mapper in Base.registry.mappers if mapper.class_.__module__ == handoff.models.__name__
}


def test_models_and_migrations_agree(database: Database) -> None:
    """What the code believes about handoff's tables is what an upgraded database has, on both engines."""
    with database.engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "compare_type": True,
                "include_name": lambda name, kind, parents: kind != "table" or name in OURS,
                "include_object": lambda item, name, kind, reflected, other: kind != "table" or name in OURS,
            },
        )

        assert compare_metadata(context, Base.metadata) == []


def test_migrating_twice_changes_nothing(database: Database) -> None:
    """Every start of the service migrates."""
    database.migrate()


def test_tickets_that_were_urgent_before_get_their_reason(session: Session, desk: Desk) -> None:
    """Migration 0013 finds it in what the tables tell."""
    reasons = {
        "case/delay": "late",
        "case/exchange": "day",
        "complaint/anger": "anger",
        "complaint/slow_reply": "complaint",
        "case/refund": "mark",
    }
    for topic, reason in reasons.items():
        number = open_ticket(session, a_case(topic, topic=topic), None, desk, NOW).number
        ticket = session.get_one(Ticket, number)
        ticket.priority = "urgent"
        for step in {"late": ("day_passed", "late"), "day": ("day_passed",)}.get(reason, ()):
            add_entry(session, ticket, "system", "note", step, NOW, source_key=f"step:{step}")
        if reason == "mark":
            session.add(Csat(ticket_number=number, how="chat", asked_at=NOW, mark=2))
    open_ticket(session, a_case("calm", topic="case/calm"), None, desk, NOW)
    session.flush()

    session.execute(text(run_path("migrations/versions/0013_urgency.py")["KNOWN"]))
    session.expire_all()

    found = {ticket.topic: ticket.urgent_for for ticket in session.scalars(select(Ticket))}
    assert found == reasons | {"case/calm": None}


def test_ticket_numbers_begin_at_1001(session: Session, desk: Desk) -> None:
    """A number in a subject must look like one."""
    numbers = [open_ticket(session, a_case(key), None, desk, NOW).number for key in ("a", "b")]

    assert numbers == [1001, 1002]


def test_a_conversation_cannot_open_the_same_case_twice(session: Session, desk: Desk) -> None:
    """The database itself keeps two processes from opening one case."""
    open_ticket(session, a_case(), None, desk, NOW)
    first = session.scalars(select(Ticket)).one()
    twin = {c.key: getattr(first, c.key) for c in Ticket.__mapper__.column_attrs if c.key != "number"}

    with pytest.raises(IntegrityError), session.begin_nested():
        session.execute(insert(Ticket).values(**twin))


def test_moments_come_back_aware(session: Session) -> None:
    """SQLite forgets time zones; a naive moment would crash the first comparison."""
    session.add(TypedAddress(sender_id="s", address="a@example.com", typed_at=NOW))
    session.flush()
    session.expire_all()

    assert session.scalars(select(TypedAddress)).one().typed_at == NOW
