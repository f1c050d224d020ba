"""A code that is typed in the chat is taken out of the message; every other number goes its way."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email import message_from_bytes, policy

import pytest
from sqlalchemy import select

from bot.claims import ClaimLost
from bot.codes import HIDDEN, take_code
from bot.models import InboxItem, OutboxItem
from handoff.case import Case
from handoff.crm.port import Customer, Order
from handoff.identity import Requester
from handoff.models import Binding, BindingCode, LetterOut
from handoff.tickets import open_ticket

ORDER = "471655"


@pytest.fixture
def code(database, desk):
    """The code in the letter about a case that web:a has opened."""
    customer = Customer("c-1", "Maria", "en", frozenset({"maria@mail.example"}))
    requester = Requester(customer, Order(ORDER, "c-1", ORDER), "maria@mail.example")
    case = Case("k0", "web:a", "web", "en", "", "case/delay", "A late order", (), None, None, None)
    with database.session_scope() as session:
        open_ticket(session, case, requester, desk, datetime.now(UTC))
        raw = session.scalars(select(LetterOut.raw).where(LetterOut.audience == "customer")).one()
    text = message_from_bytes(raw, policy=policy.default).get_body(("plain",)).get_content()
    return re.search(r"the code (\d{6})", text)[1]


@pytest.fixture
def typed(database, desk, notices, arrived):
    """Types something: whether that was all, what the bot says at once, and what the inbox keeps."""

    def take(text, sender_id="web:a", **fields):
        item = arrived(text, sender_id, **fields)
        with database.session_scope() as session:
            alone = take_code(session, item, "here:1:a", desk, notices, datetime.now(UTC))
        with database.session_scope() as session:
            said = session.scalars(select(OutboxItem.purpose).where(OutboxItem.purpose.endswith(f":{item.id}"))).all()
            row = session.get_one(InboxItem, item.id)
            assert row.text == item.text
            assert (row.state == "answered") == alone
            return alone, [purpose.partition(":")[0] for purpose in said], row.text

    return take


def bound(database):
    with database.session_scope() as session:
        return [binding.sender_id for binding in session.scalars(select(Binding))]


@pytest.mark.parametrize("form", ["{}", "код {}", "Вот код из письма: {}.", "the code is {}", "It's {}"])
def test_a_code_alone_is_answered_at_once(database, code, typed, form):
    """However people hand it over."""
    assert typed(form.format(code)) == (True, ["code_fits"], form.format(HIDDEN))
    assert bound(database) == ["web:a"]


def test_a_code_is_taken_only_by_the_service_that_answers_the_message(database, code, desk, notices, arrived):
    """The other one binds the conversation, and says so once."""
    item = arrived(code)
    with database.session_scope() as session:
        session.get_one(InboxItem, item.id).claimed_by = "there:1:b"

    with pytest.raises(ClaimLost), database.session_scope() as session:
        take_code(session, item, "here:1:a", desk, notices, datetime.now(UTC))
    assert bound(database) == []


@pytest.mark.parametrize("gap", [" ", "-"])
def test_a_code_may_have_a_gap(database, code, typed, gap):
    assert typed(f"{code[:3]}{gap}{code[3:]}") == (True, ["code_fits"], HIDDEN)


def test_words_beside_a_code_are_not_lost(database, code, typed):
    """The rest is a message like any other, and Rasa gets it without the code."""
    text = f"код {code}, а где мой заказ {ORDER}?"

    assert typed(text) == (False, ["code_fits"], f"код {HIDDEN}, а где мой заказ {ORDER}?")
    assert bound(database) == ["web:a"]


@pytest.mark.parametrize(
    "text",
    [
        "471655",
        "заказ 471655",
        "Order 471 655, where is it?",
        "почтовый код 190000",
        "промокод 123456 не работает",
        "+7 921 123-45-67",
        "12.11.2026 123456,50",
        "m123456@mail.example",
        "My jeans are too tight",
        "код",
    ],
)
def test_every_other_number_goes_its_way(database, code, typed, text):
    """Six digits are an order number in most shops; only what says it is a code, and nothing else, is one."""
    assert typed(text) == (False, [], text)


@pytest.mark.parametrize("text", ["код {}", "My code is {}!", "Мой код: {}"])
def test_a_wrong_code_says_only_that_it_does_not_fit(database, code, typed, text):
    """Mistyped, used, too late, for another chat, or never given to anybody: one answer."""
    wrong = f"{(int(code) + 1) % 10**6:06}"
    live = typed(text.format(wrong))
    nobody = typed(text.format(wrong), "web:stranger")
    with database.session_scope() as session:
        session.delete(session.scalars(select(BindingCode)).one())

    assert live == nobody == typed(text.format(code), key="late") == (True, ["code_wrong"], text.format(HIDDEN))
    assert bound(database) == []


def test_a_number_on_a_button_is_no_code(database, code, typed):
    """What a button says comes from us."""
    assert typed(code, kind="start")[0] is False
    assert bound(database) == []


def test_guesses_that_do_not_say_they_are_count_all_the_same(database, code, typed):
    """A bare number could be an order; five of them are as many tries."""
    for step in range(1, 6):
        assert typed(f"{(int(code) + step) % 10**6:06}")[0] is False

    assert typed(code) == (False, [], code)
