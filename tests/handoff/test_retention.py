"""What is kept long enough goes; what is open or waits stays, however old.

The rules of `bot.old_messages` are tested here as well, because here every test runs on both databases.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from email.message import EmailMessage

import pytest
from handoff_cases import NOW, PNG, a_case, fill_crm, letters, maria
from sqlalchemy import func, select
from sqlalchemy.orm import Session

import handoff.retention
from bot import outbox
from bot.models import Button, Conversation, InboxItem, KnowledgeGap, OutboxItem
from bot.old_messages import message_rules, tracker_rules
from handoff.case import Line
from handoff.codes import CODE_LASTS
from handoff.database import Database
from handoff.desk import Desk
from handoff.files import keep_file
from handoff.identity import ADDRESS_KEPT, BINDING_LASTS, keep_address
from handoff.limits import CLAIMS_KEPT
from handoff.links import LINK_LASTS, make_links
from handoff.mail.inbound import take_in
from handoff.models import Binding, BindingCode, Claim, LetterIn, LetterOut, Link, StoredFile, Ticket, TypedAddress
from handoff.retention import Retention, rules
from handoff.settings import Settings
from handoff.tickets import open_ticket

DAY = timedelta(days=1)
SETTINGS = Settings(_env_file=None, keep_messages_days=10, keep_tickets_days=30, keep_files_days=20)


@pytest.fixture
def clear(database: Database, desk: Desk):
    """Applies the rules as on a day."""

    async def apply(now: datetime, settings: Settings = SETTINGS) -> dict[str, int]:
        here = settings.model_copy(update={"data_dir": desk.data_dir})  # not the trackers of whoever runs the tests
        periods = [*rules(here), *message_rules(here)]
        return dict(await Retention(database, desk.data_dir, periods, tracker_rules(here)).clear(now))

    return apply


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a few rows are several batches."""
    monkeypatch.setattr(handoff.retention, "BATCH", 2)
    monkeypatch.setattr(handoff.retention, "PAUSE_S", 0)


def a_ticket(session: Session, desk: Desk, key: str, at: datetime = NOW, *, closed: bool = True) -> Ticket:
    case = a_case(key, topic=f"case/{key}", transcript=(Line("customer", "жмут", at),))
    ticket = session.get_one(Ticket, open_ticket(session, case, maria(), desk, at).number)
    ticket.state = "closed" if closed else "open"
    for letter in session.scalars(select(LetterOut).where(LetterOut.ticket_number == ticket.number)):
        letter.state = "sent"
    return ticket


def count(database: Database, table: type) -> int:
    with database.session_scope() as session:
        return session.scalars(select(func.count()).select_from(table)).one()


def requesters(database: Database) -> dict[str, str | None]:
    with database.session_scope() as session:
        return {ticket.topic: ticket.requester for ticket in session.scalars(select(Ticket))}


async def test_a_closed_ticket_becomes_anonymous_after_its_time(database: Database, desk: Desk, clear) -> None:
    """Number, topic and times stay; five tickets are three batches."""
    with database.session_scope() as session:
        for number in range(5):
            a_ticket(session, desk, str(number))

    assert await clear(NOW + 29 * DAY) == {"codes": 1}
    gone = await clear(NOW + 31 * DAY)

    assert (gone["tickets"], gone["letters out"]) == (5, 8), "one mailbox takes three confirmations in an hour"
    assert set(requesters(database).values()) == {None}
    assert await clear(NOW + 32 * DAY) == {}


async def test_what_is_not_over_stays(database: Database, desk: Desk, clear) -> None:
    """An open ticket, one in which something was said lately, and one with a letter that has not left."""
    with database.session_scope() as session:
        a_ticket(session, desk, "open", closed=False)
        a_ticket(session, desk, "waits")
        waiting = session.scalars(select(LetterOut).order_by(LetterOut.id.desc())).first()
        assert waiting is not None
        waiting.state = "waiting"
        a_ticket(session, desk, "reopened")
        to = str(letters(session, "customer")[-1]["Reply-To"])
        letter = EmailMessage()
        letter["From"], letter["To"], letter["Message-ID"] = "maria@example.com", to, "<1@x>"
        letter.set_content("thanks")
        ticket = session.get_one(Ticket, take_in(session, letter.as_bytes(), [], desk, NOW + 20 * DAY).ticket_number)
        ticket.state = "closed"
        for unsent in session.scalars(select(LetterOut).where(LetterOut.ticket_number == ticket.number)):
            unsent.state = "sent"
        a_ticket(session, desk, "over")

    await clear(NOW + 31 * DAY)

    assert {topic for topic, requester in requesters(database).items() if requester} == {
        "case/open", "case/waits", "case/reopened",
    }  # fmt: skip
    await clear(NOW + 51 * DAY)
    assert {topic for topic, requester in requesters(database).items() if requester} == {"case/open", "case/waits"}


async def test_letters_about_no_ticket_go_as_well(database: Database, desk: Desk, clear) -> None:
    """Quarantined ones too: who has not looked for so long will not. Their hash stays, so that none comes twice."""
    letter = EmailMessage()
    letter["From"], letter["To"], letter["Message-ID"] = "maria@example.com", "support@jeans.example", "<1@x>"
    letter.set_content("жмут")
    with database.session_scope() as session:
        assert take_in(session, letter.as_bytes(), [], desk, NOW).outcome == "quarantined"

    await clear(NOW + 31 * DAY)

    with database.session_scope() as session:
        row = session.scalars(select(LetterIn)).one()
        assert (row.raw, row.text, row.from_address, row.outcome) == (b"", "", "", "ignored")
        assert take_in(session, letter.as_bytes(), [], desk, NOW + 31 * DAY).outcome == "duplicate"


