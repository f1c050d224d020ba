"""How a letter that comes in is judged."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from email import policy
from email.message import EmailMessage

import pytest
from handoff_cases import NOW, PNG, RecordedNotices, a_case, body, letters
from sqlalchemy import select
from sqlalchemy.orm import Session

from handoff.desk import Desk
from handoff.mail import inbound
from handoff.mail.inbound import MAX_LETTER_BYTES, take_in
from handoff.models import LetterIn, Ticket, TicketEntry
from handoff.tickets import open_ticket

LATER = NOW + timedelta(minutes=30)


@pytest.fixture
def arrive(session: Session, desk: Desk) -> Callable[..., LetterIn]:
    """Take in a letter made from its headers and text."""

    def take(text: str = "Готово, отправили.", recipients: tuple[str, ...] = (), **headers: str) -> LetterIn:
        return take_in(session, a_letter(text, **headers).as_bytes(), list(recipients), desk, LATER)

    return take


def a_letter(text: str, **headers: str) -> EmailMessage:
    letter = EmailMessage()
    headers = {"from_": "Ольга <olga@jeans.example>", "to": "support@jeans.example", "message_id": "<1@x>"} | headers
    for name, value in headers.items():
        letter[name.strip("_").replace("_", "-").title()] = value
    letter.set_content(text)
    return letter


def entries(session: Session, author: str) -> list[str]:
    return list(session.scalars(select(TicketEntry.text).where(TicketEntry.author == author)))


def test_an_agents_reply_goes_to_the_registered_address(
    session: Session, opened: Ticket, reply_to, arrive, notices: RecordedNotices
) -> None:
    """From the support address under the agent's name, in the thread of the confirmation, as a person's letter."""
    letter = arrive("Отправили сегодня.\n\nОльга", to=reply_to("agents"))

    assert (letter.outcome, letter.author, letter.ticket_number) == ("threaded", "agent", opened.number)
    confirmation, answer = letters(session, "customer")
    assert answer["To"] == "maria@example.com"
    assert answer["From"] == '"Анна, Getwear" <support@jeans.example>'
    assert answer["Subject"] == "Re: [#1001] Задержка заказа · GW-48213"
    assert answer["In-Reply-To"] == confirmation["Message-ID"]
    assert answer["References"] == confirmation["Message-ID"]
    assert answer["Reply-To"] == reply_to("customer")
    assert answer["Auto-Submitted"] is None
    assert "Отправили сегодня.\n\nОльга" in body(answer)
    assert "olga@jeans.example" not in answer.as_string()
    assert opened.first_answer_at == LATER
    assert notices.announced == [(opened.number, "answer_sent")]


@pytest.mark.parametrize("where", ["envelope", "Delivered-To", "X-Original-To", "Cc"])
def test_the_signed_address_is_found_wherever_a_server_puts_it(opened: Ticket, reply_to, arrive, where: str) -> None:
    """Mail servers rewrite To; the others survive."""
    address = reply_to("agents").upper()

    letter = arrive(recipients=(address,)) if where == "envelope" else arrive(**{where.replace("-", "_"): address})

    assert (letter.outcome, letter.ticket_number) == ("threaded", opened.number)


def test_a_customers_reply_proves_the_mailbox_and_goes_to_the_agents(
    session: Session, opened: Ticket, reply_to, arrive
) -> None:
    """From now on the ticket is verified, and says so in every letter to the agents."""
    opened.state = "closed"

    letter = arrive("Спасибо, жду.", from_="Maria <MARIA@example.com>", to=reply_to("customer"))

    assert (letter.outcome, letter.author) == ("threaded", "customer")
    assert (opened.verified, opened.state) == (True, "open")
    first, passed_on = letters(session, "agents")
    assert passed_on["In-Reply-To"] == first["Message-ID"]
    assert passed_on["X-Handoff-Verified"] == "yes"
    assert "Спасибо, жду." in body(passed_on)
    assert len(letters(session, "customer")) == 1


def test_an_answer_threads_with_the_customers_last_letter(session: Session, opened: Ticket, reply_to, arrive) -> None:
    """Each side sees one thread of its own, never the ids of the other side's programs."""
    arrive("Вопрос", from_="maria@example.com", to=reply_to("customer"), message_id="<customer-1@mail.example>")
    arrive("Ответ", to=reply_to("agents"), message_id="<agent-1@jeans.example>")

    answer = letters(session, "customer")[-1]
    assert answer["In-Reply-To"] == "<customer-1@mail.example>"
    assert "<agent-1@jeans.example>" not in answer.as_string()


