"""The text that a person is shown."""

from __future__ import annotations

import email
from email.message import EmailMessage

import pytest

from handoff.mail.visible_text import own_words, read_text

HISTORY = {
    "our marker": "—— Ответ пишите выше этой строки ——\n\nЗаказ: 1",
    "our marker, quoted": "> —— Please reply above this line ——\n> Order: 1",
    "Gmail": "пт, 20 нояб. 2026 г. в 15:20, Анна, Getwear <support@jeans.example>:\n> Заказ",
    "Gmail, English": "On Fri, Nov 20, 2026 at 3:20 PM Anna <support@jeans.example> wrote:\n> Order",
    "Gmail, English, two lines": "On Fri, Nov 20, 2026 at 3:20 PM Anna\n<support@jeans.example> wrote:\n> Order",
    "Yandex": "20.11.2026, 15:20, «Анна» <support@jeans.example>:\n> Заказ",
    "Mail.ru": "Пятница, 20 ноября 2026, 15:20 +03:00 от Анна <support@jeans.example>:\n \n> Заказ",
    "Apple Mail": "20 нояб. 2026 г., в 15:20, Анна <support@jeans.example> написал(а):\n\n> Заказ",
    "Thunderbird": "20.11.2026 15:20, Анна, Getwear пишет:\n> Заказ",
    "Outlook": "-----Original Message-----\nFrom: Anna\nSent: Friday\n",
    "Outlook, Russian": "________________________________\nОт: Анна <a@b.example>\nОтправлено: 20 ноября\nКому: x",
    "Outlook, Russian, no rule": "От: Анна <support@jeans.example>\nОтправлено: 20 ноября 2026 г. 15:20\nКому: x",
    "quotation alone": "> Заказ\n> ещё",
    "signature": "-- \nОльга, отдел заботы",
}


@pytest.mark.parametrize("history", HISTORY.values(), ids=HISTORY.keys())
def test_the_history_is_cut_and_the_answer_stays(history: str) -> None:
    """The other side has the history already; what was written now stays whole."""
    written = "Спасибо, подойдёт!\n\nА когда привезут?"

    assert own_words(f"{written}\n\n{history}\n") == written
    assert own_words(f"{written}\n{history}\n".replace("\n", "\r\n")) == written


@pytest.mark.parametrize(
    "text",
    [
        "Она мне так и пишет:\nпривезём завтра",
        "Мой муж написал: не берите",
        "Заказ был на 15:20\n\nСпасибо",
        "цена -- 100",
        "Это от меня: подарок",
    ],
)
def test_what_only_looks_like_history_stays(text: str) -> None:
    """A lost sentence is worse than a quotation too many."""
    assert own_words(text) == text


def test_an_answer_below_the_quotation_is_found() -> None:
    """People on mailing lists answer below."""
    assert own_words("20.11.2026 15:20, Анна пишет:\n> Какой размер?\n\n32/34\n") == "32/34"


@pytest.mark.parametrize(
    ("charset", "label"),
    [
        ("cp1251", "windows-1251"),
        ("cp1251", "cp-1251"),
        ("cp1251", "iso-8859-1"),
        ("cp1251", "utf-8"),
        ("koi8-r", "koi8-r"),
        ("utf-8", "us-ascii"),
        ("utf-8", "unknown-8bit"),
    ],
)
def test_russian_is_read_whatever_its_label_says(charset: str, label: str) -> None:
    """Wrong and unknown labels are everyday; the letter must be readable."""
    text = "Здравствуйте, когда привезут мой заказ? Жду уже вторую неделю."
    raw = f"Content-Type: text/plain; charset={label}\n\n".encode() + text.encode(charset)

    assert read_text(email.message_from_bytes(raw)).own == text


def test_western_letters_stay_western() -> None:
    """Only a text made of almost nothing else is taken for Cyrillic with the wrong label."""
    raw = "Content-Type: text/plain; charset=iso-8859-1\n\nZoë asks: où est ma commande?".encode("latin-1")

    assert read_text(email.message_from_bytes(raw)).own == "Zoë asks: où est ma commande?"


def test_html_alone_is_read_as_text() -> None:
    """Some programs send nothing else."""
    letter = EmailMessage()
    letter.set_content("<style>p{color:red}</style><p>Добрый день!</p><p>Где <b>заказ</b>?<br>Жду.</p>", subtype="html")

    assert read_text(letter).own.split("\n") == ["Добрый день!", "", "Где заказ?", "Жду."]


def test_an_empty_plain_part_gives_way_to_html() -> None:
    """Some programs leave it empty."""
    letter = EmailMessage()
    letter.set_content(" \n")
    letter.add_alternative("<p>Привет</p>", subtype="html")

    assert read_text(letter).own == "Привет"


def test_an_attached_text_is_not_the_letters_text() -> None:
    """A log file is an attachment."""
    letter = EmailMessage()
    letter.set_content("см. файл")
    letter.add_attachment("тайна", filename="log.txt")

    assert read_text(letter).own == "см. файл"


def test_a_letter_without_text_has_none() -> None:
    """A photo alone."""
    letter = EmailMessage()
    letter.add_attachment(b"x", maintype="image", subtype="png", filename="a.png")

    assert read_text(letter).own == ""
