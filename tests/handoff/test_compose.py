"""Letters as their readers get them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from handoff_cases import NOW, a_case, body, letters, maria
from sqlalchemy import select
from sqlalchemy.orm import Session

from handoff.case import Line
from handoff.crm.port import Customer
from handoff.desk import Desk
from handoff.mail.compose import MAX_ATTACHED_BYTES, Attachment, one_line, split_attachments
from handoff.models import LetterOut
from handoff.tickets import open_ticket

EVIL = 'Маша"\r\nBcc: everybody@example.com\r\n\r\n<script>alert(1)</script>\u202egnp.exe'


def test_the_agents_letter_carries_what_programs_rely_on(session: Session, desk: Desk) -> None:
    """The header fields are a contract with the agents' mail programs and with checks from outside."""
    open_ticket(session, a_case(urgent_for="anger"), maria(), desk, NOW)

    letter = letters(session, "agents")[0]
    assert letter["From"] == '"Мария (Telegram)" <support@jeans.example>'
    assert letter["To"] == "agents@jeans.example"
    assert letter["Reply-To"].startswith("support+t1001.")
    assert letter["Subject"] == "[#1001] Задержка заказа · GW-48213"
    assert letter["X-Handoff-Ticket"] == "1001"
    assert letter["X-Handoff-Requester"] == "maria@example.com"
    assert letter["X-Handoff-Verified"] == "no"
    assert letter["X-Handoff-Channel"] == "telegram"
    assert letter["X-Priority"] == "1"
    assert letter["Auto-Submitted"] == "auto-generated"
    assert letter["Date"].datetime == NOW
    assert letter["In-Reply-To"] is None


@pytest.mark.parametrize("topic", ["cancel", "refund", "address_change", "account_delete"])
@pytest.mark.parametrize(
    ("language", "caution"),
    [
        ("ru", "отмена, возврат, смена адреса и удаление кабинета только после него"),
        ("en", "cancel, refund, change the address or delete the account only after one has"),
    ],
)
def test_what_costs_money_or_data_is_only_asked_for_in_a_chat(
    session: Session, desk: Desk, topic: str, language: str, caution: str
) -> None:
    """Whoever knows number and address is not yet the customer: the agent is told what to wait for, in both parts."""
    of_agents = replace(desk, shop=replace(desk.shop, language=language))
    open_ticket(session, a_case(topic=f"case/{topic}"), maria(), of_agents, NOW)

    letter = letters(session, "agents")[0]
    assert letter["X-Handoff-Verified"] == "no"
    assert caution in body(letter)
    assert caution in body(letter, "html")


def test_the_agents_letter_says_first_what_an_agent_needs_in_ten_seconds(session: Session, desk: Desk) -> None:
    """Who, which order, what, since when, promised when, how to answer; the conversation comes last."""
    open_ticket(session, a_case(), maria(), desk, NOW)

    text = body(letters(session, "agents")[0])
    wanted = [
        "Мария Ковалёва (Telegram, «Маша»)",
        "GW-48213, в пути",
        "Задержка заказа",
        "«Где мои джинсы? Обещали восемнадцатого»",
        "20.11.2026 15:20",
        "в пятницу, 20 ноября, до 16:20",
        "отмена, возврат, смена адреса и удаление кабинета только после него",
        "уйдёт на maria@example.com от имени «Анна, Getwear»",
        "Москва, Тверская 1",
        "Можно предложить: частичный возврат денег (правило: задержка). Покупателю об этом не говорили",
        "[20.11.2026 15:20] Покупатель: Где мои джинсы? Обещали восемнадцатого",
        "[20.11.2026 15:20] Бот: Простите, что ждёте. Какой номер заказа?",
    ]
    places = [text.find(part) for part in wanted]
    assert -1 not in places
    assert places == sorted(places)


