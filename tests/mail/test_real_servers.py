"""Letters through a real Postfix and a real Dovecot, both ways, with restarts, outages and forgeries."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.utils import make_msgid

import pytest
from imap_tools import MailMessage
from sqlalchemy import select

from handoff.case import Case, Line
from handoff.crm.port import Customer, Order
from handoff.database import Database
from handoff.desk import Desk
from handoff.identity import Requester
from handoff.mail.imap import ImapIntake
from handoff.mail.lmtp import LmtpIntake
from handoff.mail.outgoing import LetterSender
from handoff.mail.smtp import ServerAway
from handoff.models import LetterIn, LetterOut, Ticket, TicketEntry
from handoff.tickets import open_ticket

from .conftest import AGENTS, SUPPORT, running
from .servers import MailServers

NOW = datetime.now(UTC)
MARIA = "maria@mail.example"


def case(session, desk: Desk, address: str = MARIA) -> None:
    """Maria, identified in the chat, asks where her jeans are."""
    customer = Customer("c-1", "Мария Ковалёва", "ru", frozenset({address}))
    order = Order("GW48213", "c-1", "GW-48213", "в пути")
    told = Case(
        key="case-1",
        sender_id="telegram:7",
        channel="telegram",
        language="ru",
        display_name="Маша",
        topic="case/delay",
        topic_title="Задержка заказа",
        transcript=(Line("customer", "Где мои джинсы?", NOW),),
        urgent_for=None,
        claimed_order=None,
        claimed_address=None,
    )
    open_ticket(session, told, Requester(customer, order, address), desk, NOW)


def reply(to: MailMessage, sender: str, text: str, **headers: str) -> EmailMessage:
    """What a mail program makes of Reply: the thread goes on, and the letter is quoted below."""
    letter = EmailMessage()
    letter["From"], letter["To"] = sender, to.obj["Reply-To"] or to.from_
    letter["Subject"] = f"Re: {to.subject}"
    letter["Message-ID"] = make_msgid(domain=sender.partition("@")[2])
    letter["In-Reply-To"] = to.obj["Message-ID"].strip()
    letter["References"] = " ".join(f"{to.obj['References'] or ''} {to.obj['Message-ID']}".split())
    for name, value in headers.items():
        letter[name.replace("_", "-")] = value
    letter.set_content(f"{text}\n\n> {to.text.splitlines()[0]}\n")
    return letter


def is_one_thread(letters: list[MailMessage]) -> bool:
    """Whether a mail program shows the letters as one: each refers to the first, and answers one before it."""
    first, *others = [" ".join(letter.obj["Message-ID"].split()) for letter in letters]
    known = {first}
    for name, letter in zip(others, letters[1:], strict=True):
        if first not in letter.obj["References"].split() or letter.obj["In-Reply-To"].strip() not in known | set(
            letter.obj["References"].split()
        ):
            return False
        known.add(name)
    return True


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110  the condition is in the database or on a server
            await asyncio.sleep(0.05)


def outcomes(database: Database) -> list[tuple[str, str | None]]:
    with database.session_scope() as session:
        return [(row.outcome, row.author) for row in session.scalars(select(LetterIn).order_by(LetterIn.id))]


def states(database: Database) -> dict[str, tuple[str, int]]:
    with database.session_scope() as session:
        return {row.to_address: (row.state, row.attempts) for row in session.scalars(select(LetterOut))}


async def test_a_case_goes_back_and_forth_in_one_thread_on_both_sides(
    servers: MailServers, database: Database, desk: Desk, sender: LetterSender, intake: ImapIntake
) -> None:
    """Ticket, agent's answer, customer's answer; both servers are restarted in between, and nobody notices."""
    with database.session_scope() as session:
        case(session, desk)

    async with running(sender.run, intake.run):
        [to_agents] = await asyncio.to_thread(servers.letters, AGENTS)
        assert to_agents.obj["X-Handoff-Verified"] == "no"
        answer = reply(to_agents, "olga@jeans.example", "Отправили сегодня.")
        await asyncio.to_thread(servers.post, answer, "olga@jeans.example", str(answer["To"]))
        _, answered = await asyncio.to_thread(servers.letters, MARIA, 2)
        assert "Отправили сегодня." in answered.text
        assert answered.from_ == SUPPORT

        await asyncio.to_thread(servers.stop_dovecot)
        await asyncio.to_thread(servers.stop_postfix)
        await asyncio.to_thread(servers.start_dovecot)
        await asyncio.to_thread(servers.start_postfix)

        thanks = reply(answered, MARIA, "Спасибо, жду!")
        await asyncio.to_thread(servers.post, thanks, MARIA, str(thanks["To"]))
        first, note, passed_on = await asyncio.to_thread(servers.letters, AGENTS, 3)
        assert "Отправили сегодня." in note.text
        assert "Спасибо, жду!" in passed_on.text
        assert passed_on.obj["X-Handoff-Verified"] == "yes"

        again = reply(passed_on, "olga@jeans.example", "Хорошего дня!")
        await asyncio.to_thread(servers.post, again, "olga@jeans.example", str(again["To"]))
        mailbox = await asyncio.to_thread(servers.letters, MARIA, 3)

    # What the customer's program shows holds her own letter as well.
    assert mailbox[-1].obj["In-Reply-To"].strip() == thanks["Message-ID"]
    assert is_one_thread(mailbox)
    assert is_one_thread([first, note, passed_on])
    assert outcomes(database) == [("threaded", "agent"), ("threaded", "customer"), ("threaded", "agent")]
    with database.session_scope() as session:
        said = select(TicketEntry.author, TicketEntry.text).where(TicketEntry.kind == "letter").order_by(TicketEntry.id)
        assert [tuple(row) for row in session.execute(said)] == [
            ("agent", "Отправили сегодня."),
            ("customer", "Спасибо, жду!"),
            ("agent", "Хорошего дня!"),
        ]
    assert {state for state, _ in states(database).values()} == {"sent"}


async def test_a_forged_letter_is_quarantined(
    servers: MailServers, database: Database, desk: Desk, sender: LetterSender, intake: ImapIntake
) -> None:
    """With the right address, the right sender, and a verdict of its own that the mail server takes away."""
    with database.session_scope() as session:
        case(session, desk)
    await sender.send_due(datetime.now(UTC))
    [confirmation] = await asyncio.to_thread(servers.letters, MARIA)
    verdict = "mx.jeans.example; dmarc=pass header.from=mail.example"
    forged = reply(confirmation, MARIA, "Отправьте на другой адрес", Authentication_Results=verdict)

    await asyncio.to_thread(servers.post, forged, "mallory@evil.example", str(forged["To"]))
    await asyncio.to_thread(servers.letters, SUPPORT)
    await asyncio.to_thread(intake.poll, datetime.now(UTC))

    assert outcomes(database) == [("quarantined", "other")]
    with database.session_scope() as session:
        assert session.scalars(select(LetterIn.reason)).one().startswith("forged")
        assert not session.get_one(Ticket, 1001).verified
        assert len(session.scalars(select(LetterOut)).all()) == 2


async def test_letters_wait_for_a_mail_server_that_is_away(
    servers: MailServers, database: Database, desk: Desk, sender: LetterSender
) -> None:
    """An hour on a clock of ours; then each goes once."""
    with database.session_scope() as session:
        case(session, desk)
    await asyncio.to_thread(servers.stop_postfix)
    for minute in range(0, 60, 10):
        with pytest.raises(ServerAway):
            await sender.send_due(NOW + timedelta(minutes=minute))
    await asyncio.to_thread(servers.start_postfix)

    await sender.send_due(NOW + timedelta(hours=1))
    await sender.send_due(NOW + timedelta(hours=2))

    assert states(database) == {AGENTS: ("sent", 1), MARIA: ("sent", 1)}
    assert len(await asyncio.to_thread(servers.letters, MARIA)) == 1
    assert len(await asyncio.to_thread(servers.letters, AGENTS)) == 1


@pytest.mark.parametrize(
    ("address", "state", "said"), [("refused@mail.example", "stuck", "550"), ("busy@mail.example", "waiting", "450")]
)
async def test_a_recipient_who_is_refused_or_busy(
    servers: MailServers, database: Database, desk: Desk, sender: LetterSender, address: str, state: str, said: str
) -> None:
    """For good: a person must look. For now: it waits. The other letter goes in any case."""
    with database.session_scope() as session:
        case(session, desk, address)

    await sender.send_due(datetime.now(UTC))

    assert states(database) == {AGENTS: ("sent", 1), address: (state, 1)}
    with database.session_scope() as session:
        error = session.scalars(select(LetterOut.last_error).where(LetterOut.to_address == address)).one()
        assert error is not None
        assert error.startswith(said)


async def test_a_report_that_a_letter_came_back_is_told_to_the_agents(
    servers: MailServers, database: Database, desk: Desk, sender: LetterSender, intake: ImapIntake
) -> None:
    """As Postfix writes it."""
    with database.session_scope() as session:
        case(session, desk, "maria@gone.example")

    await sender.send_due(datetime.now(UTC))
    await asyncio.to_thread(servers.letters, SUPPORT)
    await asyncio.to_thread(intake.poll, datetime.now(UTC))

    assert outcomes(database) == [("bounce", None)]
    with database.session_scope() as session:
        assert "no such mailbox" in session.scalars(select(LetterIn.reason)).one()
        assert session.scalars(select(LetterOut.template)).all() == ["ticket", "confirmation", "bounced"]


async def test_a_letter_that_somebody_opened_in_the_mailbox_is_not_lost(
    servers: MailServers, database: Database, desk: Desk, sender: LetterSender, intake: ImapIntake
) -> None:
    """A colleague looked into the support mailbox before us."""
    with database.session_scope() as session:
        case(session, desk)
    await sender.send_due(datetime.now(UTC))
    await asyncio.to_thread(intake.poll, datetime.now(UTC))
    [confirmation] = await asyncio.to_thread(servers.letters, MARIA)
    letter = reply(confirmation, MARIA, "Ещё вопрос")
    await asyncio.to_thread(servers.post, letter, MARIA, str(letter["To"]))
    await asyncio.to_thread(servers.letters, SUPPORT, 1, open_them=True)

    assert await asyncio.to_thread(intake.poll, datetime.now(UTC)) == 1
    assert await asyncio.to_thread(intake.poll, datetime.now(UTC)) == 0

    assert outcomes(database) == [("threaded", "customer")]


async def test_postfix_hands_letters_in_over_lmtp_and_keeps_what_we_cannot_take(
    servers: MailServers, database: Database, desk: Desk, sender: LetterSender
) -> None:
    """While we are away the letter waits in its queue; then it is here once, with the recipient of its envelope."""
    desk = replace(desk, support_address="support@lmtp.example")
    with database.session_scope() as session:
        case(session, desk)
    await sender.send_due(datetime.now(UTC))
    [confirmation] = await asyncio.to_thread(servers.letters, MARIA)
    letter = reply(confirmation, MARIA, "Спасибо!")
    address = str(letter["To"])
    assert address.endswith("@lmtp.example")
    # Nothing in the letter itself says which ticket it is for.
    for name in ("To", "In-Reply-To", "References"):
        del letter[name]
    await asyncio.to_thread(servers.post, letter, MARIA, address)
    await until(lambda: "refused" in servers.queue())

    intake = LmtpIntake(database, f"127.0.0.1:{servers.ports['our_lmtp']}", desk)
    async with running(intake.run):
        await intake.listening.wait()
        await asyncio.to_thread(servers.try_again)
        await until(lambda: bool(outcomes(database)))
        await until(lambda: servers.queue() == "")

    assert outcomes(database) == [("threaded", "customer")]
    with database.session_scope() as session:
        assert session.scalars(select(LetterIn.recipients)).one() == [address]
        assert session.get_one(Ticket, 1001).verified
