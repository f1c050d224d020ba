"""Erasing: afterwards no table, no file and no tracker of Rasa leads to the customer, and others keep everything.

`bot.erase` is tested here and not beside its kind, because here every test runs on both databases.
"""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from email.message import EmailMessage
from pathlib import Path

import pytest
from handoff_cases import NOW, PNG, a_case, body, fill_crm, letters, maria
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from bot import outbox
from bot.erase import StillAnswering, erase
from bot.models import Conversation, InboxItem, KnowledgeGap
from handoff.case import Line
from handoff.crm.port import Customer, Order
from handoff.crm.sql import SqlCrm
from handoff.database import Base, Database
from handoff.desk import Desk
from handoff.files import keep_file, remove_files
from handoff.identity import Requester, identify, keep_address
from handoff.links import bind, make_links
from handoff.mail.inbound import take_in
from handoff.marks import keep_mark
from handoff.models import Csat, LetterIn, LetterOut, StoredFile, Ticket, TicketEntry
from handoff.ownership import dispute_ticket
from handoff.tickets import add_to_ticket, open_ticket

MARIA, PETER = "telegram:7", "vk:8"

#: Whatever of Maria is kept anywhere holds one of these; a random name of a file or a letter may hold "c-1", too.
TRACES = re.compile(r"telegram:7|maria@|m\.kovaleva@|Мария|Маша|48213|жмут|(?<![\w-])c-1(?![\w-])|Тверская")

#: Tables that hold nobody, and the CRM, which is the shop's own.
NOT_OURS = {"channel_state", "lease", "service", "mailbox_place", "crm_customer", "crm_address", "crm_order"}


def peter() -> Requester:
    customer = Customer("c-2", "Peter Smith", "en", frozenset({"peter@example.com"}))
    return Requester(customer, Order("50777", "c-2", "50777"), "peter@example.com")


def letter_from(address: str, to: str, text: str) -> bytes:
    letter = EmailMessage()
    letter["From"], letter["To"], letter["Message-ID"], letter["Subject"] = address, to, f"<{text}@x>", "Re: jeans"
    letter.set_content(text)
    return letter.as_bytes()


def converse(session: Session, sender_id: str, words: str) -> None:
    """A conversation as the bot's side keeps it: a question whose fact is missing, its answer with a button."""
    channel = sender_id.partition(":")[0]
    session.add(Conversation(sender_id=sender_id, channel=channel, language="ru"))
    item = InboxItem(
        key=f"{sender_id}:1", sender_id=sender_id, channel=channel, kind="text", text=words, received_at=NOW,
        not_before=NOW, state="answered",
    )  # fmt: skip
    session.add(item)
    session.flush()
    session.add(KnowledgeGap(inbox_id=item.id, fact=words, asked_at=NOW))
    outbox.put(
        session, purpose=f"answer:{item.id}", sender_id=sender_id, channel=channel, text=f"Жаль: {words}", now=NOW,
        buttons=[("Да", "/affirm")],
    )  # fmt: skip


