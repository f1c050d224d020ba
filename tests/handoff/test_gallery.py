"""Every kind of letter, as programs and people get it."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape

import pytest
from gallery import every_letter
from handoff_cases import body
from sqlalchemy.orm import Session

from handoff.desk import Desk
from handoff.mail.modes import ModeName, mode_named

STYLE_OR_TAG = re.compile(r"<style.*?</style>|<!--.*?-->|<title.*?</title>|<[^>]*>", re.DOTALL)


def words_of(text: str) -> list[str]:
    return re.findall(r"\w+", text)


@pytest.mark.parametrize("mode", ["desk", "external"])
@pytest.mark.parametrize(("customers", "agents"), [("en", "ru"), ("ru", "en")])
def test_every_letter_reads_the_same_in_plain_text_and_in_html(
    session: Session, desk: Desk, mode: ModeName, customers: str, agents: str
) -> None:
    """Each is complete by itself: nobody has to open the other one. Word draws only tables with inline styles."""
    desk = replace(desk, mode=mode_named(mode), shop=replace(desk.shop, language=agents))

    for name, letter in every_letter(session, desk, customers):
        plain, html = body(letter), body(letter, "html")
        shown = unescape(STYLE_OR_TAG.sub(" ", html))
        # A link is an address in plain text and a word in HTML; whole sentences are written around it.
        told = re.sub(r"https://jeans\.example/\S+", " ", plain)
        # Each mark is a link of its own in HTML, and one in plain text.
        marks = set("12345") if name == "mark" else set()
        assert set(words_of(told)) | marks == set(words_of(shown)) | marks, name
        assert not re.search(r"<(img|link|script|iframe)|url\(|display:\s*(flex|grid)|background-image", html), name
        for text in (plain, shown):
            assert "{{" not in text
            assert "None" not in text
            assert "%}" not in text
        assert "\n\n\n" not in plain.strip(), name
