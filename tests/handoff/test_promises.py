"""The promise of a first answer: a reminder, an alarm, an honest word, each once and at its time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from handoff_cases import RecordedNotices, a_case, body, letters, maria
from hypothesis import given
from hypothesis import settings as sample
from hypothesis import strategies as st
from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from handoff.desk import Desk
from handoff.hours import after_work, is_open
from handoff.models import LetterOut, Ticket
from handoff.ownership import dispute_ticket
from handoff.promises import keep_promises
from handoff.settings import Settings
from handoff.shop import Hours, Shop
from handoff.tickets import open_ticket

MINUTE = timedelta(minutes=1)


def moscow(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo("Europe/Moscow"))


@pytest.fixture
def steps(session: Session, desk: Desk, notices: RecordedNotices) -> Callable[..., list[tuple[str, str]]]:
    """Opens a ticket and looks every quarter of an hour; what was written to whom, and when in the zone of the shop."""

    def walk(asked: datetime, until: datetime, desk: Desk = desk, every: timedelta = 15 * MINUTE):
        number = open_ticket(session, a_case(), maria(), desk, asked).number
        seen: list[tuple[str, str]] = []
        now, until, known, told = asked.astimezone(UTC), until.astimezone(UTC), 2, 0
        while now <= until:
            if keep_promises(session, desk, now):
                at = f"{now.astimezone(desk.shop.zone):%d.%m %H:%M}"
                purposes = session.scalars(select(LetterOut.purpose).order_by(LetterOut.id)).all()
                seen += [(at, purpose.replace(f":{number}", "")) for purpose in purposes[known:]]
                seen += [(at, kind) for _, kind in notices.announced[told:]]
                known, told = len(purposes), len(notices.announced)
            now += every
        return seen

    return walk


def test_a_day_without_an_answer(steps, session: Session, notices: RecordedNotices) -> None:
    """45 minutes remind, 60 raise the alarm and tell the customer, 24 hours raise it again; nothing comes twice."""
    seen = steps(moscow("2026-11-18 12:00"), moscow("2026-11-20 12:00"))

    assert seen == [
        ("18.11 12:45", "reminder"),
        ("18.11 13:00", "late:agents"),
        ("18.11 13:00", "answer_late"),
        ("19.11 12:00", "day_passed:agents"),
    ]
    reminder, late, day_passed = letters(session, "agents")[1:]
    assert "в среду, 18 ноября, до 13:00" in body(reminder)
    assert reminder["X-Priority"] is None
    assert (late["X-Priority"], day_passed["X-Priority"]) == ("1", "1")
    assert "СРОК ПРОШЁЛ" in body(late)
    assert "прошли уже сутки" in body(day_passed)
    assert "нового срока ему не называли" in body(late)
    ticket = session.get_one(Ticket, 1001)
    assert (ticket.priority, ticket.urgent_for) == ("urgent", "late")


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        # Over a weekend the duty hears of 24 hours; the customer's promise of Monday is not broken by then.
        (
            "2026-11-20 18:40",
            ["21.11 18:40 day_passed:agents", "23.11 10:25 reminder", "23.11 10:40 late:agents"],
        ),
        # At night nobody is late before the morning's hour has passed.
        ("2026-11-18 22:00", ["19.11 10:45 reminder", "19.11 11:00 late:agents", "19.11 22:00 day_passed:agents"]),
        # A holiday (4 November) is a Sunday in the middle of the week.
        (
            "2026-11-03 18:30",
            ["04.11 18:30 day_passed:agents", "05.11 10:15 reminder", "05.11 10:30 late:agents"],
        ),
    ],
)
def test_nights_weekends_and_holidays_stop_the_promise_but_not_the_day(steps, asked: str, expected: list[str]) -> None:
    """The promise counts working time, the ceiling does not (requirement R46)."""
    seen = steps(moscow(asked), moscow(asked) + timedelta(days=4))

    assert [f"{at} {what}" for at, what in seen if what != "answer_late"] == expected
    late = next(at for at, what in seen if what == "late:agents")
    assert [at for at, what in seen if what == "answer_late"] == [late]


def test_the_clocks_change_under_a_promise(steps, desk: Desk) -> None:
    """The hour that a night loses in spring is nobody's working time."""
    berlin = ZoneInfo("Europe/Berlin")
    shop = replace(
        desk.shop, zone=berlin, hours=Hours(frozenset(range(7)), time(0, 30), time(4, 30)), first_answer=4 * 60 * MINUTE
    )
    asked = datetime(2027, 3, 28, 0, 30, tzinfo=berlin)  # at 2:00 it becomes 3:00

    seen = steps(asked, asked.astimezone(UTC) + timedelta(hours=24), replace(desk, shop=shop))

    # That night has three working hours; the fourth is the next night's first.
    assert seen == [
        ("28.03 04:30", "reminder"),
        ("29.03 01:30", "late:agents"),
        ("29.03 01:30", "answer_late"),
    ]


@pytest.mark.parametrize("event", ["answered", "closed", "disputed"])
def test_a_ticket_that_waits_for_nobody_is_left_alone(session, desk, notices, event: str) -> None:
    """Answered, closed, or the chat was somebody else's."""
    asked = moscow("2026-11-18 12:00")
    ticket = session.get_one(Ticket, open_ticket(session, a_case(), maria(), desk, asked).number)
    if event == "answered":
        ticket.first_answer_at = asked + 10 * MINUTE
    elif event == "closed":
        ticket.state = "closed"
    else:
        dispute_ticket(session, ticket.number, desk, asked)
    session.flush()
    written = len(letters(session))

    assert not keep_promises(session, desk, asked + timedelta(hours=30))
    assert len(letters(session)) == written


