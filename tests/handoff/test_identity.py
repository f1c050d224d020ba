"""An order number and a registered address identify a customer together; nothing else does, and nobody learns why."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from handoff_cases import NOW, a_case, fill_crm, maria
from sqlalchemy import event, func, select
from sqlalchemy.orm import Session

from handoff.crm.port import CrmUnavailable, Customer, Order, OrderBrief
from handoff.crm.sql import SqlCrm
from handoff.database import Database
from handoff.desk import Desk
from handoff.identity import Requester, address_behind, identify, keep_address
from handoff.limits import COOL_OFF, DAY, SAME_ATTEMPT, recent_claims
from handoff.models import Claim, LetterOut
from handoff.ownership import dispute_ticket
from handoff.tickets import open_ticket

MINUTE = timedelta(minutes=1)


class RecordingCrm(SqlCrm):
    """The embedded CRM, noting what it is asked."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.asked: list[str] = []

    async def order(self, number: str) -> Order | None:
        self.asked.append("order")
        return await super().order(number)

    async def customer(self, customer_id: str) -> Customer | None:
        self.asked.append("customer")
        return await super().customer(customer_id)


class AbsentCrm:
    """A CRM that is away."""

    async def order(self, number: str) -> Order | None:
        raise CrmUnavailable("away")

    async def customer(self, customer_id: str) -> Customer | None:
        raise CrmUnavailable("away")

    async def orders_of(self, customer_id: str, limit: int = 5) -> list[OrderBrief]:
        raise CrmUnavailable("away")


@pytest.fixture
def crm(database: Database) -> RecordingCrm:
    with database.session_scope() as session:
        fill_crm(session)
    return RecordingCrm(database)


def count_claims(database: Database) -> int:
    with database.session_scope() as session:
        return session.scalars(select(func.count()).select_from(Claim)).one()


@pytest.mark.parametrize(
    ("order", "address"),
    [
        ("GW-48213", "maria@example.com"),
        ("№ gw 48213", " Maria@Example.COM "),
        ("GW48213", "m.kovaleva@example.org"),
    ],
)
async def test_a_right_pair_identifies_however_it_is_typed(
    database: Database, crm: RecordingCrm, order: str, address: str
) -> None:
    """People type numbers and addresses in many ways; each of a customer's addresses counts."""
    requester = await identify(database, crm, "telegram:7", order, address, NOW)

    assert requester is not None
    assert (requester.customer.customer_id, requester.order.shown_number) == ("c-1", "GW-48213")
    assert requester.registered_address == address.strip().lower()


@pytest.mark.parametrize(
    ("order", "address"),
    [
        ("50777", "maria@example.com"),
        ("GW-48213", "stranger@example.com"),
        ("99999", "maria@example.com"),
        ("99999", "stranger@example.com"),
        ("", ""),
        ("GW-48213", ""),
    ],
)
async def test_every_mismatch_looks_and_works_the_same(
    database: Database, crm: RecordingCrm, order: str, address: str
) -> None:
    """No oracle: a stranger cannot tell a wrong order from a wrong address, not even by the look-ups it takes."""
    assert await identify(database, crm, "telegram:7", order, address, NOW) is None
    assert crm.asked == ["order", "customer"]


async def test_no_failure_can_be_told_from_another_by_what_the_database_does(
    database: Database, crm: RecordingCrm, desk: Desk
) -> None:
    """The same statements in the same order take the same time, also past every limit (bench/identity.py measures)."""
    with database.session_scope() as session:
        number = open_ticket(session, a_case(sender_id="telegram:666"), maria(), desk, NOW - DAY).number
        dispute_ticket(session, number, desk, NOW)
        fill_limits(session)
    kinds = {
        "no such order": ("vk:1", "99999", "maria@example.com"),
        "no such address": ("vk:2", "GW-48213", "nobody@example.com"),
        "another customer's address": ("vk:3", "GW-48213", "peter@example.com"),
        "neither": ("vk:4", "99999", "nobody@example.com"),
        "not even an order number": ("vk:5", "", "nobody"),
        "wrong past the chat's limit": ("vk:used-up", "99999", "maria@example.com"),
        "right past the chat's limit": ("vk:used-up", "GW-48213", "maria@example.com"),
        "wrong past the order's limit": ("vk:6", "50777", "nobody@example.com"),
        "right past the order's limit": ("vk:7", "50777", "peter@example.com"),
        "right, but disputed": ("telegram:666", "GW-48213", "maria@example.com"),
    }
    done = {}

    for kind, (sender_id, order, address) in kinds.items():
        with statements(database) as seen:
            assert await identify(database, crm, sender_id, order, address, NOW) is None, kind
        done[kind] = seen

    first = done["no such order"]
    assert len(first) == 9
    assert {kind for kind, seen in done.items() if seen != first} == set()


