"""Who answers: agents through us, or a desk that takes the ticket over."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from email.message import EmailMessage

import pytest
from handoff_cases import NOW, PNG, RecordedNotices, a_case, body, fill_crm, letters, maria
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from handoff.case import Line
from handoff.crm.port import Customer, Order
from handoff.desk import Desk
from handoff.files import keep_file
from handoff.identity import Requester
from handoff.mail.addresses import read_reply_address
from handoff.mail.inbound import take_in
from handoff.mail.modes import ExternalMode, ModeName, mode_named
from handoff.ownership import assign_requester, dispute_ticket
from handoff.settings import Settings
from handoff.tickets import add_to_ticket, open_ticket

LATER = NOW + timedelta(minutes=10)

#: What suppresses or suspends a letter in other desks: mark it, and no agent sees the case.
AUTOMATIC = ("Auto-Submitted", "X-Auto-Response-Suppress", "Precedence")


@pytest.fixture
def external(desk: Desk) -> Desk:
    return replace(desk, mode=ExternalMode())


def a_letter(sender: str, to: str, text: str) -> bytes:
    letter = EmailMessage()
    letter["From"], letter["To"], letter["Message-ID"] = sender, to, "<1@mail.example>"
    letter.set_content(text)
    return letter.as_bytes()


def test_another_desk_takes_the_customer_for_the_requester(session: Session, external: Desk) -> None:
    """Reply-To is what desks read; a From of the customer's would be a forgery, and refused as one (SPF, DMARC)."""
    open_ticket(session, a_case(urgent_for="anger"), maria(), external, NOW)

    to_desk, _ = letters(session)
    assert to_desk["Reply-To"] == "maria@example.com"
    assert to_desk["From"] == '"Мария (Telegram)" <support@jeans.example>'
    assert to_desk["To"] == "agents@jeans.example"
    assert to_desk["X-Handoff-Requester"] == "maria@example.com"
    assert (to_desk["X-Handoff-Ticket"], to_desk["X-Handoff-Verified"], to_desk["X-Priority"]) == ("1001", "no", "1")
    assert [to_desk[name] for name in AUTOMATIC] == [None, None, None]
    for kind in ("plain", "html"):
        text = body(to_desk, kind)
        assert "сразу на maria@example.com" in text
        assert "выше этой строки" not in text
        assert "/close" not in text


def test_the_desk_mode_says_that_a_program_wrote(session: Session, desk: Desk) -> None:
    """No out-of-office program of an agent answers the customer."""
    open_ticket(session, a_case(), maria(), desk, NOW)

    assert [letter["Auto-Submitted"] for letter in letters(session)] == ["auto-generated", "auto-generated"]


def test_another_desk_may_quote_the_letter_so_suggestions_are_not_in_it(session: Session, external: Desk) -> None:
    """It shows the letter as the customer's own and quotes it in what it sends him; an attachment stays behind."""
    open_ticket(session, a_case(), maria(), external, NOW)

    to_desk, to_customer = letters(session)
    (note,) = to_desk.iter_attachments()
    assert note.get_filename() == "for-agents-1001.txt"
    assert "частичный возврат денег (правило: задержка)" in note.get_content()
    assert "частичный возврат" not in body(to_desk) + body(to_desk, "html")
    assert not list(to_customer.iter_attachments())


def test_what_comes_later_reaches_the_desk_in_the_same_thread(session: Session, external: Desk) -> None:
    """Photos, anger and "this was not me" still come through us; subject and References keep them together."""
    number = open_ticket(session, a_case(), maria(), external, NOW).number
    photo = keep_file(session, external.data_dir, "telegram:7", PNG, "update:9", LATER)
    add_to_ticket(session, number, "Ну сколько можно!", [photo], "update:9", external, LATER, urgent_for="anger")
    dispute_ticket(session, number, external, LATER)

    first, angry, disputed = letters(session, "agents")
    assert angry["X-Priority"] == "1"
    assert [file.get_filename() for file in angry.iter_attachments()] == ["photo-GW-48213-1.png"]
    for letter in (angry, disputed):
        assert letter["Reply-To"] == "maria@example.com"
        assert first["Message-ID"] in letter["References"]
        # Zammad joins by References only if the subject without "Re:" is the first letter's.
        assert letter["Subject"] == f"Re: {first['Subject']}"
        assert [letter[name] for name in AUTOMATIC] == [None, None, None]


