"""The code in the confirmation binds the chat that opened the case, once; a guess never does."""

from __future__ import annotations

import re
import secrets
from datetime import timedelta

import pytest
from handoff_cases import NOW, a_case, body, letters, maria
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.orm import Session

from handoff.codes import CODE_LASTS, MOST_TRIES, try_codes
from handoff.desk import Desk
from handoff.identity import Requester, binding_of
from handoff.limits import CONFIRMATIONS_PER_ADDRESS, DAY
from handoff.links import bind_conversation, forget, revoke
from handoff.models import Binding, BindingCode, Ticket
from handoff.ownership import dispute_ticket
from handoff.tickets import open_ticket

SENDER = "telegram:7"
MINUTE = timedelta(minutes=1)


def code_in(session: Session) -> str:
    """The code in the newest confirmation."""
    found = re.findall(r"\b\d{6}\b", body(letters(session, "customer")[-1]))
    assert len(found) == 1
    return str(found[0])


def wrong(code: str, step: int = 1) -> str:
    return f"{(int(code) + step) % 10**6:06}"


@pytest.fixture
def attempt(session: Session, desk: Desk):
    """Types codes in a conversation, each time in a new message."""

    def type_codes(*codes: str, sender_id: str = SENDER, now=NOW + MINUTE, key: str = ""):
        return try_codes(session, sender_id, codes, key or secrets.token_hex(8), desk, now)

    return type_codes


def test_the_code_binds_the_chat_to_the_mailbox_that_it_was_sent_to(session: Session, opened: Ticket, attempt) -> None:
    """Same effect as a personal link: the conversation is known, and a letter tells the customer and can undo it."""
    binding, code = attempt(code_in(session))

    assert binding_of(session, SENDER, NOW + MINUTE) is binding
    assert (binding.customer_id, binding.registered_address) == ("c-1", "maria@example.com")
    notice = letters(session, "customer")[-1]
    assert notice["To"] == "maria@example.com"
    assert "Кодом из нашего письма" in body(notice)
    assert f"/unlink/{binding.id}." in body(notice)
    assert code not in body(notice)


def test_the_code_is_said_in_both_parts_of_the_letter(session: Session, opened: Ticket) -> None:
    """Some people read plain text, some HTML; agents are not told it."""
    [confirmation] = letters(session, "customer")
    code = code_in(session)

    assert code in body(confirmation, "html")
    assert all(code not in body(letter) for letter in letters(session, "agents"))


def test_nothing_but_a_keyed_hash_of_the_code_is_kept(session: Session, opened: Ticket) -> None:
    """A plain hash of six digits is undone in a second."""
    row = session.scalars(select(BindingCode)).one()

    assert code_in(session) not in row.code_hash
    assert len(row.code_hash) == 64


def test_a_code_works_once(session: Session, opened: Ticket, attempt) -> None:
    code = code_in(session)
    first, _ = attempt(code)
    session.delete(first)

    assert attempt(code) is None


def test_a_code_works_in_its_own_chat_only(session: Session, opened: Ticket, attempt) -> None:
    """Whoever talks a customer out of his code needs the customer's chat as well."""
    assert attempt(code_in(session), sender_id="telegram:8") is None


def test_a_code_ends_after_a_day(session: Session, opened: Ticket, attempt) -> None:
    assert attempt(code_in(session), now=NOW + CODE_LASTS + MINUTE) is None


def test_a_new_code_ends_the_old_one(session: Session, opened: Ticket, attempt, desk: Desk) -> None:
    """Several letters must not add up to more chances."""
    old = code_in(session)
    open_ticket(session, a_case("2", topic="case/refund"), maria(), desk, NOW)
    new = code_in(session)

    assert old == new or attempt(old) is None
    assert attempt(new) is not None


def test_after_five_tries_even_the_right_code_is_wrong(session: Session, opened: Ticket, attempt) -> None:
    code = code_in(session)
    for step in range(1, MOST_TRIES + 1):
        assert attempt(wrong(code, step)) is None

    assert attempt(code) is None


def test_many_codes_in_one_message_are_as_many_tries(session: Session, opened: Ticket, attempt) -> None:
    """Four thousand characters hold hundreds of guesses."""
    code = code_in(session)

    assert attempt(*(wrong(code, step) for step in range(1, MOST_TRIES + 1)), code) is None


def test_a_message_that_is_tried_again_costs_one_try(session: Session, opened: Ticket, attempt) -> None:
    """While the engine is away, the same message is taken up every few seconds."""
    code = code_in(session)
    for _ in range(20):
        assert attempt(wrong(code), key="telegram:7:12") is None

    assert attempt(code) is not None


def test_a_disputed_chat_is_not_bound(session: Session, opened: Ticket, attempt, desk: Desk) -> None:
    """ "This was not me" stands below the code in the same letter."""
    dispute_ticket(session, opened.number, desk, NOW)

    assert attempt(code_in(session)) is None
    assert session.scalars(select(Binding)).all() == []


@pytest.mark.parametrize("end", ["forget", "revoke"])
def test_whoever_ends_a_binding_ends_its_code(session: Session, opened: Ticket, attempt, desk: Desk, end: str) -> None:
    """A code that was in a letter before must not bring back what either side has ended."""
    customer = maria().customer
    binding = bind_conversation(session, customer, SENDER, "telegram", "link", desk, NOW)
    assert binding is not None
    if end == "forget":
        forget(session, SENDER)
    else:
        revoke(session, binding, desk, NOW)

    assert session.scalars(select(BindingCode)).all() == []
    assert binding_of(session, SENDER, NOW) is None


def test_a_bound_chat_gets_no_code(session: Session, opened: Ticket, attempt, desk: Desk) -> None:
    """There is nothing left to prove, and a code that nobody needs is one that can be stolen."""
    attempt(code_in(session))

    open_ticket(session, a_case("2", topic="case/refund"), maria(), desk, NOW + MINUTE)

    assert re.findall(r"\b\d{6}\b", body(letters(session, "customer")[-1])) == []


def test_an_unverified_ticket_makes_no_code(session: Session, desk: Desk) -> None:
    open_ticket(session, a_case(), None, desk, NOW)

    assert session.scalars(select(BindingCode)).all() == []


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(guess=st.text(max_size=12) | st.from_regex(r"[0-9٠-٩０-９]{6}", fullmatch=True))
def test_a_guess_never_passes(session: Session, desk: Desk, guess: str) -> None:
    """Whatever is typed: only the code itself is the code."""
    savepoint = session.begin_nested()
    open_ticket(session, a_case(secrets.token_hex(8), topic="case/guess"), maria(), desk, NOW)

    bound = try_codes(session, SENDER, [guess], secrets.token_hex(8), desk, NOW)

    assert bound is None or guess == code_in(session)
    savepoint.rollback()


def test_guessing_is_hopeless() -> None:
    """The arithmetic of docs/decisions/0015-privacy.md: less than one in 30,000 a day for whoever knows the pair."""
    letters_a_day = dict(CONFIRMATIONS_PER_ADDRESS)[DAY]

    assert letters_a_day * MOST_TRIES / 10**6 <= 1 / 30_000


def test_the_letter_goes_where_the_crm_says(session: Session, desk: Desk) -> None:
    """The code proves the registered mailbox because it never goes anywhere else."""
    requester = maria()
    other = Requester(requester.customer, requester.order, "m.kovaleva@example.org")
    open_ticket(session, a_case(claimed_address="evil@example.net"), other, desk, NOW)

    assert [letter["To"] for letter in letters(session, "customer")] == ["m.kovaleva@example.org"]
