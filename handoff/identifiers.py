"""What a customer types to say who he is: finding, normalising and masking order numbers and addresses.

Runs in Rasa's process too (Python 3.10), so it uses the standard library alone.
"""

from __future__ import annotations

import re
import unicodedata
from contextlib import suppress

#: Cyrillic capitals that look like Latin ones; people type them without noticing.
LOOK_ALIKES = str.maketrans("АВЕКМНОРСТУХ", "ABEKMHOPCTYX")

#: Local parts and domains are looked for generously; the CRM decides what exists.
ADDRESS = re.compile(
    r"[^\s@<>()\[\]{},;:\"'«»…]{1,64}@[^\W_](?:[^\s@<>()\[\]{},;:\"'«»/]{0,250})\.[^\W\d_]{2,24}", re.UNICODE
)

#: An address as people spell it: "sophie.brown (at) post.example", "masha собака mail точка ru", "anna @ mail,ru".
#: Bounded everywhere, or a long text of dots would take a second.
_SAID_DOT = r"\s{1,3}(?:точка|dot)\s{1,3}"
_SAID_AT = r"\s{1,3}(?:собак[аи]|собачка)\s{1,3}|(?P<word>\s{1,3}at\s{1,3})"
_SIGN_AT = r"\s{0,3}(?:@|[(\[]\s?(?:at|a|а|собак[аи]|собачка)\s?[)\]])\s{0,3}"
SPELT_ADDRESS = re.compile(
    rf"(?<![\w.+-])(?P<local>[\w.+-]{{1,64}}(?:{_SAID_DOT}[\w+-]{{1,64}}){{0,4}})"
    rf"(?:{_SIGN_AT}|{_SAID_AT})"
    rf"(?P<domain>[a-z0-9-]{{1,63}}(?:(?:[.,]|{_SAID_DOT})[a-z0-9-]{{1,63}}){{0,4}}(?:[.,]|{_SAID_DOT})[a-z]{{2,24}})\b",
    re.IGNORECASE,
)
SPELT_DOT = re.compile(r"\s+(?:точка|dot)\s+|,", re.IGNORECASE)

#: A typed address as Rasa gets to see it: masked, with the reference under which the typed one is kept.
ADDRESS_REFERENCE = re.compile(r"[^\s@]{1,3}…[^\s@]{0,2}@[^\s@#]+#(?P<id>\d{1,18})")

#: An order number: 3 to 10 digits, perhaps with up to three letters before them ("GW-48213"), perhaps after a number
#: sign and cut into thousands ("№ 48 213"). Other groups are those of postcodes, phones and prices ("602 00").
ORDER_NUMBER = re.compile(
    r"(?<![\w@.+/)•-])(?<!\)\s)(?P<sign>[№#nN][oO°.]?\s?)?"
    r"(?P<number>(?:[A-ZА-Я]{1,3}[- ]?)?(?:\d{1,3}(?:[ -]\d{3})+|\d{3,10}))(?![\w@]|[.,:]\d|\s?%)"
)

#: More digits than an order has: a phone, a card, a parcel. Groups of five and more are numbers of their own.
LONG_NUMBER = re.compile(r"(?<!\w)\+?\d(?:[ ()-]{0,2}\d){10,}")
#: What stands before a number tells what it is, within as many characters.
WORDS_BEFORE = 40
#: What says of the number behind it that it is no order's.
OTHER_NUMBER = re.compile(
    r"\b(?:индекс|карт[аеуы]|карто[йю]|виз[аы]|тел(?:ефон)?|трек\w*|кв|квартира|"
    r"post ?code|postal code|zip(?: code)?|card|visa|mastercard|phone|mobile|track(?:ing)?|flat|apt|apartment|"
    r"ending|ends|заканчивается|оканчивается|last four(?: digits)?|последние (?:четыре )?цифры)"
    r"[ .:]*(?:(?:номер|number|no|is|in|with|на)[ .:]*)?$",
    re.IGNORECASE,
)
#: Money: a sign before the number, a currency behind it.
MONEY_BEFORE = re.compile(r"[£$€₽]\s?$")
MONEY_BEHIND = re.compile(r"\s?(?:[£$€₽]|(?:руб\w*|р|тыс\w*|eur|euros?|usd|gbp|pounds?|dollars?)(?![\w-]))", re.I)
#: A day, as "12.10.2026" or "2026-10-12".
DAY = re.compile(r"(?<!\d)(?:\d{4}-\d{1,2}-\d{1,2}|\d{1,2}([./-])\d{1,2}\1(?:\d{4}|\d{2}))(?!\d)")
#: Beside a number that is none of these, a sum, a size or a year is no order.
PAID_OR_WORN = re.compile(
    r"\b(?:paid|charged|cost|заплатил\w*|оплатил\w*|списал\w*|сумм[аыу]|размер\w*|size)\s?(?:за|на|of)?\s?$",
    re.IGNORECASE,
)
YEAR = re.compile(r"(?:19|20)\d\d")
#: A bank card's number, in one piece or in groups. The few shorter than this are as long as a parcel's.
CARD = re.compile(r"(?<!\d)\d(?:[ -]?\d){14,18}(?!\d)")


