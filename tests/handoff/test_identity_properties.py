"""Whatever people type: only a true pair identifies, and letters go to the CRM's addresses and ours alone."""

from __future__ import annotations

import asyncio

from handoff_cases import NOW, a_case, fill_crm, letters, maria
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete
from sqlalchemy.orm import Session

from handoff.case import Line
from handoff.crm.sql import SqlCrm
from handoff.database import Database
from handoff.desk import Desk
from handoff.identifiers import normalise_address, normalise_order_number
from handoff.identity import identify
from handoff.mail.addresses import read_reply_address
from handoff.models import Claim
from handoff.tickets import add_to_ticket, open_ticket

#: What the CRM holds (`fill_crm`).
PAIRS = {("GW48213", "maria@example.com"), ("GW48213", "m.kovaleva@example.org"), ("50777", "peter@example.com")}
REGISTERED = {address for _, address in PAIRS}

#: Near misses find more than noise does.
ORDERS = st.sampled_from(["GW-48213", "№ gw 48213", "48213", "50777", "507770", "0050777", "GW"]) | st.text(max_size=12)
ADDRESSES = (
    st.sampled_from(["maria@example.com", "MARIA@EXAMPLE.COM", "maria@example.co", "peter@example.com", "@", "maria"])
    | st.emails()
    | st.text(max_size=30)
)

on_one_database = settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def test_only_a_pair_that_the_crm_holds_identifies(database: Database) -> None:
    """A guess never passes, and nothing that is typed breaks the look-up."""
    with database.session_scope() as session:
        fill_crm(session)

    @on_one_database
    @given(order=ORDERS, address=ADDRESSES)
    def claim(order: str, address: str) -> None:
        order, address = order.replace("\0", ""), address.replace("\0", "")  # PostgreSQL takes none; see `clean_text`
        with database.session_scope() as session:
            session.execute(delete(Claim))

        found = asyncio.run(identify(database, SqlCrm(database), "telegram:7", order, address, NOW))

        assert (found is not None) == ((normalise_order_number(order), normalise_address(address)) in PAIRS)
        assert found is None or found.registered_address in REGISTERED

    claim()


@on_one_database
@given(
    claimed=ADDRESSES,
    name=st.text(max_size=60) | st.just("a@b.example>\r\nBcc: evil@example.net"),
    words=st.text(max_size=60) | st.just("\nTo: evil@example.net\n\nhello"),
    known=st.booleans(),
)
def test_letters_go_to_the_crms_addresses_and_ours_alone(
    session: Session, desk: Desk, claimed: str, name: str, words: str, known: bool
) -> None:
    """Whatever a chat calls itself, types or claims: no header of a letter holds an address that it has brought in."""
    savepoint = session.begin_nested()
    case = a_case(display_name=name, claimed_address=claimed, transcript=(Line("customer", words, NOW),))
    number = open_ticket(session, case, maria() if known else None, desk, NOW).number
    add_to_ticket(session, number, words, [], "added", desk, NOW)

    for letter in letters(session):
        to_agents = letter["To"] == desk.agents_address
        assert to_agents or (known and letter["To"] == "maria@example.com")
        assert read_reply_address(desk.signing_key, str(letter["Reply-To"]).upper()) == (
            number,
            "agents" if to_agents else "customer",
        )
        assert letter["From"].addresses[0].addr_spec == desk.support_address
        assert letter["Cc"] is None
        assert letter["Bcc"] is None
    savepoint.rollback()
