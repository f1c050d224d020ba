"""Letters on their way to a real SMTP server, which is not always in the mood."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email import message_from_bytes

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from handoff_cases import NOW, a_case, free_port, maria
from sqlalchemy import select, update

from handoff.database import Database
from handoff.mail.outgoing import (
    INTERRUPTED,
    LetterSender,
    ServerAway,
    SmtpServer,
    SmtpUrlInvalid,
    read_smtp_url,
    wait_before,
)
from handoff.models import LetterOut
from handoff.tickets import Desk, open_ticket


class Mailbox:
    """A mail server's mind: what it answers to whom, and what it has taken."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, str, str]] = []
        self.answers: dict[str, str] = {}
        self.dies_after_data = 0

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.answers:
            return self.answers[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        content = envelope.content
        assert isinstance(content, bytes)
        self.taken.append(
            (str(envelope.mail_from), envelope.rcpt_tos[0], str(message_from_bytes(content)["Message-ID"]))
        )
        if self.dies_after_data:
            self.dies_after_data -= 1
            assert server.transport is not None
            server.transport.abort()
        return "250 OK"

    def to(self, address: str) -> list[str]:
        return [message_id for _, recipient, message_id in self.taken if recipient == address]


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox()


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def server(mailbox: Mailbox, port: int) -> Iterator[Controller]:
    controller = Controller(mailbox, hostname="127.0.0.1", port=port)
    controller.start()
    yield controller
    if controller._thread is not None:
        controller.stop()


@pytest.fixture
def sender(database: Database, port: int) -> LetterSender:
    return LetterSender(database, f"smtp://127.0.0.1:{port}?starttls=off")


@pytest.fixture
def two_letters(database: Database, desk: Desk) -> Callable[[], dict[str, tuple[str, int, str | None]]]:
    """Maria's ticket: one letter to the agents, one to her; says how they are."""
    with database.session_scope() as session:
        open_ticket(session, a_case(), maria(), desk, NOW)

    def state() -> dict[str, tuple[str, int, str | None]]:
        with database.session_scope() as session:
            rows = session.scalars(select(LetterOut)).all()
            return {row.to_address: (row.state, row.attempts, row.last_error) for row in rows}

    return state


@asynccontextmanager
async def running(sender: LetterSender) -> AsyncIterator[None]:
    task = asyncio.create_task(sender.run())
    yield
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  the condition is in the database
            await asyncio.sleep(0.02)


async def test_waiting_letters_leave_and_are_sent_once(server, mailbox, sender, two_letters) -> None:
    """From the support address, each to its reader."""
    assert await sender.send_due(NOW)
    assert not await sender.send_due(NOW + timedelta(hours=1))

    assert two_letters() == {"agents@jeans.example": ("sent", 1, None), "maria@example.com": ("sent", 1, None)}
    assert len(mailbox.taken) == 2
    assert {envelope_from for envelope_from, _, _ in mailbox.taken} == {"support@jeans.example"}


async def test_a_refused_recipient_is_stuck_and_stops_nobody(server, mailbox, sender, two_letters) -> None:
    """Five hundred and fifty means never; a person must look. The others go."""
    mailbox.answers["maria@example.com"] = "550 5.1.1 user unknown"

    await sender.send_due(NOW)

    assert two_letters()["maria@example.com"] == ("stuck", 1, "550 5.1.1 user unknown")
    assert two_letters()["agents@jeans.example"][0] == "sent"


async def test_a_deferred_letter_waits_and_goes_later(server, mailbox, sender, two_letters) -> None:
    """Greylisting: the same letter a little later, under the same Message-ID."""
    mailbox.answers["maria@example.com"] = "450 4.2.0 greylisted"

    await sender.send_due(NOW)
    await sender.send_due(NOW + timedelta(seconds=4))
    assert two_letters()["maria@example.com"] == ("waiting", 1, "450 4.2.0 greylisted")

    mailbox.answers.clear()
    await sender.send_due(NOW + timedelta(seconds=7))
    assert two_letters()["maria@example.com"] == ("sent", 2, None)


async def test_a_letter_that_nobody_takes_for_five_days_is_stuck(server, mailbox, sender, two_letters) -> None:
    """RFC 5321 4.5.4.1; then a person must look."""
    mailbox.answers["maria@example.com"] = "450 4.2.2 mailbox full"

    await sender.send_due(NOW + timedelta(days=6))

    assert two_letters()["maria@example.com"][0] == "stuck"


async def test_a_server_that_dies_after_data_gets_the_same_letter_again(server, mailbox, sender, two_letters) -> None:
    """It may or may not have taken it: the same Message-ID lets the reader's side see one letter."""
    mailbox.dies_after_data = 2

    await sender.send_due(NOW)
    assert {state for state, _, _ in two_letters().values()} == {"waiting"}
    await sender.send_due(NOW + timedelta(seconds=10))

    assert {state for state, _, _ in two_letters().values()} == {"sent"}
    assert len(mailbox.to("maria@example.com")) == 2
    assert len(set(mailbox.to("maria@example.com"))) == 1


async def test_a_server_that_is_away_costs_no_attempts(port, sender, two_letters) -> None:
    """Letters need not wait longer because the server was away longer."""
    with pytest.raises(ServerAway):
        await sender.send_due(NOW)

    assert {(state, attempts) for state, attempts, _ in two_letters().values()} == {("waiting", 0)}


async def test_letters_go_when_the_server_comes_back(mailbox, port, sender, two_letters) -> None:
    """The loop waits and tries again by itself; waking it makes it try at once."""
    controller = Controller(mailbox, hostname="127.0.0.1", port=port)
    async with running(sender):
        await until(lambda: all(error for _, _, error in two_letters().values()))
        controller.start()
        try:
            sender.wake()
            await until(lambda: len(mailbox.taken) == 2)
            await until(lambda: {state for state, _, _ in two_letters().values()} == {"sent"})
        finally:
            controller.stop()


async def test_waking_sends_at_once(server, mailbox, sender, database, desk) -> None:
    """A customer who has just been told about a letter looks into the mailbox now."""
    async with running(sender):
        await asyncio.sleep(0.2)
        with database.session_scope() as session:
            open_ticket(session, a_case(), maria(), desk, datetime.now(UTC))
        sender.wake()
        started = asyncio.get_running_loop().time()
        await until(lambda: len(mailbox.taken) == 2)

    assert asyncio.get_running_loop().time() - started < 1.5


async def test_a_letter_interrupted_by_a_crash_is_tried_once_more(
    server, mailbox, sender, two_letters, database: Database
) -> None:
    """Whether it had left nobody knows; twice interrupted, a person must look."""
    with database.session_scope() as session:
        session.execute(update(LetterOut).values(state="sending", attempts=1, not_before=NOW))
        session.execute(
            update(LetterOut).where(LetterOut.to_address == "maria@example.com").values(last_error=INTERRUPTED)
        )

    await sender.send_due(NOW + timedelta(minutes=3))

    assert two_letters()["agents@jeans.example"] == ("sent", 2, None)
    assert two_letters()["maria@example.com"][0] == "stuck"


async def test_a_letter_that_somebody_else_is_sending_is_left_alone(
    server, mailbox, sender, two_letters, database: Database
) -> None:
    """Several machines share one outbox."""
    with database.session_scope() as session:
        session.execute(update(LetterOut).values(state="sending", not_before=NOW + timedelta(minutes=2)))

    await sender.send_due(NOW)

    assert mailbox.taken == []


async def test_two_senders_send_each_letter_once(server, mailbox, sender, two_letters, database, port) -> None:
    """The claim is a conditional update: one of them wins."""
    other = LetterSender(database, f"smtp://127.0.0.1:{port}?starttls=off")

    await asyncio.gather(sender.send_due(NOW), other.send_due(NOW))

    assert len(mailbox.taken) == 2


async def test_without_a_server_letters_wait(database: Database, two_letters) -> None:
    """No SMTP_URL: nothing fails, nothing is lost."""
    sender = LetterSender(database, "")

    await sender.run()

    assert not await sender.send_due(NOW)
    assert {state for state, _, _ in two_letters().values()} == {"waiting"}


@pytest.mark.parametrize(
    ("url", "read"),
    [
        ("smtp://relay", SmtpServer("relay", 25, None, None, "auto")),
        ("smtp://u:p%40ss@relay", SmtpServer("relay", 587, "u", "p@ss", "require")),
        ("smtp://u%40shop:p@relay:2525?starttls=off", SmtpServer("relay", 2525, "u@shop", "p", "off")),
        ("smtps://u:p@relay", SmtpServer("relay", 465, "u", "p", "implicit")),
    ],
)
def test_the_url_says_everything(url: str, read: SmtpServer) -> None:
    """A password never travels in clear unless somebody says so."""
    assert read_smtp_url(url) == read


@pytest.mark.parametrize(
    "url", ["relay:25", "http://relay", "smtp://", "smtp://u@relay", "smtp://r?starttls=yes", "smtp://r:port"]
)
def test_a_wrong_url_is_named_at_the_start(database: Database, url: str) -> None:
    """Not an hour later, in a log nobody reads."""
    with pytest.raises(SmtpUrlInvalid, match="SMTP_URL"):
        LetterSender(database, url)


def test_waits_double_up_to_a_quarter_of_an_hour() -> None:
    """A restarted server gets its mail at once, an absent one is not pestered."""
    assert [wait_before(attempt).total_seconds() for attempt in (1, 2, 3, 4)] == [0, 5, 10, 20]
    assert wait_before(99) == timedelta(minutes=15)
