"""Business hours, the deadline of a first answer, and how it is said."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handoff.hours import after_work, answer_by, is_open, spoken_deadline, written_deadline
from handoff.shop import Hours, Shop, ShopFileInvalid

MINUTE = timedelta(minutes=1)


def a_shop(hours: Hours, zone: str = "Europe/Moscow", first_answer: timedelta = timedelta(hours=1)) -> Shop:
    agents, phrases = ({"ru": "Анна", "en": "Anna"},), {"ru": {"zone": "по Москве"}, "en": {"zone": "Moscow time"}}
    return Shop("Getwear", ZoneInfo(zone), hours, first_answer, agents, False, {}, phrases)


WEEKDAYS = Hours(frozenset(range(5)), time(10), time(19), "RU")
MOSCOW = a_shop(WEEKDAYS)


def moscow(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo("Europe/Moscow"))


@pytest.mark.parametrize(
    ("asked", "promised"),
    [
        ("2026-11-20 15:20", "2026-11-20 16:20"),
        ("2026-11-20 18:00", "2026-11-20 19:00"),
        ("2026-11-20 18:40", "2026-11-23 10:40"),
        ("2026-11-21 12:00", "2026-11-23 11:00"),
        ("2026-11-23 03:00", "2026-11-23 11:00"),
        ("2026-11-03 18:30", "2026-11-05 10:30"),
        ("2026-12-31 20:00", "2027-01-11 11:00"),
    ],
)
def test_the_promise_counts_working_time_only(asked: str, promised: str) -> None:
    """Nights, weekends and holidays (4 November, the first days of January) are not waited through in the promise."""
    deadline = answer_by(MOSCOW, moscow(asked))

    assert deadline.promised == moscow(promised)
    assert deadline.ceiling == moscow(asked) + timedelta(hours=24)
    assert deadline.alarm == min(deadline.promised, deadline.ceiling)


def test_an_extra_holiday_closes_the_shop() -> None:
    """The shop's own days off are in shop.yml."""
    shop = a_shop(replace(WEEKDAYS, extra_holidays=frozenset({date(2026, 11, 20)})))

    assert not is_open(shop, moscow("2026-11-20 12:00"))
    assert after_work(shop, moscow("2026-11-20 12:00"), timedelta(0)) == moscow("2026-11-23 10:00")


hours = st.builds(
    Hours,
    st.frozensets(st.integers(0, 6), min_size=1),
    st.times(time(5), time(12)).map(lambda t: t.replace(second=0, microsecond=0)),
    st.times(time(12, 1), time(23, 59)).map(lambda t: t.replace(second=0, microsecond=0)),
    st.sampled_from([None, "RU", "DE"]),
)


@given(
    hours,
    st.sampled_from(["Europe/Moscow", "Europe/Berlin", "America/New_York", "Asia/Kolkata"]),
    st.integers(0, 305 * 24 * 60).map(lambda minute: datetime(2026, 3, 1, tzinfo=UTC) + minute * MINUTE),
    st.integers(1, 240),
)
@settings(max_examples=60, deadline=None)
def test_the_promise_is_what_counting_minutes_gives(hours: Hours, zone: str, asked: datetime, minutes: int) -> None:
    """Interval arithmetic over days, zones and clock changes equals the obvious way of counting."""
    shop = a_shop(hours, zone, minutes * MINUTE)

    at, worked = asked, 0
    while worked < minutes:
        opening = after_work(shop, at, timedelta(0))
        # Only the first closed minutes are walked one by one: a weekend has 3000 of them.
        if not is_open(shop, at):
            assert opening > at
            assert not is_open(shop, opening - MINUTE)
            assert is_open(shop, opening)
            at = opening
        else:
            assert opening == at
            worked += 1
            at += MINUTE

    assert answer_by(shop, asked).promised == at


@pytest.mark.parametrize(
    ("now", "due", "ru", "en"),
    [
        ("11-20 14:20", "2026-11-20 15:20", "сегодня до 15:20 по Москве", "today by 15:20 Moscow time"),
        ("11-19 18:30", "2026-11-20 10:30", "завтра до 10:30 по Москве", "tomorrow by 10:30 Moscow time"),
        ("11-20 18:30", "2026-11-23 10:30", "в понедельник до 10:30 по Москве", "by Monday 10:30 Moscow time"),
        ("11-23 01:58", "2026-11-23 11:00", "в понедельник до 11:00 по Москве", "by Monday 11:00 Moscow time"),
        ("11-23 20:00", "2026-11-24 11:00", "во вторник до 11:00 по Москве", "by Tuesday 11:00 Moscow time"),
        ("12-31 20:00", "2027-01-11 11:00", "11 января до 11:00 по Москве", "by 11:00 Moscow time on 11 January"),
    ],
)
def test_a_deadline_is_said_as_people_say_it(now: str, due: str, ru: str, en: str) -> None:
    """In the customer's language and the shop's time; at night "today" would be another day for somebody far away."""
    asked = moscow(f"2026-{now}").astimezone(UTC)

    assert spoken_deadline(MOSCOW, moscow(due), asked, "ru") == ru
    assert spoken_deadline(MOSCOW, moscow(due), asked, "en") == en


def test_a_letter_names_the_day() -> None:
    """It may be read on another one."""
    assert written_deadline(MOSCOW, moscow("2026-11-23 11:00"), "en") == "by 11:00 Moscow time on Monday, 23 November"


def test_a_holiday_country_nobody_knows_is_named(shop: Shop) -> None:
    """A mistake in shop.yml says where it is."""
    with pytest.raises(ShopFileInvalid, match=r"holidays\.country"):
        is_open(a_shop(replace(WEEKDAYS, holidays_country="XX")), moscow("2026-11-20 12:00"))


def test_a_shop_that_never_opens_is_named() -> None:
    """Better an error at the start than a promise in the year 9999."""
    always_off = frozenset(date(2026, 11, 16) + timedelta(days=7 * week) for week in range(60))
    shop = a_shop(Hours(frozenset({0}), time(10), time(19), None, always_off))

    with pytest.raises(ShopFileInvalid, match="no day is open"):
        answer_by(shop, moscow("2026-11-20 12:00"))