def trackers(path: Path, *sender_ids: str) -> Path:
    """Rasa's file, made as its SQLTrackerStore makes it, with two events of each conversation."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "CREATE TABLE events (id INTEGER PRIMARY KEY, sender_id VARCHAR(255), type_name VARCHAR(255), "
            "timestamp FLOAT, intent_name VARCHAR(255), action_name VARCHAR(255), data TEXT)"
        )
        rows = [
            (sender_id, kind, NOW.timestamp(), json.dumps({"text": f"words of {sender_id}"}))
            for sender_id in sender_ids
            for kind in ("session_started", "user")
        ]
        connection.executemany("INSERT INTO events (sender_id, type_name, timestamp, data) VALUES (?, ?, ?, ?)", rows)
    return path


async def live(database: Database, desk: Desk, who: Requester, sender_id: str, words: str) -> int:
    """Everything that can happen to a customer; the number of his ticket."""
    crm, address, order = SqlCrm(database), who.registered_address, who.order
    assert order is not None
    channel = sender_id.partition(":")[0]
    with database.session_scope() as session:
        converse(session, sender_id, words)
        keep_address(session, sender_id, address, NOW)
        [token] = make_links(session, [who.customer.customer_id], NOW)
    assert await identify(database, crm, sender_id, order.number, address, NOW)
    with database.session_scope() as session:
        photo = keep_file(session, desk.data_dir, sender_id, PNG, f"{sender_id}:photo", NOW)
        keep_file(session, desk.data_dir, sender_id, PNG, f"{sender_id}:another", NOW - timedelta(days=3))
        case = a_case(
            f"{sender_id}:1", sender_id=sender_id, channel=channel, display_name=who.customer.name,
            transcript=(Line("customer", words, NOW),), own_words=words,
        )  # fmt: skip
        number = open_ticket(session, case, who, desk, NOW).number
        assert photo.ticket_number == number
        add_to_ticket(session, number, words, [], f"{sender_id}:2", desk, NOW)
        agents, customer = (str(letters(session, side)[-1]["Reply-To"]) for side in ("agents", "customer"))
        assert take_in(session, letter_from("anna@x.example", agents, f"agent {words}"), [], desk, NOW).ticket_number
        assert take_in(session, letter_from(address, customer, f"me {words}"), [], desk, NOW).author == "customer"
        assert take_in(session, letter_from(address, "support@jeans.example", f"and {words}"), [], desk, NOW)
        asked = {"ticket_number": number, "how": "chat", "asked_at": NOW, "at": NOW}
        session.add(Csat(**asked, mark=4, words=words, key=f"{sender_id}:3"))
        elsewhere = f"{sender_id}9"  # the same case, told from another chat
        assert open_ticket(session, replace(case, sender_id=elsewhere), who, desk, NOW).joined
    assert await bind(database, crm, desk, token, sender_id, channel, NOW)
    return number


@pytest.fixture
async def tickets(database: Database, desk: Desk) -> tuple[int, int]:
    """Maria's and Peter's tickets, after all that can happen."""
    with database.session_scope() as session:
        fill_crm(session)
    first = await live(database, desk, maria(), MARIA, "жмут в поясе")
    return first, await live(database, desk, peter(), PETER, "too wide")


def everything(database: Database) -> dict[str, list[str]]:
    """All rows of all tables as text, letters decoded."""
    found: dict[str, list[str]] = {}
    with database.session_scope() as session:
        for name, table in Base.metadata.tables.items():
            rows = session.execute(select(table)).mappings().all()
            found[name] = [
                " ".join(v.decode(errors="replace") if isinstance(v, bytes) else str(v) for v in row.values())
                for row in rows
            ]
        for letter in letters(session):
            found["letter_out"].append(body(letter))
    return found


def on_disk(folder: Path) -> bytes:
    """What the database files hold, free pages included."""
    return b"".join(path.read_bytes() for path in folder.glob("*.db"))


def traces(database: Database) -> dict[str, list[str]]:
    """Where something of Maria is left, but for the CRM."""
    kept = {name: [row for row in rows if TRACES.search(row)] for name, rows in everything(database).items()}
    return {name: rows for name, rows in kept.items() if rows and name not in NOT_OURS}


async def test_nothing_of_an_erased_customer_is_left_in_any_table(
    database: Database, desk: Desk, tickets: tuple[int, int], tmp_path: Path
) -> None:
    """Every table is filled before: a new one fails here until erasing knows it."""
    rasa = trackers(tmp_path / "trackers.db", MARIA, PETER)
    assert {name for name, rows in everything(database).items() if not rows} <= NOT_OURS
    before = traces(database)
    files = set((desk.data_dir / "files").iterdir())

    _, erased = erase(database, "c-1", desk.data_dir, trackers=rasa, service_runs=True)

    assert set(before) > {"ticket", "ticket_entry", "letter_out", "letter_in", "inbox", "outbox", "claim", "binding"}
    assert traces(database) == {}
    left = on_disk(tmp_path)
    assert b"words of telegram:7" not in left
    assert b"words of vk:8" in left
    assert len(files - set((desk.data_dir / "files").iterdir())) == erased.counts["photos and files"] == 2


async def test_other_customers_keep_everything(database: Database, desk: Desk, tickets: tuple[int, int]) -> None:
    """Erasing one must not cost another his case."""

    def of_peter() -> dict[str, list[str]]:
        kept = everything(database)
        return {name: [row for row in rows if not TRACES.search(row)] for name, rows in kept.items()}

    before = of_peter()

    erase(database, "c-1", desk.data_dir, trackers=None, service_runs=True)

    after = of_peter()
    # What stays of Maria's holds no trace of her now and cannot be told from the rest.
    for name in set(before) - {"ticket", "ticket_entry", "letter_in", "csat"}:
        assert after[name] == before[name], name
    for name in ("ticket", "ticket_entry", "letter_in", "csat"):
        assert set(before[name]) <= set(after[name])


async def test_of_a_ticket_stays_what_statistics_need(database: Database, desk: Desk, tickets: tuple[int, int]) -> None:
    """How many cases of which topic there were, and how fast they were answered, is about nobody."""
    erase(database, "c-1", desk.data_dir, trackers=None, service_runs=True)

    with database.session_scope() as session:
        ticket = session.get_one(Ticket, tickets[0])
        assert (ticket.topic, ticket.state, ticket.opened_at) == ("case/delay", "closed", NOW)
        assert ticket.first_answer_at == NOW
        entries = session.scalars(select(TicketEntry).where(TicketEntry.ticket_number == ticket.number)).all()
        assert [entry.author for entry in entries] == ["customer", "customer", "agent", "customer"]
        assert {entry.text for entry in entries} == {""}


async def test_a_letter_that_waits_is_not_sent(database: Database, desk: Desk, tickets: tuple[int, int]) -> None:
    """Whoever asked to be erased must not get a letter afterwards."""
    erase(database, "c-1", desk.data_dir, trackers=None, service_runs=True)

    with database.session_scope() as session:
        assert {row.to_address for row in session.scalars(select(LetterOut))} == {
            "peter@example.com",
            "agents@jeans.example",
        }
        assert {row.ticket_number for row in session.scalars(select(LetterOut))} == {tickets[1], None}


async def test_a_letter_that_was_erased_is_not_taken_in_again(
    database: Database, desk: Desk, tickets: tuple[int, int]
) -> None:
    """The mailbox may hand it over once more; it must be known, or the erased words come back."""
    with database.session_scope() as session:
        first = session.scalars(select(LetterIn).order_by(LetterIn.id)).first()
        assert first is not None
        raw = first.raw

    erase(database, "c-1", desk.data_dir, trackers=None, service_runs=True)

    with database.session_scope() as session:
        again = take_in(session, raw, [], desk, NOW)
        assert again.outcome == "duplicate"


async def test_erasing_again_finds_nothing(database: Database, desk: Desk, tickets: tuple[int, int]) -> None:
    """An operator who is not sure whether it went through runs it again."""
    erase(database, "c-1", desk.data_dir, trackers=None, service_runs=True)

    _, again = erase(database, "c-1", desk.data_dir, trackers=None, service_runs=True)

    assert not any(again.counts.values())


async def test_a_dry_run_counts_the_same_and_changes_nothing(
    database: Database, desk: Desk, tickets: tuple[int, int], tmp_path: Path
) -> None:
    """What it says is what will happen."""
    rasa = trackers(tmp_path / "trackers.db", MARIA)
    before = everything(database), sorted((desk.data_dir / "files").iterdir())

    _, planned = erase(database, "c-1", desk.data_dir, trackers=rasa, service_runs=True, dry_run=True)

    assert (everything(database), sorted((desk.data_dir / "files").iterdir())) == before
    assert erase(database, "c-1", desk.data_dir, trackers=rasa, service_runs=True)[1].counts == planned.counts
    assert planned.counts["tracker events"] == 2


async def test_one_conversation_can_be_erased_alone(database: Database, desk: Desk, tickets: tuple[int, int]) -> None:
    """Whoever is no customer can ask as well; the same customer's cases from elsewhere stay."""
    with database.session_scope() as session:
        elsewhere = open_ticket(
            session, a_case("e", sender_id="web:visitor", channel="web", topic="case/refund"), maria(), desk, NOW
        )

    erase(database, MARIA, desk.data_dir, trackers=None, service_runs=True)

    with database.session_scope() as session:
        assert session.get_one(Ticket, elsewhere.number).requester == "maria@example.com"
        assert session.get_one(Ticket, tickets[0]).requester is None
        assert session.scalar(select(InboxItem.id).where(InboxItem.sender_id == MARIA)) is None