@pytest.mark.parametrize(
    ("side", "sender", "reason"),
    [
        ("customer", "olga@jeans.example", "not from the ticket's registered address"),
        ("customer", "maria@example.com, olga@jeans.example", "not from the ticket's registered address"),
        ("customer", "m.kovaleva@example.org", "not from the ticket's registered address"),
    ],
)
def test_the_customers_address_works_from_the_registered_mailbox_only(
    session: Session, opened: Ticket, reply_to, arrive, side: str, sender: str, reason: str
) -> None:
    """Whoever gets hold of the confirmation cannot speak for the customer, nor an agent by mistake."""
    letter = arrive(from_=sender, to=reply_to(side))

    assert (letter.outcome, letter.author, letter.reason) == ("quarantined", "other", reason)
    assert not opened.verified
    assert len(letters(session)) == 2


def test_the_customers_address_never_makes_an_agent(session: Session, opened: Ticket, reply_to, arrive) -> None:
    """FreeScout CVE-2026-47123: no letter can change sides."""
    letter = arrive("Верните деньги на карту", from_="maria@example.com", to=reply_to("customer"))

    assert letter.author == "customer"
    assert len(letters(session, "customer")) == 1


def test_a_reply_without_the_address_is_found_by_our_message_id(session: Session, opened: Ticket, arrive) -> None:
    """Some programs answer to From; the id is known only to whoever has our letter."""
    name = letters(session, "customer")[0]["Message-ID"]

    letter = arrive("Да", from_="maria@example.com", in_reply_to=name)
    stranger = arrive("Да", from_="evil@example.com", references=f"<z@z> {name}", message_id="<2@x>")

    assert (letter.outcome, letter.author) == ("threaded", "customer")
    assert (stranger.outcome, stranger.author) == ("quarantined", "other")


def test_a_message_id_of_the_agents_letter_makes_nobody_an_agent(session: Session, opened: Ticket, arrive) -> None:
    """Only the signed address does."""
    letter = arrive(in_reply_to=letters(session, "agents")[0]["Message-ID"])

    assert (letter.outcome, letter.ticket_number) == ("quarantined", opened.number)
    assert len(letters(session, "customer")) == 1


def test_a_letter_that_belongs_nowhere_waits_for_a_person(session: Session, opened: Ticket, arrive) -> None:
    """Never dropped, never threaded by the number in its subject."""
    letter = arrive("Где заказ?", from_="maria@example.com", subject="Re: [#1001] Задержка заказа")

    assert (letter.outcome, letter.ticket_number) == ("quarantined", None)
    assert letter.text == "Где заказ?"
    assert letter.raw


def test_the_same_letter_twice_is_one_letter(session: Session, opened: Ticket, reply_to, arrive) -> None:
    """Servers deliver again, with other trace headers; the customer gets one answer."""
    arrive("Готово", to=reply_to("agents"))
    again = arrive("Готово", to=reply_to("agents"), received="from a by b")
    other = arrive("Готово, теперь точно", to=reply_to("agents"))

    assert (again.outcome, other.outcome) == ("duplicate", "threaded")
    assert len(letters(session, "customer")) == 3


def test_a_letter_that_was_packed_anew_on_its_way_is_still_the_same(
    session: Session, desk: Desk, opened: Ticket, reply_to
) -> None:
    """A gateway that scans attachments, or a program that sends again, draws new boundaries and encodes parts anew."""

    def packed(boundary: str, encoding: str) -> bytes:
        letter = EmailMessage(policy=policy.SMTP)
        letter["From"], letter["To"] = desk.agents_address, reply_to("agents")
        letter["Message-ID"] = "<packed@jeans.example>"
        letter.set_content("Готово\n", cte=encoding)
        letter.add_alternative("<p>Готово</p>\n", subtype="html", cte=encoding)
        letter.add_attachment(b"%PDF-1.7", maintype="application", subtype="pdf", filename="a.pdf")
        letter.set_boundary(boundary)
        return letter.as_bytes()

    first = take_in(session, packed("one", "base64"), [], desk, LATER)
    again = take_in(session, packed("two", "quoted-printable"), [], desk, LATER)

    assert (first.outcome, again.outcome) == ("threaded", "duplicate")
    assert len(letters(session, "customer")) == 2


