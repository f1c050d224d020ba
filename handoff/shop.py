"""The shop's own words and facts, read from shop.yml.

Runs in Rasa's process too (Python 3.10): answers are filled from the same file there.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import date, time, timedelta
from pathlib import Path
from typing import Any
from zlib import crc32
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from handoff.errors import HandoffError
from handoff.phrases import phrases_of

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
LANGUAGES = ("ru", "en")


class ShopFileInvalid(HandoffError):
    """shop.yml cannot be used; the message says where and what to write instead."""


@dataclass(frozen=True)
class Hours:
    """When people answer. `weekdays` as `date.weekday()` numbers (Monday is 0), times in the shop's time zone."""

    weekdays: frozenset[int]
    start: time
    end: time
    holidays_country: str | None = None
    extra_holidays: frozenset[date] = frozenset()


@dataclass(frozen=True)
class Shop:
    """Everything shop.yml says; a fact that is None has not been decided and is answered honestly.

    `language` is the agents': labels in their letters. `currency` belongs to sums that the CRM holds as bare numbers.
    `phrases` say in each language how `hours`, `first_answer` and `zone` read in a sentence, and the word `and`.
    """

    name: str
    zone: ZoneInfo
    hours: Hours
    first_answer: timedelta
    agents: tuple[dict[str, str], ...]
    overload: bool
    facts: dict[str, dict[str, str] | None]
    phrases: dict[str, dict[str, str]] = field(default_factory=dict)
    language: str = LANGUAGES[0]
    currency: str = ""

    def agent_names(self, language: str) -> list[str]:
        """First names of the agents in one language."""
        return [agent[language] for agent in self.agents]

    def agent_for(self, sender_id: str) -> dict[str, str]:
        """The agent of a conversation: always the same, so that the name given in chat is the one who writes."""
        return self.agents[crc32(sender_id.encode()) % len(self.agents)]

    def words(self, language: str, sender_id: str) -> dict[str, str]:
        """What `{shop}`, `{hours}`, `{agents}`, `{agent}`, `{first_answer}` stand for in one conversation."""
        names = self.agent_names(language)
        phrases = self.phrases[language]
        return {
            "shop": self.name,
            "hours": phrases["hours"],
            "first_answer": phrases["first_answer"],
            "agent": self.agent_for(sender_id)[language],
            "agents": names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {phrases['and']} {names[-1]}",
        }

    def fact(self, name: str, language: str) -> str | None:
        """A fact in one language, None while the shop has not set it."""
        said = self.facts.get(name)
        return said.get(language) if said else None


def load_shop(path: Path) -> Shop:
    """Read and check shop.yml.

    Raises:
        ShopFileInvalid: with file, place and remedy.
    """
    try:
        raw = YAML(typ="safe").load(path)
    except FileNotFoundError:
        raise ShopFileInvalid(
            f"{path}: there is no such file; copy shop.yml from the project or set SHOP_FILE"
        ) from None
    except YAMLError as error:
        raise ShopFileInvalid(f"{path}: not readable as YAML: {error}") from error
    if not isinstance(raw, dict):
        raise ShopFileInvalid(f"{path}: expected `name:`, `timezone:`, `hours:` ... at the top level")
    return _Reader(path).shop(raw)