async def test_photos_go_from_the_disk_unless_their_ticket_is_open(database: Database, desk: Desk, clear) -> None:
    """They are the largest and the most private of what is kept."""
    with database.session_scope() as session:
        for key, closed in (("open", False), ("closed", True)):
            file = keep_file(session, desk.data_dir, "telegram:9", PNG, key, NOW)
            file.ticket_number = a_ticket(session, desk, key, closed=closed).number
        kept = session.scalars(select(StoredFile.name).where(StoredFile.source_key == "open")).one()
        keep_file(session, desk.data_dir, "telegram:9", PNG, "nobody's", NOW)

    assert (await clear(NOW + 21 * DAY))["photos and files"] == 2
    assert [path.name for path in (desk.data_dir / "files").glob("*")] == [kept]


async def test_a_file_without_a_row_goes_after_a_day(database: Database, desk: Desk, clear) -> None:
    """A crash between erasing and unlinking leaves one; a fresh one may still get its row."""
    folder = desk.data_dir / "files"
    folder.mkdir(parents=True)
    for name, age in (("old.png", 2 * DAY), ("new.png", DAY / 2)):
        (folder / name).touch()
        os.utime(folder / name, ((NOW - age).timestamp(),) * 2)

    assert await clear(NOW) == {"files that nobody knew": 1}
    assert [path.name for path in folder.glob("*")] == ["new.png"]


async def test_what_tells_who_somebody_is_goes_by_itself(database: Database, desk: Desk, clear) -> None:
    """Also when nobody types an address or taps a link any more, and whatever the settings say."""
    with database.session_scope() as session:
        fill_crm(session)
        keep_address(session, "telegram:7", "masha@example.com", NOW)
        make_links(session, ["c-1"], NOW)
        a_ticket(session, desk, "code")
        session.add(Claim(sender_id="telegram:7", order_number="1", address_hash="", at=NOW))
        session.add(
            Binding(
                sender_id="telegram:7", channel="telegram", customer_id="c-1", registered_address="maria@example.com",
                language="ru", bound_at=NOW, used_at=NOW,
            )
        )  # fmt: skip
    for_ever = Settings(_env_file=None, keep_messages_days=0, keep_tickets_days=0, keep_files_days=0)
    ends = {
        BindingCode: CODE_LASTS, Claim: CLAIMS_KEPT, TypedAddress: ADDRESS_KEPT, Link: LINK_LASTS,
        Binding: BINDING_LASTS,
    }  # fmt: skip

    for lasts in sorted(set(ends.values())):
        await clear(NOW + lasts - timedelta(minutes=1), for_ever)
        assert {table for table in ends if count(database, table)} == {t for t in ends if ends[t] >= lasts}
    await clear(NOW + BINDING_LASTS + timedelta(minutes=1), for_ever)
    assert {table for table in ends if count(database, table)} == set()


async def test_messages_go_with_what_belongs_to_them(database: Database, clear) -> None:
    """But for those that wait, in either direction."""
    with database.session_scope() as session:
        for name, state, sent in (("a", "answered", "sent"), ("b", "stuck", "refused"), ("c", "waiting", "waiting")):
            sender_id = f"telegram:{name}"
            session.add(Conversation(sender_id=sender_id, channel="telegram", language="ru"))
            item = InboxItem(
                key=name, sender_id=sender_id, channel="telegram", kind="text", text="?", received_at=NOW,
                not_before=NOW, state=state,
            )  # fmt: skip
            session.add(item)
            session.flush()
            session.add(KnowledgeGap(inbox_id=item.id, fact="care", asked_at=NOW))
            outbox.put(
                session, purpose=f"answer:{name}", sender_id=sender_id, channel="telegram", text="!", now=NOW,
                buttons=[("Да", "/affirm")],
            )  # fmt: skip
            session.scalars(select(OutboxItem).where(OutboxItem.sender_id == sender_id)).one().state = sent

    assert await clear(NOW + 9 * DAY) == {}
    await clear(NOW + 11 * DAY)

    assert [count(database, table) for table in (InboxItem, OutboxItem, Button, KnowledgeGap, Conversation)] == [1] * 5
    with database.session_scope() as session:
        assert session.scalars(select(Conversation.sender_id)).one() == "telegram:c"


async def test_zero_days_keep_for_ever(database: Database, desk: Desk, clear) -> None:
    """A shop whose law wants records says so."""
    with database.session_scope() as session:
        keep_file(session, desk.data_dir, "telegram:9", PNG, "f", NOW)
        session.scalars(select(StoredFile)).one().ticket_number = a_ticket(session, desk, "old").number
    for_ever = Settings(_env_file=None, keep_messages_days=0, keep_tickets_days=0, keep_files_days=0)

    gone = await clear(NOW + 10_000 * DAY, for_ever)

    assert set(gone) <= {"codes", "files that nobody knew"}
    assert (desk.data_dir / "files").exists()
    assert requesters(database) == {"case/old": "maria@example.com"}


def test_a_rasa_that_is_not_ours_keeps_its_own_rules() -> None:
    """Its trackers may be anywhere."""
    assert tracker_rules(Settings(_env_file=None, rasa_url="http://rasa:5005", rasa_token="t")) == []
    assert [rule.name for rule in tracker_rules(Settings(_env_file=None))] == ["tracker events"]