@pytest.mark.parametrize(
    "headers",
    [
        {"auto_submitted": "auto-replied (vacation)"},
        {"auto_submitted": "auto-generated; type=x"},
        {"precedence": "bulk"},
        {"x_autoreply": "yes"},
        {"list_id": "<a.b>"},
        {"from_": "no-reply@jeans.example"},
        {"subject": "Автоответ: в отпуске"},
        {"subject": "Automatic reply: hi"},
        {"return_path": "<>", "auto_submitted": "auto-replied"},
    ],
)
def test_machines_letters_are_kept_but_go_nowhere(
    session: Session, opened: Ticket, reply_to, arrive, headers: dict[str, str]
) -> None:
    """Two out-of-office programs must not talk to each other through us."""
    letter = arrive("Я в отпуске", **({"to": reply_to("agents")} | headers))

    assert letter.outcome == "ignored"
    assert letter.reason.startswith("automatic")
    assert len(letters(session)) == 2


def test_auto_submitted_no_is_a_person(opened: Ticket, reply_to, arrive) -> None:
    """RFC 3834 5: `no` means written by a person."""
    assert arrive(to=reply_to("agents"), auto_submitted="no").outcome == "threaded"


def test_our_own_letters_are_ignored_when_they_come_back(session: Session, desk: Desk, opened: Ticket) -> None:
    """A forwarding rule of the mailbox must not make a loop."""
    for letter in letters(session):
        assert take_in(session, letter.as_bytes(), [], desk, LATER).reason == "our own letter"


def a_bounce(message_id: str, status: str = "5.1.1") -> bytes:
    return f"""Return-Path: <>
From: MAILER-DAEMON@mail.example (Mail Delivery System)
To: support@jeans.example
Subject: Undelivered Mail Returned to Sender
Auto-Submitted: auto-replied
Message-ID: <dsn{status}@mail.example>
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="b"

--b
Content-Type: text/plain

I could not deliver it.
--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mail.example

Final-Recipient: rfc822; maria@example.com
Action: failed
Status: {status}
Diagnostic-Code: smtp; 550 5.1.1 user unknown

--b
Content-Type: message/rfc822

Message-ID: {message_id}
From: support@jeans.example
Subject: x

text
--b--
""".replace("\n", "\r\n").encode()


def test_a_bounce_of_the_customers_letter_is_told_to_the_agents(session: Session, desk: Desk, opened: Ticket) -> None:
    """Or they would wait for an answer from somebody who got nothing."""
    name = letters(session, "customer")[0]["Message-ID"]

    letter = take_in(session, a_bounce(name), [], desk, LATER)

    assert (letter.outcome, letter.ticket_number) == ("bounce", opened.number)
    assert "550 5.1.1 user unknown" in body(letters(session, "agents")[-1])
    assert entries(session, "system")[0] == "bounced: 550 5.1.1 user unknown"


def test_a_bounce_of_an_agents_letter_causes_no_letter(session: Session, desk: Desk, opened: Ticket) -> None:
    """A bounce that is answered by a letter that bounces is a loop."""
    name = letters(session, "agents")[0]["Message-ID"]

    assert take_in(session, a_bounce(name, "4.2.2"), [], desk, LATER).ticket_number == opened.number
    assert len(letters(session)) == 2


def test_a_forged_bounce_changes_nothing(session: Session, desk: Desk, opened: Ticket) -> None:
    """Anybody can write a delivery report; only one that names our letter is believed."""
    letter = take_in(session, a_bounce("<forged@jeans.example>"), [], desk, LATER)

    assert (letter.outcome, letter.ticket_number) == ("bounce", None)
    assert len(letters(session)) == 2


def test_close_on_the_first_line_closes_and_is_not_sent(session: Session, opened: Ticket, reply_to, arrive) -> None:
    """Agents need no console."""
    arrive("/close", to=reply_to("agents"))

    assert opened.state == "closed"
    assert len(letters(session, "customer")) == 1

    arrive("/Close\nХорошего дня!", to=reply_to("agents"), message_id="<2@x>")
    answer = body(letters(session, "customer")[1])
    assert "Хорошего дня!" in answer
    assert "/close" not in answer.lower()


def test_an_unverified_ticket_has_nowhere_to_send_an_answer(session: Session, desk: Desk, arrive) -> None:
    """The answer waits and says what to do; closing works all the same."""
    ticket = session.get_one(Ticket, open_ticket(session, a_case(), None, desk, NOW).number)
    to = letters(session)[0]["Reply-To"]

    letter = arrive(to=to)
    assert (letter.outcome, letter.author) == ("quarantined", "agent")
    assert "support assign 1001" in letter.reason

    arrive("/close", to=to, message_id="<2@x>")
    assert ticket.state == "closed"