def mask_cards(text: str) -> str:
    """The text with all but the last four digits of bank cards hidden; nobody here needs them."""
    return CARD.sub(
        lambda found: f"••••{digits[-4:]}" if _is_card(digits := _digits(found.group())) else found[0], text
    )


def _digits(text: str) -> str:
    return re.sub(r"\D", "", text)


def _is_card(digits: str) -> bool:
    """Whether the check digit is right (Luhn, ISO/IEC 7812-1)."""
    doubled = [2 * int(digit) if place % 2 else int(digit) for place, digit in enumerate(reversed(digits))]
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0


def normalise_order_number(typed: str) -> str:
    """The one spelling under which an order is kept and looked up: "№ 48-213" and "48213" are the same."""
    # Before NFKC, which would turn the sign into the letters "No" in front of those of "№ GW-48213".
    plain = unicodedata.normalize("NFKC", typed.replace("№", " ")).upper().translate(LOOK_ALIKES)
    return re.sub(r"[^A-Z0-9]", "", re.sub(r"^\s*NO?[.\s]*(?=\d)", "", plain))


def normalise_address(typed: str) -> str:
    """The one spelling under which an address is kept and looked up; no provider's own rules (dots, plus) apply."""
    local, _, domain = unicodedata.normalize("NFKC", typed).strip().strip(".,;:!?").casefold().rpartition("@")
    # A domain that no mail server could have stays as it is: it will simply match no customer.
    with suppress(UnicodeError):
        domain = domain.encode("idna").decode("ascii")
    return f"{local}@{domain}"


def spell_out(text: str) -> str:
    """The text with addresses as mail servers know them, where a customer has put them into words.

    The word "at" alone says little ("order 48213 at getwear.com"): beside it a dot must be spelt, or the name have one.
    """

    def address(found: re.Match[str]) -> str:
        local, domain = (SPELT_DOT.sub(".", found[part]) for part in ("local", "domain"))
        doubtful = found["word"] and not (SPELT_DOT.search(found.group()) or "." in local.strip("."))
        list_of_two = "," in found["domain"] and "." in found["domain"]
        return found.group() if doubtful or list_of_two or local.isdigit() else f"{local}@{domain}"

    return SPELT_ADDRESS.sub(address, text)


def looks_spelt(text: str) -> bool:
    """Whether a text seems to hold an address, well-formed or not."""
    return bool(
        re.search(r"@|[(\[]\s*(?:at|a|а)\s*[)\]]|\bсобак[аи]\b|\bсобачка\b|\bточка\b|\bdot\b", text, re.IGNORECASE)
    )


def mask_address(address: str) -> str:
    """Enough for its owner to recognise, too little for anybody else: "masha.k@mail.ru" -> "m…k@mail.ru"."""
    local, _, domain = address.rpartition("@")
    tail = local[-1] if len(local) > 3 else ""
    return f"{local[:1]}…{tail}@{domain}"


def find_order_numbers(text: str) -> list[tuple[int, int, str]]:
    """Order numbers in a text as (start, end, normalised), in order; addresses are not searched.

    A bare number needs at least four digits ("12345"); three are enough after a number sign or letters ("№ 123").
    Sums and days are none; what may be a size or a year counts where there is nothing better.
    """
    plain = text
    for hidden in (ADDRESS_REFERENCE, ADDRESS, DAY):
        plain = hidden.sub(lambda found: " " * len(found.group()), plain)
    plain = LONG_NUMBER.sub(_without_long_number, plain)
    sure: list[tuple[int, int, str]] = []
    doubtful: list[tuple[int, int, str]] = []
    for match in ORDER_NUMBER.finditer(plain):
        before, behind = plain[max(0, match.start() - WORDS_BEFORE) : match.start()], plain[match.end() :]
        if OTHER_NUMBER.search(before) or MONEY_BEFORE.search(before) or MONEY_BEHIND.match(behind):
            continue
        number = normalise_order_number(match["number"])
        digits = sum(character.isdigit() for character in number)
        if digits >= 4 or match["sign"] or number != number.lstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ"):
            unlike = PAID_OR_WORN.search(before) or YEAR.fullmatch(match.group())
            (doubtful if unlike else sure).append((match.start(), match.end(), number))
    return sure or doubtful


def _without_long_number(found: re.Match[str]) -> str:
    groups = re.split(r"[ ()-]+", found.group().strip())
    several = len(groups) > 1 and all(len(group) >= 5 for group in groups)
    return found.group() if several else " " * len(found.group())