@pytest.mark.parametrize("address", ["nobody@example.com", "maria@example.com"])
async def test_a_wrong_pair_takes_as_many_writes_to_the_disk_as_a_right_one_that_is_refused(
    database: Database, crm: RecordingCrm, desk: Desk, address: str
) -> None:
    """SQLite leaves a page alone whose content stays the same: the same statement can be a write or none."""
    if database.engine.dialect.name != "sqlite":
        pytest.skip("PostgreSQL writes every update")
    with database.session_scope() as session:
        fill_limits(session)

    written = []
    for number, pair in enumerate([("50777", address), ("50777", "peter@example.com")]):
        before = log_frames(database)
        assert await identify(database, crm, f"vk:{number}", *pair, NOW) is None
        written.append(log_frames(database) - before)

    assert written[0] == written[1] > 2


def log_frames(database: Database) -> int:
    """How many pages the write-ahead log holds (SQLite, WAL file format: 32 bytes, then 24 + 4096 a frame)."""
    return (Path(f"{database.url.removeprefix('sqlite:///')}-wal").stat().st_size - 32) // (24 + 4096)


@contextmanager
def statements(database: Database) -> Iterator[list[str]]:
    """What the database is told meanwhile; noting a claim's outcome and removing it are both one write by its id."""
    seen: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        tables = re.findall(r"(?:FROM|INTO|UPDATE) (\w+)", statement)
        verb = statement.split()[0]
        if verb in ("SAVEPOINT", "RELEASE"):  # how SQLite's writer keeps pieces of work apart (handoff/writer.py)
            return
        by_id = verb == "UPDATE" or "claim.id =" in statement
        seen.append("settle the claim" if by_id and tables == ["claim"] else f"{verb} {' '.join(tables)}")

    event.listen(database.engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(database.engine, "before_cursor_execute", note)
        seen[:] = [each for each in seen if not each.startswith("BEGIN")]


def fill_limits(session: Session) -> None:
    """Use up the limits of the chat vk:used-up and of Peter's order."""
    for attempt in range(5):
        chats = (("vk:used-up", f"7{attempt}000"), (f"vk:other-{attempt}", "50777"))
        session.add_all([Claim(sender_id=chat, order_number=order, address_hash="", at=NOW) for chat, order in chats])


async def test_a_hundred_wrong_pairs_then_a_right_one(database: Database, crm: RecordingCrm) -> None:
    """A guesser learns nothing, an hour or a day long; and the customer is served again when it is over."""
    wrong = [("GW-48213", f"guess{guess}@example.com") for guess in range(50)]
    wrong += [(f"{70000 + guess}", "maria@example.com") for guess in range(50)]
    for second, (order, address) in enumerate(wrong):
        crm.asked.clear()
        at = NOW + timedelta(seconds=second)
        assert await identify(database, crm, "telegram:7", order, address, at) is None
        assert crm.asked == ["order", "customer"]

    right = "GW-48213", "maria@example.com"
    assert await identify(database, crm, "telegram:7", *right, NOW + timedelta(minutes=2)) is None
    assert count_claims(database) == 5
    assert await identify(database, crm, "telegram:7", *right, NOW + COOL_OFF + MINUTE) is not None
    with database.session_scope() as session:
        assert recent_claims(session, NOW + MINUTE) == {"right": 1, "wrong": 5}


async def test_a_chat_has_five_attempts_an_hour_and_a_right_pair_past_them_is_refused(
    database: Database, crm: RecordingCrm
) -> None:
    """A limit that right pairs pass would tell a guesser that he has guessed right."""
    for minute in range(5):
        await identify(database, crm, "telegram:7", f"7000{minute}", "maria@example.com", NOW + minute * MINUTE)

    late = NOW + 5 * MINUTE
    assert await identify(database, crm, "telegram:7", "GW-48213", "maria@example.com", late) is None
    assert await identify(database, crm, "vk:8", "GW-48213", "maria@example.com", late) is not None


async def test_after_the_cool_off_the_right_pair_works_again(database: Database, crm: RecordingCrm) -> None:
    """Five failures in an hour close a chat for a day from the last one; refused attempts do not prolong it."""
    for attempt in range(20):
        await identify(database, crm, "telegram:7", f"7000{attempt}", "maria@example.com", NOW + attempt * MINUTE)

    fifth = NOW + 4 * MINUTE
    early, late = fifth + COOL_OFF - MINUTE, fifth + COOL_OFF + MINUTE
    assert await identify(database, crm, "telegram:7", "GW-48213", "maria@example.com", early) is None
    assert await identify(database, crm, "telegram:7", "GW-48213", "maria@example.com", late) is not None


async def test_right_pairs_bring_no_cool_off(database: Database, crm: RecordingCrm) -> None:
    """Six questions in an hour are not six guesses: the next hour is a new one."""
    for attempt in range(6):
        await identify(database, crm, "telegram:7", "GW-48213", "maria@example.com", NOW + attempt * 6 * MINUTE)

    assert await identify(database, crm, "telegram:7", "GW-48213", "maria@example.com", NOW + 36 * MINUTE) is None
    assert await identify(database, crm, "telegram:7", "GW-48213", "maria@example.com", NOW + 67 * MINUTE) is not None


async def test_a_chat_has_ten_attempts_a_day(database: Database, crm: RecordingCrm) -> None:
    """Slow guessing is guessing."""
    for attempt in range(10):
        await identify(database, crm, "telegram:7", f"7{attempt}000", "x@example.com", NOW + attempt * 30 * MINUTE)

    later = NOW + timedelta(hours=20)
    assert await identify(database, crm, "telegram:7", "GW-48213", "maria@example.com", later) is None


async def test_attempts_past_the_limit_are_not_kept(database: Database, crm: RecordingCrm) -> None:
    """One conversation must not be able to use up the failures of every order."""
    for attempt in range(12):
        await identify(database, crm, "telegram:7", "GW-48213", f"x{attempt}@example.com", NOW)

    assert count_claims(database) == 5


async def test_a_turn_that_is_played_again_brings_no_new_attempt(database: Database, crm: RecordingCrm) -> None:
    """Or a ticket that cannot be opened for a moment would end in "these do not belong together"."""
    right, wrong = ("GW-48213", "maria@example.com"), ("GW-48213", "guess@example.com")
    for second in range(0, 40, 5):
        at = NOW + timedelta(seconds=second)
        assert await identify(database, crm, "telegram:7", *right, at) is not None
        assert await identify(database, crm, "vk:8", *wrong, at) is None
    assert count_claims(database) == 2

    assert await identify(database, crm, "telegram:7", *right, NOW + SAME_ATTEMPT + MINUTE) is not None
    assert count_claims(database) == 3


async def test_an_absent_crm_forgets_no_attempt_that_was_settled(database: Database, crm: RecordingCrm) -> None:
    await identify(database, crm, "telegram:7", "GW-48213", "guess@example.com", NOW)
    with pytest.raises(CrmUnavailable):
        await identify(database, AbsentCrm(), "telegram:7", "GW-48213", "guess@example.com", NOW + MINUTE)

    assert count_claims(database) == 1


async def test_an_order_allows_five_failures_a_day_over_all_chats(database: Database, crm: RecordingCrm) -> None:
    """Guessing one customer's address from many accounts stops; the next day the customer is served again."""
    for chat in range(5):
        await identify(database, crm, f"telegram:{chat}", "GW-48213", f"guess{chat}@example.com", NOW)

    assert await identify(database, crm, "vk:9", "GW-48213", "maria@example.com", NOW) is None
    assert await identify(database, crm, "vk:9", "GW-48213", "maria@example.com", NOW + 25 * 60 * MINUTE) is not None


async def test_right_pairs_do_not_count_as_failures(database: Database, crm: RecordingCrm) -> None:
    """A customer with several questions does not lock himself out for the other channel."""
    for chat in range(8):
        assert await identify(database, crm, f"telegram:{chat}", "GW-48213", "maria@example.com", NOW) is not None


async def test_a_mailbox_gets_three_confirmations_an_hour_at_most(
    database: Database, crm: RecordingCrm, desk: Desk
) -> None:
    """Nobody is mail-bombed through us; and nobody with a fourth matter is told that his pair is wrong."""
    with database.session_scope() as session:
        for number, minute in enumerate((0, 1, 2, 3, 61)):
            case = a_case(str(number), sender_id=f"telegram:{number}", topic=f"case/{number}")
            open_ticket(session, case, maria(), desk, NOW + minute * MINUTE)
        about = select(LetterOut.ticket_number).where(LetterOut.to_address == "maria@example.com")
        assert session.scalars(about).all() == [1001, 1002, 1003, 1005]
        assert len(session.scalars(select(LetterOut).where(LetterOut.audience == "agents")).all()) == 5

    assert await identify(database, crm, "vk:1", "GW-48213", "maria@example.com", NOW + 4 * MINUTE) is not None


async def test_a_conversation_that_was_disputed_identifies_nobody_any_more(
    database: Database, crm: RecordingCrm, desk: Desk
) -> None:
    """ "This was not me" ends what an impostor can do from that account."""
    with database.session_scope() as session:
        opened = open_ticket(session, a_case(), maria(), desk, NOW)
        dispute_ticket(session, opened.number, desk, NOW)

    assert await identify(database, crm, "telegram:7", "GW-48213", "maria@example.com", NOW) is None
    assert await identify(database, crm, "telegram:8", "GW-48213", "maria@example.com", NOW) is not None


async def test_an_absent_crm_is_said_to_be_absent_and_costs_no_attempt(database: Database) -> None:
    """ "Unavailable" never turns into "not found"."""
    with pytest.raises(CrmUnavailable):
        await identify(database, AbsentCrm(), "telegram:7", "GW-48213", "maria@example.com", NOW)

    assert count_claims(database) == 0


async def test_the_spelling_of_the_crm_is_where_letters_go(database: Database) -> None:
    """A CRM may hold capitals; the letter goes to what the CRM holds, never to what was typed."""

    class CapitalCrm(AbsentCrm):
        async def order(self, number: str) -> Order | None:
            return Order("48213", "c", "48213")

        async def customer(self, customer_id: str) -> Customer | None:
            return Customer("c", "Maria", "en", frozenset({"Maria@Example.com"}))

    requester = await identify(database, CapitalCrm(), "telegram:7", "48213", "maria@example.com", NOW)

    assert isinstance(requester, Requester)
    assert requester.registered_address == "Maria@Example.com"


def test_a_typed_address_is_known_by_its_reference_only_in_its_own_conversation(session: Session) -> None:
    """References go through Rasa and its logs: whoever reads one there must not get an address for it."""
    reference = keep_address(session, "telegram:7", "masha.k@example.com", NOW)

    assert reference.startswith("m…k@example.com#")
    assert address_behind(session, "telegram:7", reference, NOW) == "masha.k@example.com"
    assert address_behind(session, "telegram:8", reference, NOW) is None
    assert address_behind(session, "telegram:7", "masha.k@example.com", NOW) is None


def test_a_typed_address_is_gone_after_48_hours(session: Session) -> None:
    """Addresses of people who never became a ticket are not collected; any later typing clears them away."""
    reference = keep_address(session, "telegram:7", "masha@example.com", NOW)

    keep_address(session, "vk:1", "other@example.com", NOW + timedelta(hours=49))

    assert address_behind(session, "telegram:7", reference, NOW) is None
