"""Cases that were taken while the CRM was away are matched when it is back; what an operator says counts as well."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from email.message import EmailMessage

import pytest
from handoff_cases import NOW, PNG, RecordedNotices, a_case, body, fill_crm, letters
from sqlalchemy import select

from handoff.case import Line
from handoff.crm.mapping import load_mapping
from handoff.crm.port import CrmPort, CrmUnavailable
from handoff.crm.rest import RestCrm
from handoff.crm.sql import SqlCrm
from handoff.database import Database
from handoff.desk import Desk
from handoff.entries import UnknownTicket
from handoff.files import keep_file
from handoff.identity import Requester, identify
from handoff.limits import CLAIMS_PER_CHAT
from handoff.links import bind, make_links
from handoff.mail.inbound import take_in
from handoff.matching import LONGEST_WAIT, Matching, assign
from handoff.models import Claim, LetterIn, LetterOut, StoredFile, Ticket, TicketEntry
from handoff.ownership import NotAssignable, dispute_ticket
from handoff.tickets import open_ticket
from tests.fake_crm import FakeRetailCrm

LATER = NOW + timedelta(hours=1)

#: What `fill_crm` has; the pair that `a_case` claims.
MARIA = "maria@example.com"


@pytest.fixture
def server() -> Iterator[FakeRetailCrm]:
    """The embedded CRM's Maria and Peter, behind RetailCRM's API; it is away until somebody mends it."""
    server = FakeRetailCrm()
    server.orders[0]["number"] = "48213"
    server.fault = 503
    yield server
    server.close()


@pytest.fixture
def crm(server: FakeRetailCrm) -> RestCrm:
    return RestCrm(server.url, server.KEY, load_mapping("retailcrm"), rest_s=0.0)


@pytest.fixture
def left(database: Database, desk: Desk) -> Callable[..., int]:
    """Leaves a case while the CRM is away and returns the ticket's number."""

    def leave(key: str = "case-1", requester: Requester | None = None, **changes: object) -> int:
        facts = {"claimed_order": "№ 48213", "unchecked": True, **changes}
        with database.session_scope() as session:
            return open_ticket(session, a_case(key, **facts), requester, desk, NOW).number

    return leave


@pytest.fixture
def matching(database: Database, crm: RestCrm, desk: Desk) -> Matching:
    return Matching(database, crm, desk, lambda: None)


def ticket_of(database: Database, number: int) -> Ticket:
    with database.session_scope() as session:
        return session.get_one(Ticket, number)


def posted(database: Database) -> list[tuple[str, str]]:
    with database.session_scope() as session:
        rows = session.scalars(select(LetterOut).order_by(LetterOut.id))
        return [(row.purpose, row.to_address) for row in rows]


def last_letter(database: Database, audience: str) -> str:
    with database.session_scope() as session:
        return body(letters(session, audience)[-1])


def answered(database: Database, desk: Desk, number: int, text: str) -> LetterIn:
    """An agent replies to the first letter of a ticket."""
    with database.session_scope() as session:
        opening = select(LetterOut.id).where(LetterOut.purpose == f"opened:{number}:agents")
        place = session.scalars(select(LetterOut.id).order_by(LetterOut.id)).all().index(session.scalars(opening).one())
        letter = EmailMessage()
        letter["From"], letter["To"] = "olga@jeans.example", letters(session)[place]["Reply-To"]
        letter["Message-ID"] = f"<{number}@agents.example>"
        letter.set_content(text)
        return take_in(session, letter.as_bytes(), [], desk, NOW)


