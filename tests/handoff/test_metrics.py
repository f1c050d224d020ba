"""What Prometheus is told of tickets, letters and the database happened, and is told once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from email.message import EmailMessage

import pytest
from handoff_cases import NOW, a_case, free_port, maria
from prometheus_client import REGISTRY
from sqlalchemy.orm import Session

from handoff.database import Database
from handoff.desk import Desk
from handoff.mail.inbound import take_in
from handoff.mail.outgoing import LetterSender
from handoff.mail.smtp import ServerAway
from handoff.tickets import open_ticket


@pytest.fixture
def grown() -> Callable[..., float]:
    """By how much a sample has grown since the test began."""
    before = {(s.name, *sorted(s.labels.items())): s.value for m in REGISTRY.collect() for s in m.samples}

    def grown(name: str, **labels: str) -> float:
        now = REGISTRY.get_sample_value(name, labels) or 0.0
        return now - before.get((name, *sorted(labels.items())), 0.0)

    return grown


def a_letter(text: str) -> bytes:
    made = EmailMessage()
    made["From"], made["To"], made["Message-ID"] = "who@mail.example", "support@jeans.example", f"<{text}@mail.example>"
    made.set_content(text)
    return made.as_bytes()


async def test_a_ticket_counts_once_however_often_its_turn_is_played(database, desk, grown) -> None:
    """A joined case is no new ticket either."""
    for key in ("k", "k", "again"):
        await database.run(open_ticket, a_case(key), maria(), desk, NOW)

    case = a_case("k")
    assert grown("support_tickets_opened_total", topic=case.topic, channel=case.channel) == 1


async def test_what_is_rolled_back_is_not_counted(database: Database, desk: Desk, grown) -> None:
    def breaks(session: Session) -> None:
        open_ticket(session, a_case(), maria(), desk, NOW)
        take_in(session, a_letter("lost"), [], desk, NOW)
        raise RuntimeError("after all of it")

    with pytest.raises(RuntimeError):
        await database.run(breaks)

    case = a_case()
    assert grown("support_tickets_opened_total", topic=case.topic, channel=case.channel) == 0
    assert grown("support_letters_received_total", outcome="quarantined") == 0


async def test_letters_taken_in_count_by_their_outcome(database, desk, grown) -> None:
    """Nobody knows the sender, and the second one is the first again."""
    for raw in (a_letter("hello"), a_letter("hello"), b"\xff"):
        await database.run(take_in, raw, [], desk, NOW)

    assert grown("support_letters_received_total", outcome="duplicate") == 1
    assert grown("support_letters_received_total", outcome="quarantined") == 2


async def test_an_attempt_to_send_counts_by_what_became_of_it(database, desk, grown) -> None:
    """Two letters of one case, and nobody listens."""
    await database.run(open_ticket, a_case(), maria(), desk, NOW)

    with pytest.raises(ServerAway):
        await LetterSender(database, f"smtp://127.0.0.1:{free_port()}?starttls=off").send_due(NOW)

    assert grown("support_letters_sent_total", outcome="server away") == 2
    assert grown("support_letter_send_seconds_count") == 2
    assert grown("support_letter_delivery_seconds_count") == 0


async def test_every_write_is_measured(database: Database, grown) -> None:
    """On SQLite with the groups in which they were stored, which hold all of them."""
    await asyncio.gather(*(database.run(lambda session: None) for _ in range(20)))

    assert grown("support_write_seconds_count") == 20
    if database.engine.dialect.name == "sqlite":
        assert grown("support_write_group_size_sum") == 20
        assert grown("support_write_group_size_count") <= 20