def test_after_a_pause_only_the_newest_step_is_taken(session: Session, desk: Desk, notices: RecordedNotices) -> None:
    """The service was down: no reminder of what is late already, and every customer still hears the truth, once."""
    for hour in range(5):
        open_ticket(session, a_case(f"case-{hour}"), None, desk, moscow("2026-11-18 10:00") + timedelta(hours=hour))
    known = len(letters(session))

    for minutes in (0, 1, 10):
        keep_promises(session, desk, moscow("2026-11-19 12:30") + minutes * MINUTE)

    rows = session.query(LetterOut).order_by(LetterOut.id).all()[known:]
    assert [row.purpose for row in rows] == [
        *(f"day_passed:{number}:agents" for number in (1001, 1002, 1003)),
        *(f"late:{number}:agents" for number in (1004, 1005)),
    ]
    assert notices.announced == [(number, "answer_late") for number in range(1001, 1006)]


def test_one_ticket_that_breaks_keeps_no_other_waiting(session: Session, desk: Desk, caplog) -> None:
    """Its names are in no language that we know; it is looked at again, and the others get their reminder."""
    for key in ("a", "b"):
        open_ticket(session, a_case(key), None, desk, moscow("2026-11-18 12:00"))
    session.get_one(Ticket, 1001).language = "xx"
    session.flush()

    assert keep_promises(session, desk, moscow("2026-11-18 12:45"))

    assert session.scalars(select(LetterOut.purpose).order_by(LetterOut.id)).all()[-1] == "reminder:1002"
    assert "the promise of ticket 1001" in caplog.text


def test_what_people_overlooked_for_weeks_is_not_dug_out(session: Session, desk: Desk) -> None:
    """The first start of this version must not write to everybody whose ticket was never closed."""
    open_ticket(session, a_case(), maria(), desk, moscow("2026-10-01 12:00"))

    assert not keep_promises(session, desk, moscow("2026-11-18 12:00"))


def test_a_manager_hears_of_alarms_and_can_answer_them(session: Session, desk: Desk) -> None:
    """The same letter, to an address of his own; of reminders he hears nothing. He has seen none of the thread."""
    desk = replace(desk, escalation_address="boss@jeans.example")
    open_ticket(session, a_case(), maria(), desk, moscow("2026-11-18 12:00"))
    for minutes in (45, 60, 61):
        keep_promises(session, desk, moscow("2026-11-18 12:00") + minutes * MINUTE)

    first, reminder, late, to_manager = letters(session, "agents")
    assert [letter["To"] for letter in (reminder, late)] == ["agents@jeans.example"] * 2
    assert to_manager["To"] == "boss@jeans.example"
    assert to_manager["Reply-To"] == first["Reply-To"]
    assert to_manager["X-Priority"] == "1"
    assert all(known in body(to_manager) for known in ("Мария Ковалёва", "maria@example.com", "GW-48213", "Тверская"))


@pytest.mark.parametrize(("blocked", "said"), [(False, "Клиенту в чате сказано"), (True, "Клиент об этом не знает")])
def test_the_alarm_does_not_say_that_somebody_was_told_whom_no_chat_reaches(
    session: Session, desk: Desk, notices: RecordedNotices, blocked: bool, said: str
) -> None:
    """A ticket that a letter opened has no chat, and a customer may have blocked the bot."""
    case = a_case()
    if blocked:
        notices.blocked.add(case.sender_id)
    open_ticket(session, case, maria(), desk, moscow("2026-11-18 12:00"))
    keep_promises(session, desk, moscow("2026-11-18 13:01"))

    assert said in body(letters(session, "agents")[-1])


def test_a_manager_without_a_mailbox_is_named_at_the_start() -> None:
    """Not at the first alarm, in the middle of a night."""
    with pytest.raises(ValidationError, match="one plain address"):
        Settings(_env_file=None, escalation_address="boss")


@pytest.mark.parametrize("agents_language", ["en"])
def test_english_agents_read_english_alarms(session: Session, desk: Desk) -> None:
    """Every letter to the agents is in the shop's language."""
    open_ticket(session, a_case(language="en", topic_title="Late order"), None, desk, moscow("2026-11-20 18:40"))
    for at in ("2026-11-21 18:40", "2026-11-23 10:25", "2026-11-23 10:40"):
        keep_promises(session, desk, moscow(at))

    day_passed, reminder, late = letters(session, "agents")[1:]
    assert "A WHOLE DAY HAS PASSED" in body(day_passed)
    assert "by 10:40 Moscow time on Monday, 23 November" in body(reminder)
    assert "LATE. An answer to ticket #1001 was promised" in body(late)
    assert "support assign 1001" in body(late)


@given(
    asked=st.integers(0, 400 * 24 * 60).map(lambda m: datetime(2026, 1, 1, tzinfo=UTC) + m * MINUTE),
    zone=st.sampled_from(["Europe/Moscow", "Europe/Berlin", "America/New_York"]),
    start=st.integers(0, 11),
    length=st.integers(1, 12),
    days=st.frozensets(st.integers(0, 6), min_size=1),
    working=st.integers(1, 120),
)
@sample(max_examples=40, deadline=None)
def test_working_time_is_what_counting_minutes_gives(asked, zone, start, length, days, working) -> None:
    """Between a question and the moment when people have worked so long lie exactly so many open minutes."""
    shop = Shop("x", ZoneInfo(zone), Hours(days, time(start), time(start + length)), 60 * MINUTE, ({},), False, {})

    until = after_work(shop, asked, working * MINUTE)

    now, worked = asked, 0
    while now < until:
        worked += is_open(shop, now)
        now += MINUTE
    assert worked == working
    assert is_open(shop, until - MINUTE)