class TestWhileTheCrmIsAway:
    async def test_the_ticket_waits_and_the_agents_are_told_so(self, database, left, matching, server, notices) -> None:
        """ "There is no such pair" would be a lie, and nobody is mailed on a guess."""
        number = left()
        first = last_letter(database, "agents")
        await matching.match_due(NOW)

        assert "ПОКА НЕ ПОДТВЕРЖДЕНО. CRM сейчас не отвечает" in first
        assert "Отвечать уже можно" in first
        assert "пары" not in first
        assert ticket_of(database, number).requester is None
        assert posted(database) == [(f"opened:{number}:agents", "agents@jeans.example")]
        assert notices.announced == []
        assert len(server.asked) == 1

    async def test_it_is_asked_again_less_and_less_often(self, database, left, matching, server) -> None:
        """Not before its time, and never more than a quarter of an hour apart; attempts cost no claim."""
        number = left()
        for at in (NOW, NOW, NOW + timedelta(seconds=19), NOW + timedelta(seconds=20)):
            await matching.match_due(at)
        assert len(server.asked) == 2

        await matching.match_due(NOW + timedelta(days=9))
        assert ticket_of(database, number).match_at == NOW + timedelta(days=9) + LONGEST_WAIT
        with database.session_scope() as session:
            assert session.scalars(select(Claim)).all() == []

    async def test_one_that_cannot_be_asked_about_holds_up_no_other(self, database, left, desk, crm, server) -> None:
        """The first ticket's order breaks the CRM each time; the second is matched all the same."""
        left("bad", claimed_order="66666", sender_id="telegram:1")
        good = left("good", topic="case/other")
        server.fault = None
        find = server.find
        server.find = lambda path, query, headers: (  # type: ignore[method-assign]
            (500, {}) if query.get("filter[numbers][]") == ["66666"] else find(path, query, headers)
        )
        matching = Matching(database, crm, desk, lambda: None)

        for at in (NOW, NOW + timedelta(seconds=1)):
            await matching.match_due(at)

        assert ticket_of(database, good).requester == "Maria@Example.com"

    async def test_a_ticket_that_was_closed_or_assigned_meanwhile_is_left_alone(
        self, database, left, matching, server, desk
    ) -> None:
        """A person was faster."""
        closed, assigned = left("a"), left("b")
        with database.session_scope() as session:
            session.get_one(Ticket, closed).state = "closed"
            fill_crm(session)
        await assign(database, SqlCrm(database), assigned, "c-1", None, desk, NOW)
        before = posted(database)
        server.fault = None

        await matching.match_due(LATER)

        assert server.asked == []
        assert posted(database) == before
        assert ticket_of(database, assigned).match_at is None


class TestAMatch:
    @pytest.fixture(autouse=True)
    def back(self, server: FakeRetailCrm) -> None:
        server.fault = None

    async def test_customer_agents_and_chat_are_told(self, database, left, matching, notices: RecordedNotices) -> None:
        """As if the CRM had been there, only later; the letter goes to the address as the CRM spells it."""
        number = left()

        await matching.match_due(LATER)

        ticket = ticket_of(database, number)
        assert (ticket.requester, ticket.customer_id, ticket.order_number) == ("Maria@Example.com", "501", "48213")
        assert (ticket.claimed_order, ticket.claimed_address, ticket.match_at) == (None, None, None)
        assert ticket.snapshot["order"]["sum"] == "7900.5 RUB"
        assert posted(database)[1:] == [
            (f"opened:{number}:customer", "Maria@Example.com"),
            (f"checked:{number}", "agents@jeans.example"),
        ]
        told = last_letter(database, "agents")
        assert "номер заказа и почта сошлись" in told
        assert "7900.5 RUB" in told
        assert "уйдёт на Maria@Example.com от имени «Анна, Getwear»" in told
        assert notices.announced == [(number, "pair_matched")]

    async def test_it_is_done_once(self, database, left, matching, notices: RecordedNotices) -> None:
        left()
        for _ in range(3):
            await matching.match_due(LATER)

        assert len(posted(database)) == 3
        assert len(notices.announced) == 1

    async def test_answers_that_waited_go_out(self, database, left, matching, desk) -> None:
        """An agent need not wait for the CRM to write his answer."""
        number = left()
        assert answered(database, desk, number, "Отправим завтра.").outcome == "quarantined"

        await matching.match_due(LATER)

        assert [purpose.partition(":")[0] for purpose, _ in posted(database)] == [
            "opened",
            "opened",
            "answer",
            "answered",
            "checked",
        ]
        assert "Отправим завтра." in last_letter(database, "customer")

    async def test_agents_read_the_shops_language_about_english_customers(self, database, left, matching) -> None:
        left(language="en")
        assert "ПОКА НЕ ПОДТВЕРЖДЕНО. CRM сейчас не отвечает" in last_letter(database, "agents")

        await matching.match_due(LATER)

        assert "номер заказа и почта сошлись" in last_letter(database, "agents")

    async def test_a_bound_conversation_is_matched_without_an_order(
        self, database, desk, left, notices: RecordedNotices
    ) -> None:
        """Whose it is was proven by the link; for a stranger the same claim is worth nothing."""
        with database.session_scope() as session:
            fill_crm(session)
            (token,) = make_links(session, ["c-1"], NOW)
        embedded = SqlCrm(database)
        await bind(database, embedded, desk, token, "telegram:7", "telegram", NOW)
        with database.session_scope() as session:
            known = min(["maria@example.com", "m.kovaleva@example.org"])
        bound = left("bound", claimed_order=None, claimed_address=known)
        stranger = left("stranger", claimed_order=None, claimed_address=known, sender_id="telegram:8")

        await Matching(database, embedded, desk, lambda: None).match_due(LATER)

        assert (ticket_of(database, bound).customer_id, ticket_of(database, bound).order_number) == ("c-1", None)
        assert ticket_of(database, stranger).requester is None
        assert notices.announced == [(bound, "pair_matched"), (stranger, "pair_unmatched")]


