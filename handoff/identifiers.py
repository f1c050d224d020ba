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

#: A typed address as Rasa gets to see it: masked, with the reference under which the typed one is kept.
ADDRESS_REFERENCE = re.compile(r"[^\s@]{1,3}…[^\s@]{0,2}@[^\s@#]+#(?P<id>\d{1,18})")

#: An order number: 3 to 10 digits, perhaps with up to three letters before them ("GW-48213"), perhaps after a number
#: sign and with single blanks between groups of digits ("№ 48 213").
ORDER_NUMBER = re.compile(
    r"(?<![\w@.+/)-])(?<!\)\s)(?P<sign>[№#nN][oO°.]?\s?)?"
    r"(?P<number>(?:[A-ZА-Я]{1,3}[- ]?)?\d(?:[ -]?\d){2,9})(?![\w@]|[.,:]\d|\s?%)"
)


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


def mask_address(address: str) -> str:
    """Enough for its owner to recognise, too little for anybody else: "masha.k@mail.ru" -> "m…k@mail.ru"."""
    local, _, domain = address.rpartition("@")
    tail = local[-1] if len(local) > 3 else ""
    return f"{local[:1]}…{tail}@{domain}"


def find_order_numbers(text: str) -> list[tuple[int, int, str]]:
    """Order numbers in a text as (start, end, normalised), in order; addresses are not searched.

    A bare number needs at least four digits ("12345"); three are enough after a number sign or letters ("№ 123").
    """
    without_addresses = ADDRESS_REFERENCE.sub(lambda found: " " * len(found.group()), text)
    without_addresses = ADDRESS.sub(lambda found: " " * len(found.group()), without_addresses)
    found = []
    for match in ORDER_NUMBER.finditer(without_addresses):
        number = normalise_order_number(match["number"])
        digits = sum(character.isdigit() for character in number)
        if digits >= 4 or match["sign"] or number != number.lstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ"):
            found.append((match.start(), match.end(), number))
    return found
