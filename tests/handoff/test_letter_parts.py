"""Decoding, HTML and winmail.dat, where a letter means harm or has been damaged."""

from __future__ import annotations

import struct
from email.message import Message

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handoff.mail import tnef
from handoff.mail.charsets import decoded, part_bytes, unflowed
from handoff.mail.html_text import html_text
from handoff.mail.reading import MAX_BOUNDARIES, MAX_LINES, LetterUnreadable, parse
from handoff.mail.visible_text import own_words


@pytest.mark.parametrize("charset", ["utf-8", "cp1251", "koi8-r", "cp866"])
@pytest.mark.parametrize("label", ["", "cp-1251", "iso-8859-1", "us-ascii", "utf-8", "windows-1252"])
@pytest.mark.parametrize("text", ["Да", "32/34, жду", "ГДЕ МОЙ ЗАКАЗ???", "Хорошо, Анна", "Нет. Size 33, please"])
def test_a_few_words_are_enough_to_know_the_charset(text: str, charset: str, label: str) -> None:
    """Answers are short, and statistics of whole texts do not help with them."""
    assert decoded(text.encode(charset), label) == text


@pytest.mark.parametrize("text", ["café", "Zoë asks: où est ma commande?", "Straße der Jugend 5"])
@pytest.mark.parametrize("label", ["", "iso-8859-1", "unknown-8bit"])
def test_western_words_are_not_taken_for_russian(text: str, label: str) -> None:
    """An accented letter among ASCII ones is no Cyrillic letter."""
    assert decoded(text.encode("latin-1"), label) == text


@given(st.binary(max_size=200), st.sampled_from(["", "utf-8", "utf-16", "cp-1251", "koi8-r", "utf-7", "\0"]))
def test_any_bytes_are_decoded(content: bytes, label: str) -> None:
    """Whatever is in a letter, it has a text."""
    assert isinstance(decoded(content, label), str)


@given(st.binary(max_size=300))
def test_any_base64_is_read(content: bytes) -> None:
    """Broken on its way or never base64 at all."""
    part = Message()
    part["Content-Transfer-Encoding"] = "base64"
    part.set_payload(content.decode("ascii", "surrogateescape"))

    assert isinstance(part_bytes(part), bytes)


@given(st.lists(st.text(st.sampled_from("абвгд жзик,"), min_size=1, max_size=60), min_size=1, max_size=12))
def test_words_without_any_mark_of_a_quotation_stay(lines: list[str]) -> None:
    """No rule may touch what has none of the marks it looks for."""
    text = "\n".join(lines)

    assert own_words(text).split() == text.split()


def test_flowed_lines_of_each_depth_are_joined_for_themselves() -> None:
    """RFC 3676 4.5: a quoted line never flows into one of another depth; "-- " never flows."""
    assert unflowed("a \nb\n> c \n> d \n>> e\n-- \nf", delete_space=False) == "a b\n> c d \n>> e\n-- \nf"


@pytest.mark.parametrize(
    "html",
    [
        "<div>" * 5000 + "слова",
        "<ul><li>" * 3000 + "слова",
        "<table><tr>" + "<td>x" * 40_000 + "слова",
        "<!--" * 90_000 + "> слова",
    ],
    ids=["deep", "lists", "cells", "comments"],
)
def test_html_that_is_made_to_take_long_still_gives_its_words(html: str) -> None:
    """The library for layout takes minutes for some of these; they lose their layout instead."""
    assert "слова" in html_text(html)


@pytest.mark.parametrize("line", [b"a", b"--b"])
def test_a_letter_of_too_many_lines_is_not_taken_apart(line: bytes) -> None:
    """Each costs the parser a hundred times its size."""
    with pytest.raises(LetterUnreadable, match="lines"):
        parse(b"From: a@b.example\r\n\r\n" + (line + b"\n") * (max(MAX_LINES, MAX_BOUNDARIES) + 1))


def test_a_winmail_that_would_take_hours_is_given_up() -> None:
    """It claims four billion properties, and the library would believe it."""
    properties = struct.pack("<IHHHH", 0xFFFFFFFF, 2, 0x1001, 1, 0)
    content = struct.pack("<IH", 0x223E9F78, 1) + struct.pack("<BHHI", 1, 0x9003, 6, len(properties))

    assert tnef.opened(content + properties + struct.pack("<H", sum(properties) & 0xFFFF)) is None