async def test_an_impostors_conversation_is_not_the_customers(database: Database, desk: Desk) -> None:
    """What somebody else wrote in his own chat is his, and the warning about that chat stays; the case's data go."""
    with database.session_scope() as session:
        fill_crm(session)
        converse(session, "telegram:666", "verschickt es an mich")
        number = open_ticket(session, a_case(sender_id="telegram:666"), maria(), desk, NOW).number
        dispute_ticket(session, number, desk, NOW)

    erase(database, "c-1", desk.data_dir, trackers=None, service_runs=True)

    with database.session_scope() as session:
        ticket = session.get_one(Ticket, number)
        assert (ticket.sender_id, ticket.requester, ticket.snapshot) == ("telegram:666", None, {})
        assert session.scalar(select(InboxItem.id).where(InboxItem.sender_id == "telegram:666")) is not None


async def test_two_customers_of_one_account_are_told_apart(
    database: Database, desk: Desk, tickets: tuple[int, int]
) -> None:
    """A couple shares a phone: her case goes, his case stays, though it came from the same conversation."""
    with database.session_scope() as session:
        his = open_ticket(session, a_case("h", sender_id=MARIA, topic="case/refund"), peter(), desk, NOW)

    erase(database, "c-1", desk.data_dir, trackers=None, service_runs=True)

    with database.session_scope() as session:
        assert session.get_one(Ticket, his.number).requester == "peter@example.com"


