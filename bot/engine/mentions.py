"""Order numbers and addresses in a message: finding them, and what the message says without them."""

from __future__ import annotations

import re
from typing import Any

from handoff.identifiers import ADDRESS, ADDRESS_REFERENCE, find_order_numbers

#: What looks like an order number, however it is grouped. For what a message is about it counts even where it is a
#: postcode or a phone: customers who name a number mostly have a case. Which number is an order's is told more strictly
#: (`handoff.identifiers`).
LIKE_AN_ORDER = re.compile(
    r"(?<![\w@.+/)-])(?<!\)\s)(?P<sign>[№#nN][oO°.]?\s?)?"
    r"(?P<number>(?P<letters>[A-ZА-Я]{1,3}[- ]?)?\d(?:[ -]?\d){2,9})(?![\w@]|[.,:]\d|\s?%)"
)
#: Without a sign or letters an order's number has as many digits.
LEAST_DIGITS = 4

#: Stands in for any order number, so that the model learns "has a number" and not the digits.
NUMBER_WORD = " номерзаказа "

#: What may surround a bare order number or address without making it a message about something.
FILLER = {
    "заказ", "заказа", "номер", "мой", "вот", "почта", "адрес", "имейл", "эл", "и",
    "order", "number", "my", "is", "it's", "here", "email", "e", "mail", "no", "and", "the",
    # A correction, or a number that has turned up, is no more than a number either.
    "не", "а", "ой", "точнее", "вернее", "извините", "простите", "нашел", "нашла", "нашёл", "это",
    "not", "but", "sorry", "oops", "actually", "found", "it", "i",
    # Where an answer may go.
    "пишите", "напишите", "мне", "на", "моя", "пожалуйста", "ящик", "лучше", "можно",
    "write", "reach", "me", "at", "you", "can", "please", "use", "this", "address", "mailbox", "to",
}  # fmt: skip


def entity(name: str, value: str, start: int, end: int) -> dict[str, Any]:
    """An entity as Rasa writes them."""
    return {"entity": name, "value": value, "start": start, "end": end, "extractor": "TopicClassifier"}


def identifiers_in(text: str) -> list[dict[str, Any]]:
    """Addresses (as references, see `handoff.identity.keep_address`) and order numbers as entities.

    A number that the customer takes back ("не 48231, а 48213") is left out.
    """
    found = [entity("address", m.group(), m.start(), m.end()) for m in ADDRESS_REFERENCE.finditer(text)]
    numbers = find_order_numbers(text)
    said = [n for n in numbers if not re.search(r"(?:\bне|\bnot)\s+$", text[: n[0]], re.I)] or numbers
    return found + [entity("order_number", number, start, end) for start, end, number in said]


def names_number(text: str) -> bool:
    """Whether something in the text looks like an order number."""
    return bool(_numbers(text))


def without_identifiers(text: str) -> str:
    """The text without addresses and what looks like an order number: they tell nothing about language or layout."""
    text = ADDRESS_REFERENCE.sub(" ", text)
    for start, end in reversed(_numbers(text)):
        text = f"{text[:start]} {text[end:]}"
    return text


def _numbers(text: str) -> list[tuple[int, int]]:
    for addresses in (ADDRESS_REFERENCE, ADDRESS):
        text = addresses.sub(lambda found: " " * len(found.group()), text)
    return [
        found.span()
        for found in LIKE_AN_ORDER.finditer(text)
        if found["sign"] or found["letters"] or len(re.findall(r"\d", found["number"])) >= LEAST_DIGITS
    ]


def to_understand(text: str, numbered: bool | None = None) -> str:
    """The text as the model sees it: lower case, an order number as one fixed word."""
    if numbered is None:
        numbered = names_number(text)
        text = without_identifiers(text)
    return re.sub(r"\s+", " ", text.lower().replace("ё", "е") + (NUMBER_WORD if numbered else "")).strip()


def is_bare(text: str) -> bool:
    """Whether there is nothing but identifiers and words like "order number"."""
    return all(word in FILLER for word in re.findall(r"[^\W\d_]+(?:'s)?", without_identifiers(text).lower()))
