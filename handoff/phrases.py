"""How the shop's hours, first answer and time zone read in a sentence; the words are in mail/templates/words.yml.

Runs in Rasa's process too (Python 3.10).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from handoff.words import words

if TYPE_CHECKING:
    from handoff.shop import Hours

WORKDAYS, EVERY_DAY = frozenset(range(5)), frozenset(range(7))
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


def phrases_of(hours: Hours, zone: ZoneInfo, first_answer: timedelta, language: str) -> dict[str, str]:
    """The phrases `hours`, `first_answer`, `zone` and `and`, made from the shop's settings."""
    said = words(language)["shop"]
    where = said["zones"].get(zone.key) or said["zone"].format(city=_city(zone), offset=_offset(zone))
    spoken = said["hours"].format(
        days=_days(hours.weekdays, said), start=f"{hours.start:%H:%M}", end=f"{hours.end:%H:%M}", zone=where
    )
    return {"hours": spoken, "first_answer": _within(first_answer, said), "zone": where, "and": said["and"]}


def _days(weekdays: frozenset[int], said: dict[str, Any]) -> str:
    if weekdays in (WORKDAYS, EVERY_DAY):
        return str(said["workdays" if weekdays == WORKDAYS else "every_day"])
    names, days = said["days"], sorted(weekdays)
    if len(days) > 2 and days[-1] - days[0] == len(days) - 1:
        return f"{names[days[0]]}–{names[days[-1]]}"
    return ", ".join(names[day] for day in days)


def _within(span: timedelta, said: dict[str, Any]) -> str:
    if span == HOUR:
        return str(said["within_hour"])
    whole_hours, minutes = divmod(span, HOUR)
    form, number = ("within_minutes", span // MINUTE) if minutes else ("within_hours", whole_hours)
    return str(said[form]).format(number=number)


def _city(zone: ZoneInfo) -> str:
    return zone.key.rpartition("/")[2].replace("_", " ")


def _offset(zone: ZoneInfo) -> str:
    """As of today: "+3", "+5:30"."""
    minutes = (datetime.now(zone).utcoffset() or timedelta()) // MINUTE
    hours, rest = divmod(abs(minutes), 60)
    return f"{'-' if minutes < 0 else '+'}{hours}" + (f":{rest:02}" if rest else "")