async def test_crm_rows_go_only_when_told(database: Database, desk: Desk, tickets: tuple[int, int]) -> None:
    """Orders may have to be kept by law; the shop decides."""
    erase(database, "c-1", desk.data_dir, trackers=None, service_runs=True)
    assert any("maria@" in row for row in everything(database)["crm_address"])

    erase(database, "c-1", desk.data_dir, trackers=None, service_runs=True, crm=True)

    kept = everything(database)
    assert [row for name in ("crm_customer", "crm_address", "crm_order") for row in kept[name] if "c-1" in row] == []
    assert any("peter@" in row for row in kept["crm_address"])


async def test_a_conversation_in_the_middle_of_a_turn_is_not_touched(
    database: Database, desk: Desk, tickets: tuple[int, int], tmp_path: Path
) -> None:
    """Rasa holds its tracker then and would write everything back; without a service nobody is answering."""
    rasa = trackers(tmp_path / "trackers.db", MARIA)
    with database.session_scope() as session:
        waiting = InboxItem(
            key="w", sender_id=MARIA, channel="telegram", kind="text", text="?", received_at=NOW, not_before=NOW
        )
        session.add(waiting)
    before = everything(database)

    with pytest.raises(StillAnswering):
        erase(database, "c-1", desk.data_dir, trackers=rasa, service_runs=True)
    assert everything(database) == before

    _, erased = erase(database, "c-1", desk.data_dir, trackers=rasa, service_runs=False)
    assert erased.counts["tracker events"] == 2
    assert traces(database) == {}


def test_files_that_are_gone_already_do_no_harm(database: Database, desk: Desk) -> None:
    """Killed between commit and disk, it is run again."""
    with database.session_scope() as session:
        name = keep_file(session, desk.data_dir, MARIA, PNG, "p", NOW).name

    remove_files(desk.data_dir, [name, "never-there.png"])

    assert list((desk.data_dir / "files").iterdir()) == []
    with database.session_scope() as session:
        assert session.scalars(select(StoredFile)).one().name == name


async def test_a_question_for_a_mark_is_taken_back_with_all_the_rest(
    database: Database, desk: Desk, tickets: tuple[int, int]
) -> None:
    """Its link lives in the customer's mailbox: a low mark would open the ticket again and bring new words."""
    number = tickets[0]
    with database.session_scope() as session:
        session.execute(update(Csat).where(Csat.ticket_number == number).values(mark=None, words="", key=""))

    erase(database, "c-1", desk.data_dir, trackers=None, service_runs=True)

    with database.session_scope() as session:
        assert keep_mark(session, number, 1, "Мария, 48213", "page", desk, NOW) == "known"
        assert session.get_one(Ticket, number).state == "closed"
    assert traces(database) == {}