class TestAMatchWithAnOpenTicket:
    """Decision 8: the same customer, order and topic are one ticket; which conversation came first does not matter."""

    @pytest.fixture
    async def first(self, database, desk, crm, server) -> int:
        """Opened from VK before the CRM went away."""
        server.fault = None
        maria = await identify(database, crm, "vk:1", "48213", MARIA, NOW)
        case = a_case(sender_id="vk:1", channel="vk", transcript=(Line("customer", "Где заказ?", NOW),))
        with database.session_scope() as session:
            return open_ticket(session, case, maria, desk, NOW).number

    async def test_what_was_said_joins_it_and_the_second_is_closed(
        self, first, database, desk, left, matching, notices: RecordedNotices
    ) -> None:
        """No second confirmation; an answer that was written meanwhile goes out in the first one's thread."""
        with database.session_scope() as session:
            keep_file(session, desk.data_dir, "telegram:7", PNG, "update:1", NOW)
        second = left(urgent_for="anger")
        answered(database, desk, second, "Уже в пути.")

        for _ in range(2):
            await matching.match_due(LATER)

        assert [purpose for purpose, _ in posted(database)] == [
            f"opened:{first}:agents",
            f"opened:{first}:customer",
            f"opened:{second}:agents",
            "joined:telegram:7:case-1",
            f"answer:{first}:1",
            f"answered:{first}:1",
            f"checked:{second}",
        ]
        one, other = ticket_of(database, first), ticket_of(database, second)
        assert (one.state, one.priority) == ("open", "urgent")
        assert (other.state, other.requester, other.match_at) == ("closed", "Maria@Example.com", None)
        with database.session_scope() as session:
            said = select(TicketEntry.text).where(TicketEntry.ticket_number == first, TicketEntry.kind == "chat")
            assert "Где мои джинсы? Обещали восемнадцатого" in session.scalars(said).all()
            assert session.scalars(select(StoredFile)).one().ticket_number == first
            joined = letters(session, "agents")[2]
            assert "Где мои джинсы?" in body(joined)
            assert len(list(joined.iter_attachments())) == 1
        assert f"уже есть открытое обращение №{first}" in last_letter(database, "agents")
        assert notices.announced[-1] == (second, "pair_joined")

    async def test_what_agents_still_write_in_the_second_reaches_the_customer(
        self, first, database, desk, left, matching
    ) -> None:
        """They have that letter in their mail program, and its reply address is as good as any."""
        second = left()
        await matching.match_due(LATER)

        assert answered(database, desk, second, "Ещё вот что.").outcome == "threaded"
        assert posted(database)[-2] == (f"answer:{second}:1", "Maria@Example.com")

    async def test_of_two_that_wait_the_second_joins_the_first(self, database, left, matching, server) -> None:
        server.fault = None
        one, two = left("a"), left("b", sender_id="vk:1", channel="vk")

        await matching.match_due(LATER)

        assert (ticket_of(database, one).state, ticket_of(database, two).state) == ("open", "closed")
        assert sum(purpose.endswith(":customer") for purpose, _ in posted(database)) == 1


