"""What may stand in shop.yml, and what whoever writes it is told."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from handoff.hours import check_holidays
from handoff.shop import ShopFileInvalid, load_shop

ROOT = Path(__file__).parents[2]


def shop_file(folder: Path, **changes: str) -> Path:
    """The project's own shop.yml with other lines for some keys; an empty one leaves the line out."""
    lines = [
        line
        for line in (ROOT / "shop.yml").read_text(encoding="utf-8").splitlines()
        if line.partition(":")[0] not in changes
    ]
    path = folder / "shop.yml"
    added = [f"{key}: {value}" for key, value in changes.items() if value]
    path.write_text("\n".join([*lines, *added]), encoding="utf-8")
    return path


def test_agents_read_russian_unless_the_shop_says_otherwise(tmp_path: Path) -> None:
    """Older files know nothing of it; a currency is never guessed."""
    shop = load_shop(shop_file(tmp_path, language="", currency=""))

    assert (shop.language, shop.currency) == ("ru", "")


def test_the_shops_language_and_currency_are_read(tmp_path: Path) -> None:
    """They shape the agents' letters."""
    shop = load_shop(shop_file(tmp_path, language="en", currency="€"))

    assert (shop.language, shop.currency) == ("en", "€")


@pytest.mark.parametrize("language", ["de", "RU", "[ru, en]", "no"])
def test_a_language_that_we_do_not_speak_is_refused(tmp_path: Path, language: str) -> None:
    """With file, place and remedy: half-translated letters would be found out by the agents."""
    with pytest.raises(ShopFileInvalid, match=r"shop\.yml: language: .* is not spoken here; write ru or en"):
        load_shop(shop_file(tmp_path, language=language))


def test_hours_are_put_into_words(tmp_path: Path) -> None:
    """Nobody has to say them twice, and so they cannot be said differently."""
    shop = load_shop(shop_file(tmp_path))

    assert shop.phrases["ru"] == {
        "hours": "по будням с 10:00 до 19:00 по Москве",
        "first_answer": "в течение рабочего часа",
        "zone": "по Москве",
        "and": "и",
    }
    assert shop.phrases["en"] == {
        "hours": "on weekdays from 10:00 to 19:00 Moscow time",
        "first_answer": "within one working hour",
        "zone": "Moscow time",
        "and": "and",
    }


@pytest.mark.parametrize(
    ("days", "ru", "en"),
    [
        ("mon-sun", "каждый день", "every day"),
        ("tue-sat", "вт–сб", "Tue–Sat"),
        ("mon,wed,sat", "пн, ср, сб", "Mon, Wed, Sat"),
        ("sat-sun", "сб, вс", "Sat, Sun"),
    ],
)
def test_all_kinds_of_working_weeks_are_put_into_words(tmp_path: Path, days: str, ru: str, en: str) -> None:
    hours = f'{{days: "{days}", from: "09:30", to: "18:00"}}'
    shop = load_shop(shop_file(tmp_path, hours=hours, timezone="Asia/Kolkata"))

    assert shop.phrases["ru"]["hours"] == f"{ru} с 09:30 до 18:00 (UTC+5:30)"
    assert shop.phrases["en"]["hours"] == f"{en} from 09:30 to 18:00 Kolkata time"


@pytest.mark.parametrize(
    ("first_answer", "ru", "en"),
    [
        ("2h", "в течение 2 рабочих часов", "within 2 working hours"),
        ("90m", "в течение 90 минут рабочего времени", "within 90 minutes of working time"),
        ("60m", "в течение рабочего часа", "within one working hour"),
    ],
)
def test_the_first_answer_is_put_into_words(tmp_path: Path, first_answer: str, ru: str, en: str) -> None:
    shop = load_shop(shop_file(tmp_path, first_answer=first_answer))

    assert (shop.phrases["ru"]["first_answer"], shop.phrases["en"]["first_answer"]) == (ru, en)


