"""Letters on their way to a real SMTP server, which is not always in the mood."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email import message_from_bytes

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from handoff_cases import NOW, a_case, free_port, maria
from sqlalchemy import event, select, update

from handoff.database import Database
from handoff.desk import Desk
from handoff.mail import outgoing
from handoff.mail.outgoing import MAYBE_TWICE, LetterSender, wait_before
from handoff.mail.smtp import ServerAway, SmtpServer, SmtpUrlInvalid, read_smtp_url
from handoff.models import LetterOut
from handoff.tickets import open_ticket


class Mailbox:
    """A mail server's mind: what it answers to whom, when it hangs up, and what it has taken."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, str, str]] = []
        self.raw: list[bytes] = []
        self.answers: dict[str, str] = {}
        self.answers_to_data: list[str] = []
        self.dies_before_data = False
        self.dies_after_data = False
        self.thinks: asyncio.Event | None = None
        self.data = asyncio.Event()

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.dies_before_data:
            assert server.transport is not None
            server.transport.abort()
        if address in self.answers:
            return self.answers[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        content = envelope.content
        assert isinstance(content, bytes)
        assert server.transport is not None
        self.data.set()
        if self.answers_to_data:
            return self.answers_to_data.pop()
        self.raw.append(content)
        self.taken.append(
            (str(envelope.mail_from), envelope.rcpt_tos[0], str(message_from_bytes(content)["Message-ID"]))
        )
        if self.thinks is not None:
            await self.thinks.wait()
        if self.dies_after_data:
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


async def test_a_letter_whose_answer_was_lost_is_marked_and_not_sent_again(
    server, mailbox, sender, two_letters, database: Database
) -> None:
    """The server may have taken it, and nobody can ask it: a person decides whether it is sent again."""
    mailbox.dies_after_data = True
    await sender.send_due(NOW)
    mailbox.dies_after_data = False
    await sender.send_due(NOW + timedelta(days=1))

    states = two_letters()
    assert [(state, attempts) for state, attempts, _ in states.values()] == [("stuck", 1), ("stuck", 1)]
    assert all(error.startswith("may have arrived") for _, _, error in states.values())
    assert len(mailbox.taken) == 2


async def test_a_server_that_dies_before_the_letters_end_gets_it_again(server, mailbox, sender, two_letters) -> None:
    """Without the dot at its end no server takes a letter: nothing is in doubt."""
    mailbox.dies_before_data = True
    await sender.send_due(NOW)
    assert {(state, attempts) for state, attempts, _ in two_letters().values()} == {("waiting", 1)}

    mailbox.dies_before_data = False
    await sender.send_due(NOW + timedelta(seconds=10))

    assert two_letters() == {"agents@jeans.example": ("sent", 2, None), "maria@example.com": ("sent", 2, None)}
    assert len(mailbox.taken) == 2


async def test_a_no_to_the_whole_letter_is_an_answer(server, mailbox, sender, two_letters, database) -> None:
    """Put off or refused after its end, a letter was certainly not taken."""
    mailbox.answers_to_data = ["452 4.3.1 disk full", "554 5.7.1 looks like spam"]

    await sender.send_due(NOW)
    assert sorted((state, error) for state, _, error in two_letters().values()) == [
        ("stuck", "554 5.7.1 looks like spam"),
        ("waiting", "452 4.3.1 disk full"),
    ]
    await sender.send_due(NOW + timedelta(seconds=10))

    assert sorted((state, error) for state, _, error in two_letters().values())[0] == ("sent", None)
    with database.session_scope() as session:
        assert session.scalars(select(LetterOut.unanswered)).all() == [0, 0]


async def test_a_letter_arrives_as_it_was_written(server, mailbox, sender, two_letters, database: Database) -> None:
    """Lines that begin with a dot, and a last line without an end."""
    raw = b"From: support@jeans.example\r\nMessage-ID: <dots@x>\r\n\r\n.\r\n..two\r\nend"
    with database.session_scope() as session:
        session.execute(update(LetterOut).values(raw=raw))

    await sender.send_due(NOW)

    assert mailbox.raw == [raw + b"\r\n"] * 2


async def test_an_address_that_smtp_cannot_carry_stops_nobody(server, mailbox, sender, two_letters, database) -> None:
    """One bad row must not keep all letters waiting."""
    with database.session_scope() as session:
        bad = (
            update(LetterOut).where(LetterOut.to_address == "maria@example.com").values(to_address="мария@example.com")
        )
        session.execute(bad)

    await sender.send_due(NOW)

    assert {address: state for address, (state, _, _) in two_letters().items()} == {
        "agents@jeans.example": "sent",
        "мария@example.com": "stuck",
    }


async def test_an_hour_without_a_server_sends_every_letter_once(mailbox, port, sender, two_letters) -> None:
    """However often the loop looks, letters cost no attempts; the first look after the hour takes them all."""
    for minute in range(60):
        with pytest.raises(ServerAway):
            await sender.send_due(NOW + timedelta(minutes=minute))
    assert {(state, attempts) for state, attempts, _ in two_letters().values()} == {("waiting", 0)}

    controller = Controller(mailbox, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        await sender.send_due(NOW + timedelta(hours=1))
        await sender.send_due(NOW + timedelta(hours=2))
    finally:
        controller.stop()

    assert {(state, attempts) for state, attempts, _ in two_letters().values()} == {("sent", 1)}
    assert len(mailbox.taken) == len({message_id for _, _, message_id in mailbox.taken}) == 2


async def test_a_stop_lets_a_letter_on_its_way_arrive(server, mailbox, sender, two_letters) -> None:
    """Cut off while the server thinks, nobody would know whether it was taken."""
    mailbox.thinks = asyncio.Event()
    task = asyncio.create_task(sender.run())
    await until(mailbox.data.is_set)
    task.cancel()
    await asyncio.sleep(0)
    server.loop.call_soon_threadsafe(mailbox.thinks.set)
    with pytest.raises(asyncio.CancelledError):
        await task

    assert {state for state, _, _ in two_letters().values()} == {"sent"}


async def test_what_the_server_said_survives_a_database_that_is_locked(
    tmp_path, desk: Desk, server, mailbox, port, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only we know that the letter was taken; forgotten, it would go out twice."""
    monkeypatch.setattr(outgoing, "LOOK_EVERY_S", 0.01)
    database = Database(f"sqlite:///{tmp_path / 'locked.db'}")
    database.migrate()
    with database.session_scope() as session:
        open_ticket(session, a_case(), None, desk, NOW)
    mailbox.thinks = asyncio.Event()
    # Connections made from now on give up at once instead of after twenty seconds.
    event.listen(database.engine, "checkout", lambda connection, *_: connection.execute("PRAGMA busy_timeout = 1"))
    sending = asyncio.create_task(LetterSender(database, f"smtp://127.0.0.1:{port}?starttls=off").send_due(NOW))
    await until(mailbox.data.is_set)

    locker = sqlite3.connect(tmp_path / "locked.db")
    locker.execute("BEGIN IMMEDIATE")
    server.loop.call_soon_threadsafe(mailbox.thinks.set)
    await until(lambda: bool(mailbox.taken))
    await asyncio.sleep(0.1)
    assert not sending.done()
    locker.rollback()
    locker.close()
    await sending

    with database.session_scope() as session:
        assert session.scalars(select(LetterOut.state)).all() == ["sent"]
    database.close()
    assert len(mailbox.taken) == 1


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


@pytest.mark.parametrize(
    ("unanswered", "state", "error"),
    [
        (0, "sent", None),
        (1, "sent", MAYBE_TWICE),
        (2, "stuck", "may have arrived: cut off 2 times while the mail server was taking it"),
    ],
)
async def test_a_letter_that_a_crash_cut_off(
    server, mailbox, sender, two_letters, database: Database, unanswered: int, state: str, error: str | None
) -> None:
    """Before its end it cannot have arrived. After it, it goes once more and is marked; then a person must look."""
    with database.session_scope() as session:
        session.execute(update(LetterOut).values(state="sending", attempts=1, not_before=NOW, unanswered=unanswered))

    await sender.send_due(NOW + timedelta(minutes=3))

    assert {(state, error) for state, _, error in two_letters().values()} == {(state, error)}
    assert len(mailbox.taken) == (2 if state == "sent" else 0)


async def test_a_kill_while_the_server_thinks_is_remembered(server, mailbox, sender, two_letters, database) -> None:
    """The mark is in the database before the letter's end leaves."""
    mailbox.thinks = asyncio.Event()
    sending = asyncio.create_task(sender.send_due(NOW))
    await until(lambda: len(mailbox.taken) == 2)

    with database.session_scope() as session:
        assert session.execute(select(LetterOut.state, LetterOut.unanswered)).all() == [("sending", 1)] * 2
    server.loop.call_soon_threadsafe(mailbox.thinks.set)
    await sending
    with database.session_scope() as session:
        assert session.execute(select(LetterOut.state, LetterOut.unanswered)).all() == [("sent", 0)] * 2


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