class _Reader:
    """Turns the parsed file into a `Shop`, naming file and place of anything that does not fit."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def shop(self, raw: dict[str, Any]) -> Shop:
        known = {"name", "language", "currency", "timezone", "hours", "first_answer", "agents", "overload"}
        known |= {"facts", "phrases"}
        for key in raw:
            if key not in known:
                raise self.wrong(key, f"unknown; known are {', '.join(sorted(known))}")
        agents = raw.get("agents") or []
        if not agents or not all(isinstance(a, dict) and all(a.get(lang) for lang in LANGUAGES) for a in agents):
            raise self.wrong("agents", "write at least one, like [{ru: Анна, en: Anna}]")
        facts = raw.get("facts") or {}
        for name, said in facts.items():
            if said is not None and not (isinstance(said, dict) and all(said.get(lang) for lang in LANGUAGES)):
                raise self.wrong(f"facts.{name}", 'write null, or both languages: {ru: "...", en: "..."}')
        zone, hours = self.zone(raw.get("timezone")), self.hours(raw.get("hours"))
        first_answer = self.duration("first_answer", raw.get("first_answer", "1h"))
        made = {lang: phrases_of(hours, zone, first_answer, lang) for lang in LANGUAGES}
        return Shop(
            name=str(raw.get("name") or "") or self.missing("name"),
            zone=zone,
            hours=hours,
            first_answer=first_answer,
            agents=tuple({lang: str(a[lang]) for lang in LANGUAGES} for a in agents),
            overload=self.switch("overload", raw.get("overload", False)),
            facts={str(n): ({lang: str(s[lang]) for lang in LANGUAGES} if s else None) for n, s in facts.items()},
            phrases={lang: made[lang] | self.phrases(raw.get("phrases") or {}, lang, made[lang]) for lang in LANGUAGES},
            language=self.language(raw.get("language", LANGUAGES[0])),
            currency=str(raw.get("currency") or ""),
        )

    def phrases(self, raw: Any, language: str, known: Collection[str]) -> dict[str, str]:
        said = raw.get(language) or {} if isinstance(raw, dict) else None
        if not isinstance(said, dict):
            raise self.wrong("phrases", 'write {ru: {hours: "..."}, en: {hours: "..."}}, or leave it out')
        for phrase, text in said.items():
            if phrase not in known:
                raise self.wrong(f"phrases.{language}.{phrase}", f"unknown; known are {', '.join(sorted(known))}")
            if not text:
                raise self.wrong(f"phrases.{language}.{phrase}", "empty; write the words, or leave it out")
        return {phrase: str(text) for phrase, text in said.items()}

    def wrong(self, place: str, remedy: str) -> ShopFileInvalid:
        return ShopFileInvalid(f"{self.path}: {place}: {remedy}")

    def missing(self, place: str) -> str:
        raise self.wrong(place, "missing")

    def language(self, name: Any) -> str:
        if name not in LANGUAGES:
            raise self.wrong("language", f"{name!r} is not spoken here; write {' or '.join(LANGUAGES)}")
        return str(name)

    def zone(self, name: Any) -> ZoneInfo:
        try:
            return ZoneInfo(str(name))
        except (ZoneInfoNotFoundError, ValueError):
            raise self.wrong("timezone", f"{name!r} is no time zone; write one like Europe/Moscow") from None

    def hours(self, raw: Any) -> Hours:
        if not isinstance(raw, dict) or not raw.keys() <= {"days", "from", "to", "holidays"}:
            raise self.wrong(
                "hours", 'write {days: mon-fri, from: "10:00", to: "19:00"}, and `holidays` if there are any'
            )
        holidays = raw.get("holidays") or {}
        if not isinstance(holidays, dict) or not holidays.keys() <= {"country", "dates"}:
            raise self.wrong("hours.holidays", "write {country: RU, dates: [2026-12-31]}, or one of the two")
        start, end = self.clock("hours.from", raw.get("from")), self.clock("hours.to", raw.get("to"))
        if start >= end:
            raise self.wrong("hours", "`from` must be earlier than `to`")
        return Hours(
            self.weekdays(str(raw.get("days", ""))),
            start,
            end,
            str(holidays["country"]).upper() if holidays.get("country") else None,
            self.dates(holidays.get("dates") or []),
        )

    def weekdays(self, text: str) -> frozenset[int]:
        days: set[int] = set()
        for part in text.replace(" ", "").lower().split(","):
            first, _, last = part.partition("-")
            if first not in DAYS or (last and last not in DAYS):
                raise self.wrong("hours.days", f"{part!r} is not understood; write mon-fri or mon,wed,sat")
            a, b = DAYS.index(first), DAYS.index(last or first)
            days.update(range(a, b + 1) if a <= b else [*range(a, 7), *range(b + 1)])
        return frozenset(days)

    def dates(self, raw: Any) -> frozenset[date]:
        try:
            return frozenset(day if type(day) is date else date.fromisoformat(day) for day in raw)
        except (TypeError, ValueError):
            raise self.wrong("hours.holidays.dates", f"{raw!r} is not understood; write [2026-12-31]") from None

    def switch(self, place: str, value: Any) -> bool:
        if not isinstance(value, bool):
            raise self.wrong(place, f"{value!r} is neither; write true or false")
        return value

    def clock(self, place: str, text: Any) -> time:
        try:
            return time.fromisoformat(str(text))
        except ValueError:
            raise self.wrong(place, f'{text!r} is no time of day; write "10:00" with the quotes') from None

    def duration(self, place: str, text: Any) -> timedelta:
        number, unit = str(text)[:-1], str(text)[-1:]
        seconds = {"h": 3600, "m": 60}.get(unit)
        if not seconds or not number.isdigit() or number == "0":
            raise self.wrong(place, f"{text!r} is no duration; write 1h or 45m")
        return timedelta(seconds=int(number) * seconds)
