"""Every kind of letter with lively content; `python tests/handoff/gallery.py FOLDER` draws them as mail programs do.

Needs Playwright and Debian's Chromium. Look at the pictures after any change of a template: phone and desktop, light
and dark, and the plain text beside them.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from email.message import EmailMessage
from pathlib import Path

from handoff_cases import NOW, PNG, RecordedNotices, a_case, body, letters, maria
from sqlalchemy.orm import Session

from handoff.bounces import Report, note_bounce
from handoff.case import Case, Line
from handoff.crm.port import Customer, Order
from handoff.database import Database
from handoff.desk import Desk
from handoff.files import keep_file
from handoff.identity import Requester
from handoff.letter_tickets import open_ticket_by_letter
from handoff.mail.inbound import take_in
from handoff.mail.modes import Mode, mode_named
from handoff.mail.posting import post_notice
from handoff.mail.reading import read_letter
from handoff.marks import ask_for_mark, keep_mark
from handoff.models import CrmAddress, CrmCustomer, CrmOrder, LetterOut, Ticket
from handoff.ownership import assign_requester, dispute_ticket, settle_claim
from handoff.promises import keep_promises
from handoff.shop import load_shop
from handoff.tickets import add_to_ticket, open_ticket

SHOP_FILE = Path(__file__).parents[2] / "shop.yml"
LATER = NOW + timedelta(minutes=40)

#: What is drawn: width in pixels, and whether the reader's screen is dark.
VIEWS = [(390, "light"), (1000, "light"), (390, "dark")]


def russian() -> tuple[Case, Requester]:
    """An angry customer whose jeans are two days late."""
    lines = (
        Line(
            "customer", "Здравствуйте! Где мои джинсы?? Обещали 18-го, а сегодня уже двадцатое. Это безобразие!!!", NOW
        ),
        Line("bot", "Простите, что заставили ждать, это наша вина. Подскажите, пожалуйста, номер заказа?", NOW),
        Line("customer", "GW-48213\nпочта m…a@example.com\nвот скрин", NOW + timedelta(minutes=1)),
        Line("bot", "Проверьте: заказ GW-48213, почта m…a@example.com. Всё верно?", NOW + timedelta(minutes=1)),
        Line("customer", "да", NOW + timedelta(minutes=2)),
    )
    requester = maria()
    order = replace(
        requester.order,
        status="delivery",
        item="Джинсы прямые, индиго, на заказ, 32/34, двойная строчка, медная фурнитура",
        sum="8900.00",
        address="190068, Санкт-Петербург, Садовая ул., 54, кв. 12",
        promised_on=date(2026, 11, 18),
        placed_on=date(2026, 10, 24),
    )
    return a_case(urgent_for="anger", transcript=lines, own_words=lines[0].text), replace(requester, order=order)


def english() -> tuple[Case, Requester]:
    """A calm customer who wants to exchange."""
    lines = (
        Line("customer", "My jeans arrived but the waist is far too tight, what now?", NOW),
        Line("bot", "I'm sorry they don't fit. We exchange them for free. What's the order number?", NOW),
        Line("customer", "47731", NOW + timedelta(minutes=1)),
    )
    case = a_case(
        language="en",
        channel="web",
        sender_id="web:abc",
        display_name="",
        topic="case/exchange_my_order",
        topic_title="Exchange my jeans",
        transcript=lines,
        own_words=lines[0].text,
        claimed_order="47731",
        claimed_address="sophie.brown@post.example",
    )
    customer = Customer("c-105", "Sophie Brown", "en", frozenset({"sophie.brown@post.example"}))
    order = Order("47731", "c-105", "47731", "delivered", "High-rise jeans, washed black", "9800.00", "Galway, Ireland")
    return case, Requester(customer, order, "sophie.brown@post.example")


def a_letter(desk: Desk, reply_to: str, sender: str, text: str) -> bytes:
    letter = EmailMessage()
    letter["From"], letter["To"], letter["Message-ID"] = sender, reply_to, f"<{abs(hash((sender, text)))}@mail.example>"
    letter.set_content(text)
    return letter.as_bytes()


def every_letter(session: Session, desk: Desk, language: str) -> Iterator[tuple[str, EmailMessage]]:
    """Name and letter, of each kind that one language of customer causes."""
    case, requester = russian() if language == "ru" else english()
    earlier = replace(
        case, key="0", topic="case/wrong_item", topic_title={"ru": "Не та вещь", "en": "Wrong item"}[language]
    )
    number = open_ticket(session, earlier, requester, desk, NOW - timedelta(days=30)).number
    session.get_one(Ticket, number).state = "closed"
    keep_file(session, desk.data_dir, case.sender_id, PNG, "photo:1", NOW + timedelta(seconds=50))
    begun = len(letters(session))
    number = open_ticket(session, case, requester, desk, LATER).number
    ticket = session.get_one(Ticket, number)
    yield from zip(["ticket", "confirmation"], letters(session)[begun:], strict=True)
    to_agents, confirmation = letters(session)[begun:]

    def newest(name: str) -> tuple[str, EmailMessage]:
        return name, letters(session)[-1]

    photo = keep_file(session, desk.data_dir, case.sender_id, PNG, "photo:2", LATER)
    add_to_ticket(session, number, "https://shop.example/" + "x" * 120, [photo], "1", desk, LATER, urgent_for="anger")
    yield newest("follow_up")
    add_to_ticket(session, number, "", [photo], "2", desk, LATER)
    yield newest("follow_up_photo")
    said = a_letter(desk, confirmation["Reply-To"], requester.registered_address, "Thank you!\n\nI'll be waiting.")
    take_in(session, said, [], desk, LATER)
    yield newest("customer_reply")
    if desk.mode.name == "desk":
        take_in(
            session, a_letter(desk, to_agents["Reply-To"], "olga@x.example", "Готово!\n\nОтправили."), [], desk, LATER
        )
        yield "answer", letters(session)[-2]
        yield newest("answered")
    dispute_ticket(session, number, desk, LATER)
    yield newest("disputed")
    bounce = take_in(session, a_letter(desk, "support@jeans.example", "x@y.example", "bounce"), [], desk, LATER)
    sent = session.query(LetterOut).filter_by(audience="customer").first()
    assert sent is not None
    note_bounce(session, sent, Report("550 5.1.1 no such user here", True, True), bounce, desk, LATER)
    yield newest("bounced")
    bound = open_ticket(
        session, replace(case, key="b", urgent_for=None, topic="human/x"), replace(requester, order=None), desk, LATER
    )
    yield "ticket_bound", letters(session)[-2]
    assert bound.number != ticket.number
    open_ticket(
        session, replace(case, key="v", topic="complaint/slow_reply", urgent_for="complaint"), requester, desk, LATER
    )
    session.flush()
    unverified = open_ticket(session, replace(case, key="u", urgent_for=None), None, desk, LATER).number
    yield newest("ticket_unverified")
    customer, order = requester.customer, requester.order
    assert order is not None
    session.add(CrmCustomer(customer_id=customer.customer_id, name=customer.name, language=customer.language))
    session.flush()
    session.add_all(CrmAddress(address=address, customer_id=customer.customer_id) for address in customer.addresses)
    session.add(
        CrmOrder(number=order.number, customer_id=customer.customer_id, shown_number=order.shown_number, status="order")
    )
    session.flush()
    assign_requester(session, unverified, customer, order, desk, LATER)
    yield "assigned", letters(session)[-2]
    facts = {
        "first_name": customer.name.split()[0],
        "channel": "Telegram",
        "by": "link",
        "bound_at": "20.11.2026 15:20",
        "unlink_link": "https://jeans.example/unlink/1.abcdefgh",
    }
    post_notice(session, desk, language, requester.registered_address, "linked", "linked:1", facts, LATER)
    yield newest("linked")
    checked = replace(case, key="c", topic="case/refund", urgent_for=None, unchecked=True)
    settle_claim(session, open_ticket(session, checked, None, desk, LATER).number, requester, desk, LATER)
    yield newest("checked")
    written = take_in(
        session, a_letter(desk, desk.support_address, requester.registered_address, "Hello!"), [], desk, LATER
    )
    open_ticket_by_letter(session, written, read_letter(written.raw), customer.customer_id, desk, LATER)
    yield "ticket_by_letter", letters(session)[-2]
    yield newest("received")
    if desk.mode.name == "desk":
        yield from _unanswered(session, replace(case, key="w", topic="case/defect", urgent_for=None), requester, desk)


def _unanswered(session: Session, case: Case, requester: Requester, desk: Desk) -> Iterator[tuple[str, EmailMessage]]:
    """What a ticket causes that nobody answers in time, and the mark that its customer gives."""
    number = open_ticket(session, case, requester, desk, NOW).number
    for name, waited in (("reminder", 46), ("late", 61), ("day_passed", 24 * 60 + 1)):
        keep_promises(session, desk, NOW + timedelta(minutes=waited))
        yield name, letters(session)[-1]  # tickets are looked at in their order, this one is the newest
    desk.notices.blocked.add(case.sender_id)
    ask_for_mark(session, session.get_one(Ticket, number), desk, LATER)
    yield "mark", letters(session)[-1]
    keep_mark(session, number, 2, "Слишком долго / far too slow", "", desk, LATER)
    yield "low_mark", letters(session)[-1]


def draw(folder: Path) -> None:
    """Write every letter of both modes and all languages as text and pictures."""
    from playwright.sync_api import sync_playwright

    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        for mode in ("desk", "external"):
            for customers, agents in (("ru", "ru"), ("en", "en"), ("en", "ru")):
                for name, letter in _drawn_letters(mode_named(mode), customers, agents):
                    stem = f"{mode}-{customers}-for-{agents}-{name}"
                    (folder / f"{stem}.txt").write_text(f"{letter['Subject']}\n\n{body(letter)}", encoding="utf-8")
                    for width, screen in VIEWS:
                        page = browser.new_page(viewport={"width": width, "height": 400}, color_scheme=screen)
                        page.set_content(body(letter, "html"))
                        too_wide = page.evaluate("document.documentElement.scrollWidth > innerWidth")
                        if too_wide:
                            print(f"wider than {width} pixels: {stem}")  # noqa: T201
                        page.screenshot(path=folder / f"{stem}-{width}-{screen}.png", full_page=True)
                        page.close()
        browser.close()


def _drawn_letters(mode: Mode, customers: str, agents: str) -> list[tuple[str, EmailMessage]]:
    with tempfile.TemporaryDirectory() as folder:
        database = Database(f"sqlite:///{folder}/gallery.db")
        database.migrate()
        desk = Desk(
            shop=replace(load_shop(SHOP_FILE), language=agents),
            support_address="support@jeans.example",
            agents_address="agents@jeans.example",
            base_url="https://jeans.example",
            data_dir=Path(folder),
            signing_key=b"test key",
            notices=RecordedNotices(),
            mode=mode,
        )
        with database.session_scope() as session:
            drawn = list(every_letter(session, desk, customers))
        database.close()
        return drawn


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