def test_the_confirmation_holds_nothing_that_was_typed_in_the_conversation(session: Session, desk: Desk) -> None:
    """Or we would carry a stranger's text to a customer under our name (relay spam)."""
    case = a_case(
        display_name="SPAM-NAME buy.example",
        transcript=(Line("customer", "SPAM-TEXT http://buy.example", NOW),),
        claimed_order="SPAM-ORDER",
        claimed_address="SPAM@ADDRESS.example",
    )
    open_ticket(session, case, maria(), desk, NOW)

    (letter,) = letters(session, "customer")
    assert "SPAM" not in letter.as_string()
    assert "SPAM" not in body(letter) + body(letter, "html")


def test_the_confirmation_says_everything_a_customer_wants_to_know(session: Session, desk: Desk) -> None:
    """An apology, the number, who answers, by when, and a way out for somebody who did not write."""
    open_ticket(session, a_case(), maria(), desk, NOW)

    (letter,) = letters(session, "customer")
    assert letter["From"] == '"Анна, Getwear" <support@jeans.example>'
    assert letter["Auto-Submitted"] == "auto-generated"
    assert letter["X-Handoff-Requester"] is None
    for text in (body(letter), body(letter, "html")):
        for part in ("Мария, здравствуйте!", "Простите", "№1001", "GW-48213", "Анна", "в пятницу, 20 ноября, до 16:20"):
            assert part in text
        assert "https://jeans.example/not-me/1001." in text


def test_names_cannot_break_out_of_their_header_or_into_the_page(session: Session, desk: Desk) -> None:
    """A messenger's display name is the easiest text to control from outside."""
    open_ticket(session, a_case(display_name=EVIL, claimed_order=EVIL, claimed_address=EVIL), None, desk, NOW)

    (letter,) = letters(session)
    assert letter["Bcc"] is None
    assert letter["From"].addresses[0].addr_spec == "support@jeans.example"
    assert len(letter["From"].addresses) == 1
    assert "\u202e" not in letter["Subject"] + letter["From"] + body(letter)
    assert "<script>" not in body(letter, "html")


def test_a_registered_name_cannot_break_out_either(session: Session, desk: Desk) -> None:
    """CRM names are typed by customers, too."""
    requester = replace(maria(), customer=Customer("c-1", EVIL, "ru", frozenset({"maria@example.com"})))
    open_ticket(session, a_case(), requester, desk, NOW)

    for letter in letters(session):
        assert letter["Bcc"] is None
        assert "<script>" not in body(letter, "html")


@pytest.mark.parametrize("text", ["<b>жирный</b>\nвторая строка", "a & b"])
def test_chat_text_is_text_in_the_page(session: Session, desk: Desk, text: str) -> None:
    """What customers type is shown, never obeyed."""
    open_ticket(session, a_case(transcript=(Line("customer", text, NOW),)), maria(), desk, NOW)

    letter = letters(session, "agents")[0]
    assert text in body(letter)
    assert "<b>жирный" not in body(letter, "html")


def test_every_line_is_short_ascii(session: Session, desk: Desk) -> None:
    """RFC 5322 2.1.1: some servers cut or refuse lines over 998 octets; not every one takes 8 bit."""
    open_ticket(session, a_case(transcript=(Line("customer", "ж" * 5000, NOW),)), maria(), desk, NOW)

    for row in session.scalars(select(LetterOut)):
        assert row.raw.isascii()
        assert max(map(len, row.raw.split(b"\r\n"))) <= 998
        assert b"\n" not in row.raw.replace(b"\r\n", b"")


def test_files_that_do_not_fit_are_named_instead() -> None:
    """A letter over 25 MB would bounce, and with it the case."""
    small, large = (
        Attachment("a.png", "image/png", b"1"),
        Attachment("b.pdf", "application/pdf", b"0" * MAX_ATTACHED_BYTES),
    )

    assert split_attachments([small, large]) == ([small], ["b.pdf"])


def test_one_line_has_no_control_characters() -> None:
    """Line breaks, direction marks and zero-width characters go."""
    assert one_line("a\r\n b\u2028c\u202ed\x00", 100) == "a b c d"