class TestAMismatch:
    @pytest.fixture(autouse=True)
    def back(self, server: FakeRetailCrm) -> None:
        server.fault = None

    @pytest.mark.parametrize(
        "claimed",
        [
            {"claimed_order": "50777"},
            {"claimed_order": "99999"},
            {"claimed_address": "stranger@example.com"},
        ],
    )
    async def test_it_becomes_an_ordinary_unverified_ticket(
        self, database, left, matching, notices: RecordedNotices, claimed: dict[str, str]
    ) -> None:
        """The agents hear that the pair did not match, the customer too; nobody hears which of the two was wrong."""
        number = left(**claimed)

        for at in (LATER, LATER + timedelta(days=1)):
            await matching.match_due(at)

        ticket = ticket_of(database, number)
        assert (ticket.requester, ticket.match_at, ticket.state) == (None, None, "open")
        assert ticket.claimed_order
        assert [purpose for purpose, _ in posted(database)] == [f"opened:{number}:agents", f"checked:{number}"]
        told = last_letter(database, "agents")
        assert "номер и почта не сошлись" in told
        assert "НЕ ПОДТВЕРЖДЕНО" in told
        assert f"support assign {number}" in told
        assert notices.announced == [(number, "pair_unmatched")]

    async def test_the_limits_hold(self, database, left, matching, crm) -> None:
        """An outage must not be a way around them: a conversation past its limit is not matched, right pair or not."""
        for guess in range(CLAIMS_PER_CHAT[0][1]):
            await identify(database, crm, "telegram:7", f"7000{guess}", MARIA, LATER)
        number = left()

        await matching.match_due(LATER)

        assert ticket_of(database, number).requester is None
        assert "слишком много попыток" in last_letter(database, "agents")

    async def test_a_disputed_conversation_is_not_matched(self, database, left, matching, desk, crm) -> None:
        """The owner of the mailbox has said that it was not him."""
        with database.session_scope() as session:
            fill_crm(session)
        maria = await identify(database, SqlCrm(database), "telegram:7", "GW-48213", MARIA, NOW)
        earlier = left("earlier", maria, topic="case/other")
        with database.session_scope() as session:
            dispute_ticket(session, earlier, desk, NOW)
        number = left()

        await matching.match_due(LATER)

        assert ticket_of(database, number).requester is None

    async def test_a_case_without_an_address_waits_for_nothing_any_more(self, database, left, matching) -> None:
        """What was typed may be gone; then there is nothing to compare."""
        number = left(claimed_address=None)

        await matching.match_due(LATER)

        assert (ticket_of(database, number).match_at, ticket_of(database, number).requester) == (None, None)


class Killed(BaseException):
    """The process ends here."""


class DyingDatabase(Database):
    """Ends the process before or after the commit of one of its transactions."""

    def __init__(self, database: Database, dies_at: int, committed: bool) -> None:
        vars(self).update(vars(database))
        self._left, self._committed = dies_at, committed

    async def run(self, work, *args, **kwargs):
        self._left -= 1
        if self._left < 0 and not self._committed:
            raise Killed
        found = await super().run(work, *args, **kwargs)
        if self._left < 0:
            raise Killed
        return found


@pytest.mark.parametrize("committed", [False, True])
@pytest.mark.parametrize("dies_at", range(4))
async def test_killed_between_any_two_steps_nothing_is_lost_or_done_twice(
    database: Database, left, crm, server, desk, notices, dies_at: int, committed: bool
) -> None:
    """Four transactions: put off, claim, judge, settle; before and after each commit."""
    number = left()
    server.fault = None
    with pytest.raises(Killed):
        await Matching(DyingDatabase(database, dies_at, committed), crm, desk, lambda: None).match_due(NOW)

    await Matching(database, crm, desk, lambda: None).match_due(LATER)

    assert ticket_of(database, number).requester == "Maria@Example.com"
    assert [purpose for purpose, _ in posted(database)] == [
        f"opened:{number}:agents",
        f"opened:{number}:customer",
        f"checked:{number}",
    ]
    assert notices.announced == [(number, "pair_matched")]


class TestAnOperator:
    @pytest.mark.parametrize("source", ["embedded", "rest"])
    async def test_says_whose_a_ticket_is(self, database, left, desk, crm, server, source: str) -> None:
        """Whichever CRM is set; the claimed address is taken if it is one of his."""
        with database.session_scope() as session:
            fill_crm(session)
        server.fault = None
        number = left(unchecked=False, claimed_address="M.Kovaleva@example.org")
        sources: dict[str, tuple[CrmPort, str, str]] = {
            "embedded": (SqlCrm(database), "c-1", "gw 48213"),
            "rest": (crm, "501", "№48213"),
        }

        await assign(database, sources[source][0], number, *sources[source][1:], desk, LATER)

        expected = {"embedded": "m.kovaleva@example.org", "rest": "Maria@Example.com"}
        assert ticket_of(database, number).requester == expected[source]
        assert posted(database)[-1] == (f"opened:{number}:customer", expected[source])

    @pytest.mark.parametrize(("customer", "order"), [("nobody", None), ("502", "48213"), ("501", "404404")])
    async def test_cannot_give_it_to_what_does_not_fit(
        self, database, left, desk, crm, server, customer: str, order: str | None
    ) -> None:
        """A typing error must not mail a stranger."""
        server.fault = None
        number = left()

        with pytest.raises(NotAssignable):
            await assign(database, crm, number, customer, order, desk, LATER)
        assert len(posted(database)) == 1

    async def test_hears_that_the_crm_is_away_or_the_ticket_unknown(self, database, left, desk, crm, server) -> None:
        number = left()
        with pytest.raises(CrmUnavailable):
            await assign(database, crm, number, "501", None, desk, LATER)

        server.fault = None
        with pytest.raises(UnknownTicket):
            await assign(database, crm, number + 1, "501", None, desk, LATER)
