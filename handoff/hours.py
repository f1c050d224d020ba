"""When people answer: business hours, the moment a first answer is due, and how that is said."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache

import holidays

from handoff.shop import Shop, ShopFileInvalid
from handoff.words import words

#: No question waits longer than this for a first answer, weekends included (requirement R46).
CEILING = timedelta(hours=24)

#: shop.yml that leaves no open day for so long is a mistake.
LONGEST_BREAK_DAYS = 366


@dataclass(frozen=True)
class Deadline:
    """When a first answer is due.

    `promised` is in working hours: what is said to the customer, because then a person really answers. `ceiling` is
    24 hours of wall time after the question, even on a weekend.
    """

    promised: datetime
    ceiling: datetime

    @property
    def alarm(self) -> datetime:
        """When somebody must be told that no answer has gone out: whichever comes first."""
        return min(self.promised, self.ceiling)


def is_open(shop: Shop, at: datetime) -> bool:
    """Whether people answer at this moment."""
    local = at.astimezone(shop.zone)
    return _works_on(shop, local.date()) and shop.hours.start <= local.time() < shop.hours.end


def answer_by(shop: Shop, asked: datetime) -> Deadline:
    """When a question asked at `asked` gets its first answer at the latest."""
    return Deadline(after_work(shop, asked, shop.first_answer), asked.astimezone(UTC) + CEILING)


def after_work(shop: Shop, since: datetime, working: timedelta) -> datetime:
    """The moment, in UTC, at which people will have worked for so long since then."""
    since = since.astimezone(UTC)
    left = working
    for start, end in _open_spans(shop, since):
        begun = max(start, since)
        if end - begun >= left:
            return begun + left
        left -= end - begun
    raise AssertionError("open spans never end")


def spoken_deadline(shop: Shop, answer_by: datetime, now: datetime, language: str) -> str:
    """The deadline in a sentence and in the shop's time: "сегодня до 15:20 по Москве", "by Monday 11:00 Moscow time".

    While the shop is closed the day is named: where the customer is, "today" may be another one.
    """
    days = (answer_by.astimezone(shop.zone).date() - now.astimezone(shop.zone).date()).days
    form = "weekday" if days < 7 else "date"
    if days < 2 and is_open(shop, now):
        form = "tomorrow" if days == 1 else "today"
    return _deadline(shop, answer_by, language, form)


def written_deadline(shop: Shop, answer_by: datetime, language: str) -> str:
    """As a letter says it, which may be read on another day: "by 11:00 Moscow time on Monday, 23 November"."""
    return _deadline(shop, answer_by, language, "written")


def _deadline(shop: Shop, answer_by: datetime, language: str, form: str) -> str:
    due = answer_by.astimezone(shop.zone)
    spoken = words(language)
    said: str = spoken["deadline"][form].format(
        time=f"{due:%H:%M} {shop.phrases[language]['zone']}",
        weekday=spoken["weekdays"][due.weekday()],
        day=due.day,
        month=spoken["months"][due.month - 1],
    )
    return said


def check_holidays(shop: Shop) -> None:
    """Look at a year of the shop's days, so that a slip is found at the start and not by a customer's case.

    Raises:
        ShopFileInvalid: a country that is not known, or no day is open.
    """
    after_work(shop, datetime.now(UTC), timedelta(minutes=1))


def _open_spans(shop: Shop, at: datetime) -> Iterator[tuple[datetime, datetime]]:
    """The spans in which people answer, in UTC and in order; the first is the one that `at` lies in or the next."""
    day = at.astimezone(shop.zone).date()
    closed_days = 0
    while closed_days < LONGEST_BREAK_DAYS:
        if _works_on(shop, day):
            closed_days = 0
            start, end = (
                datetime.combine(day, clock, shop.zone).astimezone(UTC) for clock in (shop.hours.start, shop.hours.end)
            )
            if at < end:
                yield start, end
        closed_days += 1
        day += timedelta(days=1)
    raise ShopFileInvalid("shop.yml: hours: no day is open for a year; check days and holidays")


def _works_on(shop: Shop, day: date) -> bool:
    hours = shop.hours
    if day.weekday() not in hours.weekdays or day in hours.extra_holidays:
        return False
    return hours.holidays_country is None or day not in _public_holidays(hours.holidays_country)


@cache
def _public_holidays(country: str) -> holidays.HolidayBase:
    """The holidays of a country; years are filled in as they are asked for."""
    try:
        return holidays.country_holidays(country)
    except NotImplementedError:
        raise ShopFileInvalid(
            f"shop.yml: hours.holidays.country: {country!r} is not known; write a code like RU"
        ) from None