def test_a_shop_may_say_it_in_words_of_its_own(tmp_path: Path) -> None:
    """The others stay as they are."""
    shop = load_shop(shop_file(tmp_path, phrases='{ru: {hours: "пока светло"}}'))

    assert (shop.phrases["ru"]["hours"], shop.phrases["ru"]["zone"]) == ("пока светло", "по Москве")
    assert shop.phrases["en"]["hours"] == "on weekdays from 10:00 to 19:00 Moscow time"


@pytest.mark.parametrize(
    ("phrases", "told"),
    [
        ("{ru: {huors: x}}", r"phrases\.ru\.huors: unknown; known are and, first_answer, hours, zone"),
        ('{en: {hours: ""}}', r"phrases\.en\.hours: empty"),
        ("hours", r"phrases: write \{ru"),
        ("{ru: hours}", r"phrases: write \{ru"),
    ],
)
def test_phrases_that_cannot_be_used_are_told(tmp_path: Path, phrases: str, told: str) -> None:
    with pytest.raises(ShopFileInvalid, match=told):
        load_shop(shop_file(tmp_path, phrases=phrases))


def test_the_contracts_shop_file_is_enough(tmp_path: Path) -> None:
    """Outside programs write one like this."""
    path = tmp_path / "shop.yml"
    path.write_text(
        """
name: Getwear
timezone: Europe/Moscow
hours: {days: mon-fri, from: "10:00", to: "19:00"}
first_answer: 1h
agents: [{ru: Анна, en: Anna}, {ru: Ольга, en: Olga}]
overload: false
facts: {delivery_prices: null, warranty: null}
""",
        encoding="utf-8",
    )

    shop = load_shop(path)

    assert shop.words("en", "web:1")["hours"] == "on weekdays from 10:00 to 19:00 Moscow time"
    assert shop.fact("warranty", "ru") is None


def test_holidays_may_be_said_as_people_write_them(tmp_path: Path) -> None:
    hours = '{days: mon-fri, from: "10:00", to: "19:00", holidays: {country: ru, dates: ["2026-11-23", 2026-12-31]}}'
    shop = load_shop(shop_file(tmp_path, hours=hours))

    assert shop.hours.holidays_country == "RU"
    assert shop.hours.extra_holidays == {date(2026, 11, 23), date(2026, 12, 31)}


@pytest.mark.parametrize(
    ("holidays", "told"),
    [
        ("RU", r"hours\.holidays: write"),
        ("[2026-11-23]", r"hours\.holidays: write"),
        ("{countries: RU}", r"hours\.holidays: write"),
        ("{dates: 2026-11-23}", r"holidays\.dates: .* is not understood"),
        ('{dates: ["23.11.2026"]}', r"holidays\.dates: .* is not understood"),
    ],
)
def test_holidays_that_are_not_understood_are_told(tmp_path: Path, holidays: str, told: str) -> None:
    """A holiday that is passed over would be promised to a customer."""
    hours = f'{{days: mon-fri, from: "10:00", to: "19:00", holidays: {holidays}}}'

    with pytest.raises(ShopFileInvalid, match=told):
        load_shop(shop_file(tmp_path, hours=hours))


def test_hours_with_an_unknown_word_are_told(tmp_path: Path) -> None:
    with pytest.raises(ShopFileInvalid, match="hours: write"):
        load_shop(shop_file(tmp_path, hours='{days: mon-fri, from: "10:00", to: "19:00", country: RU}'))


@pytest.mark.parametrize("overload", ["no", "off", '"false"', "0"])
def test_overload_is_true_or_false(tmp_path: Path, overload: str) -> None:
    """In YAML 1.2 the others are words and numbers, and a word would count as true."""
    with pytest.raises(ShopFileInvalid, match=r"overload: .* write true or false"):
        load_shop(shop_file(tmp_path, overload=overload))


def test_a_country_that_nobody_knows_is_told_at_the_start(tmp_path: Path) -> None:
    """And not by the first case, which would be lost."""
    hours = '{days: mon-fri, from: "10:00", to: "19:00", holidays: {country: XX}}'
    shop = load_shop(shop_file(tmp_path, hours=hours))

    with pytest.raises(ShopFileInvalid, match="'XX' is not known"):
        check_holidays(shop)