def test_a_reply_to_our_confirmation_is_passed_on_to_the_desk(
    session: Session, external: Desk, notices: RecordedNotices
) -> None:
    """It comes to us, so that it proves the mailbox and lands in the thread that the desk knows."""
    number = open_ticket(session, a_case(), maria(), external, NOW).number
    first, confirmation = letters(session)
    assert read_reply_address(external.signing_key, confirmation["Reply-To"]) == (number, "customer")

    taken = take_in(
        session, a_letter("maria@example.com", confirmation["Reply-To"], "И ещё вопрос"), [], external, LATER
    )

    assert (taken.outcome, taken.author) == ("threaded", "customer")
    passed_on = letters(session, "agents")[-1]
    assert passed_on["Reply-To"] == "maria@example.com"
    assert passed_on["In-Reply-To"] == first["Message-ID"]
    assert passed_on["X-Handoff-Verified"] == "yes"
    assert "И ещё вопрос" in body(passed_on)
    assert notices.announced == []


def test_an_unverified_ticket_comes_back_to_us_until_it_has_an_owner(session: Session, external: Desk) -> None:
    """The claimed address may be anybody's, so nobody's desk writes to it: the answer waits, as in the desk mode."""
    fill_crm(session)
    number = open_ticket(session, a_case(), None, external, NOW).number
    (to_desk,) = letters(session)
    assert read_reply_address(external.signing_key, to_desk["Reply-To"]) == (number, "agents")
    assert to_desk["X-Handoff-Requester"] is None
    assert "support assign 1001" in body(to_desk)
    take_in(session, a_letter("desk@other.example", to_desk["Reply-To"], "Отправим завтра."), [], external, LATER)

    assign_requester(session, number, maria().customer, maria().order, external, LATER)

    _, found = letters(session, "agents")
    assert found["Reply-To"] == "maria@example.com"
    assert "Отправим завтра." in body(letters(session, "customer")[-1])


def test_other_desks_have_an_address_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A letter from an address to itself would be taken for our own and left lying."""
    monkeypatch.setenv("AGENTS_ADDRESS", "Support@jeans.example")
    with pytest.raises(ValueError, match="AGENTS_ADDRESS"):
        Settings(_env_file=None, handoff_mode="external")


#: Whatever people type: line breaks, quotes, directions, halves of characters, and far too much of it.
wild = st.text(max_size=300) | st.sampled_from(
    [
        'x"\r\nBcc: everybody@evil.example\r\n\r\nhello',
        "evil@evil.example",
        '"Admin" <evil@evil.example>, x@evil.example',
        "=?utf-8?q?Reply-To=3A_evil=40evil.example?=",
        "\u202eelpmaxe@live\u202c",
        "مرحبا " * 40,
        "Ж" * 900,
        "a\0b\ud83d",
    ]
)


@pytest.mark.parametrize("mode", ["desk", "external"])
@given(name=wild, title=wild, said=wild, claimed=wild, registered_name=wild, shown=wild, known=st.booleans())
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_nobody_chooses_where_our_letters_go(
    session: Session,
    desk: Desk,
    mode: ModeName,
    name: str,
    title: str,
    said: str,
    claimed: str,
    registered_name: str,
    shown: str,
    known: bool,
) -> None:
    """From is ours, To the agents or the registered address, Reply-To ours or, externally, the registered address."""
    desk = replace(desk, mode=mode_named(mode))
    case = a_case(
        display_name=name,
        topic_title=title,
        transcript=(Line("customer", said, NOW),),
        own_words=said,
        claimed_order=claimed,
        claimed_address=claimed,
        urgent_for="anger",
    )
    order = Order("1", "c-1", shown, status=said, item=said, sum=said, address=said)
    customer = Customer("c-1", registered_name, "ru", frozenset({"maria@example.com"}))
    requester = Requester(customer, order, "maria@example.com") if known else None

    with session.begin_nested() as attempt:
        number = open_ticket(session, case, requester, desk, NOW).number
        add_to_ticket(session, number, said, [], "again", desk, LATER)
        sent = letters(session)
        attempt.rollback()

    to_agents = [letter for letter in sent if letter["To"] == "agents@jeans.example"]
    assert len(to_agents) == 2
    assert len(sent) == (3 if known else 2)
    for letter in sent:
        assert letter["From"].addresses[0].addr_spec == "support@jeans.example"
        assert len(letter["From"].addresses) == 1
        assert set(letter.keys()) & {"Bcc", "Cc", "Sender", "Resent-To"} == set()
        assert letter["To"] in ("agents@jeans.example", "maria@example.com")
        past_us = mode == "external" and known and letter in to_agents
        if past_us:
            assert letter["Reply-To"] == "maria@example.com"
        else:
            audience = "agents" if letter in to_agents else "customer"
            assert read_reply_address(desk.signing_key, letter["Reply-To"]) == (number, audience)
        assert letter["Subject"].removeprefix("Re: ").startswith(f"[#{number}]")
        assert body(letter)
        assert body(letter, "html")
