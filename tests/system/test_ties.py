"""As much a question as somebody's own case: the question is answered, and a button says that it is about an order."""

from __future__ import annotations

import pytest

from .chat import Chat
from .running import Running

pytestmark = pytest.mark.engine

#: Cut short so that nobody could say what is meant. Which of them are ties changes with every training.
UNCLEAR = {
    "ru": [
        "Смена адреса доставки",
        "отмена заказа до какого числа",
        "поменять цвет ниток в заказе можно",
        "можно поменять адрес доставки",
        "возврат денег сколько ждать",
        "оплата не проходит, какие карты берёте",
        "обмен второй пары",
        "изменения в заказе, мерки",
        "курьер, перенос времени",
        "старую пару отправить, куда",
        "гарантия, молния",
        "опоздание заказа, что теперь",
        "пересылка старых джинсов, чек",
        "доставка на другой адрес",
        "усадка после стирки",
    ],
    "en": [
        "refund when",
        "old pair sending back",
        "parcel, which courier",
        "a change to the order",
        "exchange, second size",
        "cancellation of an order, how long",
        "sending the old pair, receipt",
        "is it normal that the dye comes off",
        "order changes, measurements",
        "delivery, another address",
        "promo code, not applied",
        "zip, warranty",
        "parcel tracking, number",
        "order by phone, paid",
    ],
}
BUTTON = {"ru": "Это про мой заказ", "en": "It's about my order"}
NUMBER = {"ru": "номер", "en": "number"}


@pytest.mark.parametrize("language", ["ru", "en"])
def test_a_tie_is_answered_and_offers_the_own_order(rested_demo: Running, language: str):
    """Pressed, the button begins the case."""
    for text in UNCLEAR[language]:
        chat = Chat(rested_demo, language)
        said = chat.say(text)
        if BUTTON[language] in said.buttons:
            break
    else:
        pytest.fail("none of these is a tie any more: write some that are")

    begun = chat.press(said, list(said.buttons).index(BUTTON[language]))

    assert NUMBER[language] in begun.text
    assert rested_demo.rows("SELECT number FROM ticket WHERE sender_id = ?", chat.sender_id) == []
