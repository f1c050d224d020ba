"""Which numbers in a message are orders, and which are nobody's business."""

from __future__ import annotations

import pytest

from handoff.identifiers import find_order_numbers, mask_cards, spell_out


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("заказ 48213", ["48213"]),
        ("№ 48 213", ["48213"]),
        ("48-213 не пришёл", ["48213"]),
        ("GW-48213 and № 123", ["GW48213", "123"]),
        ("both 47731 and 48390", ["47731", "48390"]),
        ("47731 48390 47902", ["47731", "48390", "47902"]),
        ("My card 1234 is charged twice, order 48120", ["48120"]),
        ("с карты 4111 1111 1111 1111 списали, заказ 48377", ["48377"]),
        ("the card ••••1111", []),
        ("индекс 630004", []),
        ("postcode: 90210", []),
        ("new address: Lidická 7, Brno 602 00", []),
        ("позвоните 8 912 000 14 55", []),
        ("+7 (912) 000-14-55", []),
        ("трек 19006812345678", []),
        ("tracking number 1900681234", []),
        ("кв. 1204", []),
        ("51337, заплатил 7990 руб", ["51337"]),
        ("order 48120, £1150 gone", ["48120"]),
        ("мне списали 12 500 ₽", []),
        ("заказ 4512 р-н Южный", ["4512"]),
        ("paid 8200 for order 47731", ["47731"]),
        ("оплатил 48213", ["48213"]),
        ("48213 размер 3234", ["48213"]),
        ("order 48120 of 2026-11-01", ["48120"]),
        ("заказ 48377 от 3.11.2026", ["48377"]),
        ("in 2026 I ordered 47902", ["47902"]),
        ("№ 2026", ["2026"]),
        ("it was the visa ending 4421", []),
        ("the card ends in 4421, order 48120", ["48120"]),
        ("карта заканчивается на 4421", []),
        ("номер 2026", ["2026"]),
    ],
)
def test_order_numbers_are_told_from_others(text: str, numbers: list[str]) -> None:
    """A postcode that took an order's place would send the case astray."""
    assert [number for _, _, number in find_order_numbers(text)] == numbers


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("Visa 4111 1111 1111 1111, please", "Visa ••••1111, please"),
        ("4276160012345675", "••••5675"),
        ("5555-5555-5555-4444", "••••4444"),
        ("4111 1111 1111 1112 fails the check", "4111 1111 1111 1112 fails the check"),
        ("трек 80080012345671", "трек 80080012345671"),
        ("заказ 48213, тел. 8 912 000 14 55", "заказ 48213, тел. 8 912 000 14 55"),
    ],
)
def test_bank_cards_are_masked(text: str, masked: str) -> None:
    assert mask_cards(text) == masked


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("maria.sokolova (a) mail.example", "maria.sokolova@mail.example"),
        ("maria.sokolova собачка mail точка example", "maria.sokolova@mail.example"),
        ("my e-mail is james dot carter at mail dot example", "my e-mail is james.carter@mail.example"),
        ("sophie.brown AT post.example, thanks", "sophie.brown@post.example, thanks"),
        ("sophie.brown @ post.example", "sophie.brown@post.example"),
        ("anna@mail,example", "anna@mail.example"),
        *((same, same) for same in (
            "anna@mail.example,ok",
            "моя собака порвала. джинсы",
            "order 48213 at shop.example",
            "look at shop.example please",
            "I paid 50 @ shop.example",
        )),
    ],
)  # fmt: skip
def test_an_address_in_words_is_read(text: str, read: str) -> None:
    """People spell addresses as they would say them; other sentences stay as they are."""
    assert spell_out(text) == read
