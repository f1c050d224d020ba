"""A personal link binds one messenger account to its customer, who hears of it by letter; nothing else binds."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from handoff_cases import NOW, RecordedNotices, a_case, body, fill_crm, letters, maria
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from handoff.crm.port import CrmUnavailable, OrderBrief
from handoff.crm.sql import SqlCrm
from handoff.database import Database
from handoff.desk import Desk
from handoff.identity import (
    BINDING_LASTS,
    Requester,
    address_behind,
    binding_of,
    bound_reference,
    identify,
    identify_bound,
    is_bound_reference,
    keep_address,
)
from handoff.links import LINK_LASTS, bind, forget, is_token, make_links, order_meant, own_orders, revoke
from handoff.mail.addresses import read_link_token
from handoff.mail.inbound import take_in
from handoff.models import Binding, Claim, CrmAddress, LetterOut, Link, TypedAddress
from handoff.ownership import dispute_ticket
from handoff.tickets import open_ticket

SENDER, OTHER = "telegram:7", "telegram:8"
MARIA = "m.kovaleva@example.org"


@pytest.fixture
def crm(database: Database) -> SqlCrm:
    with database.session_scope() as session:
        fill_crm(session)
    return SqlCrm(database)


@pytest.fixture
def link(database: Database, crm: SqlCrm) -> str:
    """The token of a link that Maria was sent."""
    with database.session_scope() as session:
        return make_links(session, ["c-1"], NOW)[0]


@pytest.fixture
def tap(database: Database, crm: SqlCrm, desk: Desk):
    async def tap(token: str, sender_id: str = SENDER, now=NOW) -> Binding | None:
        return await bind(database, crm, desk, token, sender_id, "telegram", now)

    return tap


def all_of(database: Database, table: type) -> list:
    with database.session_scope() as session:
        return list(session.scalars(select(table)))


def sent(database: Database) -> list:
    with database.session_scope() as session:
        return letters(session)


class TestLinks:
    def test_a_token_passes_through_every_messenger_and_is_kept_as_a_hash_only(self, session: Session) -> None:
        """Telegram passes on at most 64 characters of A-Za-z0-9_-; whoever reads the database cannot tap."""
        tokens = make_links(session, ["c-1", "c-2", "c-1"], NOW)

        assert len(set(tokens)) == 3
        assert all(is_token(token) for token in tokens)
        kept = session.scalars(select(Link)).all()
        assert sorted(row.customer_id for row in kept) == ["c-1", "c-1", "c-2"]
        assert not any(token in row.token_hash for token in tokens for row in kept)

    def test_old_links_are_cleared_away(self, session: Session) -> None:
        make_links(session, ["c-1"], NOW)
        make_links(session, ["c-2"], NOW + LINK_LASTS + timedelta(minutes=1))

        assert [row.customer_id for row in session.scalars(select(Link))] == ["c-2"]

    def test_no_customers_no_links(self, session: Session) -> None:
        assert make_links(session, [], NOW) == []


class TestBind:
    async def test_one_tap_binds_and_tells_the_registered_mailbox(self, database, desk, link, tap) -> None:
        """Clear notice by another way than the chat: where, when, what it allows, and how to end it."""
        binding = await tap(link)

        assert (binding.sender_id, binding.customer_id, binding.registered_address) == (SENDER, "c-1", MARIA)
        (letter,) = sent(database)
        assert letter["To"] == MARIA
        assert letter["From"] == "Getwear <support@jeans.example>"
        assert letter["Auto-Submitted"] == "auto-generated"
        assert "Telegram" in letter["Subject"]
        for said in (body(letter), body(letter, "html")):
            assert "Мария, здравствуйте!" in said
            assert "Telegram" in said
            assert "20.11.2026 15:20" in said
            token = re.search(r"https://jeans\.example/unlink/([\w.]+)", said)
            assert token is not None
            assert read_link_token(desk.signing_key, "unlink", token[1]) == binding.id
            assert link not in said
        with database.session_scope() as session:
            assert session.scalars(select(LetterOut.ticket_number)).all() == [None]

    async def test_the_letter_speaks_the_customers_language(self, database, crm, tap) -> None:
        """It goes to the owner of the mailbox, whoever tapped."""
        with database.session_scope() as session:
            (token,) = make_links(session, ["c-2"], NOW)

        await tap(token)

        assert "The personal link that we sent you" in body(sent(database)[0])

    async def test_the_same_tap_again_changes_nothing(self, database, link, tap) -> None:
        """A turn is played again after a crash."""
        first, again = await tap(link), await tap(link)

        assert again.id == first.id
        assert len(sent(database)) == 1

    async def test_a_second_account_gets_nothing_from_a_used_link(self, database, link, tap) -> None:
        """Links are forwarded with letters."""
        await tap(link)

        assert await tap(link, OTHER) is None
        assert [row.sender_id for row in all_of(database, Binding)] == [SENDER]

    @pytest.mark.parametrize("token", ["", "x", "a" * 64, "' OR 1=1"])
    async def test_an_unknown_link_gives_nothing(self, database, link, tap, token) -> None:
        assert await tap(token) is None
        assert (all_of(database, Binding), sent(database)) == ([], [])

    async def test_an_expired_link_gives_nothing(self, database, link, tap) -> None:
        assert await tap(link, now=NOW + LINK_LASTS + timedelta(seconds=1)) is None
        assert all_of(database, Binding) == []

    async def test_a_used_link_does_not_bind_anew_after_the_end(self, database, link, tap) -> None:
        """Whoever still has the letter on his phone must not undo what the customer did."""
        await tap(link)
        with database.session_scope() as session:
            forget(session, SENDER)

        assert await tap(link) is None

    async def test_another_link_of_the_same_customer_is_used_up_and_writes_no_second_letter(
        self, database, link, tap
    ) -> None:
        first = await tap(link)
        with database.session_scope() as session:
            (another,) = make_links(session, ["c-1"], NOW)

        assert (await tap(another)).id == first.id
        assert await tap(another, OTHER) is None
        assert len(sent(database)) == 1

    async def test_a_link_of_another_customer_takes_the_account_over(self, database, link, tap) -> None:
        """Two people of one household, one phone."""
        await tap(link)
        with database.session_scope() as session:
            (peters,) = make_links(session, ["c-2"], NOW)

        await tap(peters)

        assert [row.customer_id for row in all_of(database, Binding)] == ["c-2"]
        assert [letter["To"] for letter in sent(database)] == [MARIA, "peter@example.com"]

    async def test_a_disputed_conversation_is_not_bound_and_its_link_is_used_up(
        self, database, desk, link, tap
    ) -> None:
        """ "This was not me": whatever else that account gets hold of is worth nothing."""
        with database.session_scope() as session:
            opened = open_ticket(session, a_case(), maria(), desk, NOW)
            dispute_ticket(session, opened.number, desk, NOW)

        assert await tap(link) is None
        assert await tap(link, OTHER) is None
        assert all_of(database, Binding) == []

    async def test_a_customer_who_is_gone_is_not_bound(self, database, crm, tap) -> None:
        with database.session_scope() as session:
            (token,) = make_links(session, ["c-9"], NOW)

        assert await tap(token) is None

    async def test_while_the_crm_is_away_the_link_stays_good(self, database, desk, link, tap) -> None:
        class Away(SqlCrm):
            async def customer(self, customer_id: str):
                raise CrmUnavailable("away")

        with pytest.raises(CrmUnavailable):
            await bind(database, Away(database), desk, link, SENDER, "telegram", NOW)

        assert await tap(link) is not None


class TestBoundConversation:
    @pytest.fixture
    async def binding(self, link, tap) -> Binding:
        return await tap(link)

    async def test_its_address_is_known_under_a_masked_reference(self, database, binding) -> None:
        """Rasa and its logs see only the mask, and another conversation gets nothing for it."""
        reference = bound_reference(binding)

        assert reference == "m…a@example.org#0"
        assert is_bound_reference(reference)
        assert not is_bound_reference("m…a@example.org#10")
        assert not is_bound_reference(None)
        with database.session_scope() as session:
            assert address_behind(session, SENDER, reference, NOW) == MARIA
            assert address_behind(session, OTHER, reference, NOW) is None

    async def test_it_is_identified_like_any_other_and_without_an_order_too(self, database, crm, binding) -> None:
        """One path and one set of limits for all."""
        whole = await identify(database, crm, SENDER, "GW-48213", MARIA, NOW)
        bare = await identify_bound(database, crm, SENDER, NOW)

        assert (whole.customer.customer_id, whole.order.number) == ("c-1", "GW48213")
        assert bare == Requester(whole.customer, None, MARIA)
        assert len(all_of(database, Claim)) == 2
        for minutes in (6, 12, 18):
            await identify_bound(database, crm, SENDER, NOW + timedelta(minutes=minutes))
        assert await identify_bound(database, crm, SENDER, NOW + timedelta(minutes=24)) is None

    async def test_a_stranger_is_not_identified_without_an_order(self, database, crm, binding) -> None:
        assert await identify_bound(database, crm, OTHER, NOW) is None
        assert all_of(database, Claim) == []

    async def test_it_sees_its_own_orders_and_a_stranger_none(self, database, crm, binding) -> None:
        assert [order.shown_number for order in await own_orders(database, crm, SENDER, NOW)] == ["GW-48213"]
        assert await own_orders(database, crm, OTHER, NOW) == []

    async def test_a_ticket_without_an_order_is_the_customers(self, database, desk, crm, binding) -> None:
        """Agents and customer get their letters; the same matter again joins it."""
        requester = await identify_bound(database, crm, SENDER, NOW)

        with database.session_scope() as session:
            opened = open_ticket(session, a_case(claimed_order=None), requester, desk, NOW)
            again = open_ticket(session, a_case("case-2", claimed_order=None), requester, desk, NOW)

        assert (opened.verified_pair, opened.joined, again.joined) == (True, False, True)
        agents, customer = sent(database)[1:3]
        assert agents["X-Handoff-Requester"] == customer["To"] == MARIA
        assert "Номер заказа и почта совпали" not in body(agents)
        assert "Заказ: " not in body(customer)

    @pytest.mark.parametrize("end", ["revoked", "forgotten", "disputed", "idle", "address changed"])
    async def test_after_its_end_nothing_is_left(self, database, crm, desk, binding, end) -> None:
        """However a binding ends, number and address are asked for again and no order is shown."""
        now = NOW
        with database.session_scope() as session:
            if end == "revoked":
                revoke(session, session.get_one(Binding, binding.id), desk, NOW)
            elif end == "forgotten":
                forget(session, SENDER)
            elif end == "disputed":
                opened = open_ticket(session, a_case(), maria(), desk, NOW)
                dispute_ticket(session, opened.number, desk, NOW)
            elif end == "idle":
                now = NOW + BINDING_LASTS + timedelta(minutes=1)
            else:
                session.execute(update(CrmAddress).where(CrmAddress.address == MARIA).values(address="new@example.org"))

        assert await own_orders(database, crm, SENDER, now) == []
        assert await identify_bound(database, crm, SENDER, now) is None
        with database.session_scope() as session:
            assert binding_of(session, SENDER, now) is None
            assert address_behind(session, SENDER, bound_reference(binding), now) is None

    async def test_a_revoked_conversation_hears_of_it(self, database, desk, binding, notices: RecordedNotices) -> None:
        with database.session_scope() as session:
            revoke(session, session.get_one(Binding, binding.id), desk, NOW)

        assert notices.freed == [SENDER]

    async def test_the_number_of_a_binding_is_never_given_twice(self, database, tap, binding) -> None:
        """The link in an old letter must not end a later binding."""
        with database.session_scope() as session:
            forget(session, SENDER)
            (token,) = make_links(session, ["c-1"], NOW)

        assert (await tap(token)).id > binding.id

    async def test_forgetting_takes_the_typed_addresses_of_this_conversation(self, database, binding) -> None:
        with database.session_scope() as session:
            keep_address(session, SENDER, "maria@example.com", NOW)
            keep_address(session, OTHER, "peter@example.com", NOW)
            forget(session, SENDER)

        assert [row.address for row in all_of(database, TypedAddress)] == ["peter@example.com"]


@pytest.mark.parametrize(
    ("topic", "statuses", "meant"),
    [
        ("case/delay", {"1": "delivered", "2": "production"}, "2"),
        ("case/delay", {"1": "Доставлен ", "2": "в пути"}, "2"),
        ("case/delay", {"1": "delivery", "2": "production"}, None),
        ("case/defect", {"1": "delivered", "2": "production"}, "1"),
        ("case/defect", {"1": "delivered", "2": "delivered"}, None),
        ("case/account_email", {"1": "delivered", "2": "production"}, None),
        ("human/human_request", {"1": "production"}, "1"),
        ("case/delay", {"1": "delivered"}, "1"),
        ("case/delay", {}, None),
    ],
)
def test_an_order_is_meant_if_the_topic_leaves_only_one(topic: str, statuses: dict[str, str], meant) -> None:
    """Jeans that are late have not come, jeans that do not fit have; a lost parcel may count as delivered."""
    orders = [OrderBrief(number, number, status, "", None) for number, status in statuses.items()]

    found = order_meant(orders, topic)

    assert (found.number if found else None) == meant


async def test_an_answer_to_the_notice_waits_for_a_person(database, desk, link, tap) -> None:
    """It belongs to no ticket; whoever protests that way must be read all the same."""
    await tap(link)
    answer = f"From: {MARIA}\nTo: support@jeans.example\nMessage-ID: <1@example.org>\nIn-Reply-To: {{}}\n\nNot me!\n"

    with database.session_scope() as session:
        taken = take_in(session, answer.format(letters(session)[0]["Message-ID"]).encode(), [], desk, NOW)

    assert (taken.outcome, taken.ticket_number) == ("quarantined", None)
    assert taken.reason == "answers a notice about a messenger account"


async def test_a_notice_that_bounces_is_noted_and_nothing_more(database, desk, link, tap) -> None:
    await tap(link)
    report = (
        "From: MAILER-DAEMON@example.org\nTo: support@jeans.example\nMessage-ID: <2@example.org>\nReturn-Path: <>\n\n"
        "Status: 5.1.1\nDiagnostic-Code: smtp; 550 no such mailbox\n\n{}\n"
    )

    with database.session_scope() as session:
        taken = take_in(session, report.format(letters(session)[0]["Message-ID"]).encode(), [], desk, NOW)

    assert (taken.outcome, taken.ticket_number, "550" in taken.reason) == ("bounce", None, True)
    assert len(sent(database)) == 1