def test_attachments_go_on_but_forwarded_letters_do_not(session: Session, desk: Desk, opened: Ticket, reply_to) -> None:
    """A label for the parcel must arrive; our letter to the agents, attached, must not."""
    letter = a_letter("Этикетка", to=reply_to("agents"))
    letter.add_attachment(PNG, maintype="image", subtype="png", filename="этикетка.png")
    letter.add_attachment(a_letter("для сотрудников"))

    kept = take_in(session, letter.as_bytes(), [], desk, LATER)

    (attachment,) = letters(session, "customer")[1].iter_attachments()
    assert (attachment.get_filename(), attachment.get_content()) == ("этикетка.png", PNG)
    assert kept.attachments == 2


def test_an_agents_quotation_never_shows_the_agents_address(session: Session, opened: Ticket, reply_to, arrive) -> None:
    """It would let the customer speak as an agent."""
    arrive(f"Пишите на {reply_to('agents')}", to=reply_to("agents"))

    assert "Пишите на support@jeans.example" in body(letters(session, "customer")[1])


def test_an_agents_reply_with_nothing_new_in_it_is_not_sent(session: Session, opened: Ticket, reply_to, arrive) -> None:
    """An empty letter from support is worse than none; somebody must look."""
    letter = arrive("> только цитата\n> и всё\n", to=reply_to("agents"))

    assert (letter.outcome, letter.author) == ("quarantined", "agent")
    assert len(letters(session, "customer")) == 1


def test_the_registered_address_is_compared_whatever_its_spelling(opened: Ticket, reply_to, arrive) -> None:
    """A CRM may hold capitals."""
    opened.requester = "Maria@Example.com"

    assert arrive(from_="maria@example.com", to=reply_to("customer")).outcome == "threaded"


def deeply_nested() -> bytes:
    head = b"Message-ID: <deep@x>\r\nFrom: a@b.example\r\nContent-Type: multipart/mixed; boundary=b0\r\n\r\n"
    return head + b"".join(
        b"--b%d\r\nContent-Type: multipart/mixed; boundary=b%d\r\n\r\n" % (level, level + 1) for level in range(1500)
    )


@pytest.mark.parametrize(
    ("raw", "outcome"),
    [
        (deeply_nested(), "quarantined"),
        (b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\nx\r\n" * 500, "quarantined"),
        (b"", "quarantined"),
        (b"\xff\xfe\0\0 no letter at all", "quarantined"),
        (
            b"From: =?no-such?q?x?= <a@b>\r\nContent-Type: text/plain; charset=cp-1251\r\n\r\n\xcf\xf0\xe8",
            "quarantined",
        ),
        (b"From: \xff\xff@\xff\r\nMessage-ID: \xff\xff\r\nSubject: \xff\r\nReferences: \xff\r\n\r\n\0", "quarantined"),
        (b"Content-Type: text/html\r\n\r\n<a<b<c", "quarantined"),
        (b"Content-Transfer-Encoding: base64\r\nContent-Type: text/plain\r\n\r\n\xff!!!", "quarantined"),
    ],
)
def test_a_poisonous_letter_is_kept_and_hurts_nobody(session: Session, desk: Desk, raw: bytes, outcome: str) -> None:
    """One letter must never stop the mailbox."""
    letter = take_in(session, raw, [], desk, LATER)

    assert letter.outcome == outcome
    assert letter.raw == raw
    session.flush()
    assert take_in(session, raw, [], desk, LATER).outcome == "duplicate"


def test_whatever_goes_wrong_inside_quarantines_only_that_letter(
    session: Session, desk: Desk, opened: Ticket, reply_to, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of what it did is undone; the letter is kept with its id and sender."""

    def fail(*_: object) -> None:
        raise IndexError("a bug")

    monkeypatch.setattr(inbound, "file_agent_letter", fail)

    letter = take_in(session, a_letter("x", to=reply_to("agents")).as_bytes(), [], desk, LATER)

    assert (letter.outcome, letter.reason) == ("quarantined", "cannot be read: IndexError")
    assert (letter.message_id, letter.from_address) == ("<1@x>", "olga@jeans.example")


def test_a_letter_that_is_too_large_is_kept_by_its_beginning(session: Session, desk: Desk) -> None:
    """Parsing takes ten times its size in memory."""
    letter = take_in(session, b"From: a@b.example\r\n\r\n" + b"x" * MAX_LETTER_BYTES, [], desk, LATER)

    assert (letter.outcome, letter.from_address) == ("quarantined", "a@b.example")
    assert len(letter.raw) < 100_000
