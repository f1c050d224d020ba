"""Every letter in tests/letters goes through the real intake; cases.yml says what must become of it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from handoff_cases import NOW, letters
from ruamel.yaml import YAML
from sqlalchemy.orm import Session

from handoff.desk import Desk
from handoff.mail.inbound import MAX_LETTER_BYTES, take_in
from handoff.models import LetterIn, Ticket

LETTERS = Path(__file__).parent.parent / "letters"
CASES: dict[str, dict[str, Any]] = YAML(typ="safe").load(LETTERS / "cases.yml")
USUAL = {"outcome": "threaded", "author": "customer", "reason": "", "attachments": 0, "text": ""}

LATER = NOW + timedelta(minutes=30)


@pytest.fixture
def raw(session: Session, opened: Ticket):
    """A letter's bytes, with the ticket's own addresses and ids in it."""
    (to_customer,), (to_agents,) = letters(session, "customer"), letters(session, "agents")
    filled = {
        b"{customer}": to_customer["Reply-To"],
        b"{agents}": to_agents["Reply-To"],
        b"{confirmation_id}": to_customer["Message-ID"],
        b"{ticket_id}": to_agents["Message-ID"],
    }

    def read(name: str) -> bytes:
        content = (LETTERS / f"{name}.eml").read_bytes()
        for placeholder, value in filled.items():
            content = content.replace(placeholder, str(value).encode())
        return content

    return read


def judged(letter: LetterIn, expected: dict[str, Any]) -> dict[str, Any]:
    """What became of a letter, in the words of cases.yml."""
    return {
        "outcome": letter.outcome,
        "author": letter.author,
        "reason": letter.reason[: len(expected["reason"])],
        "attachments": letter.attachments,
        "text": letter.text,
    }


def test_every_letter_has_a_case_and_every_case_a_letter() -> None:
    """A letter that nobody judges tests nothing."""
    assert {path.stem for path in LETTERS.glob("*.eml")} == set(CASES)
    assert len(CASES) >= 80


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize("name", CASES)
def test_a_letter_is_judged_and_shown_as_its_case_says(session: Session, desk: Desk, raw, name: str) -> None:
    """The program that wrote it, its damage or its malice are in its name; it is kept as it came.

    One engine is enough here: all letters together go through both below.
    """
    expected = USUAL | CASES[name]
    content = raw(name)

    letter = take_in(session, content, [], desk, LATER)

    assert judged(letter, expected) == expected
    assert letter.raw == content


def test_the_letters_do_not_disturb_each_other(session: Session, desk: Desk, raw) -> None:
    """One mailbox with all of them, twice: none stops the rest, and the second time each is a duplicate."""
    names = list(CASES)

    first = [take_in(session, raw(name), [], desk, LATER) for name in names]
    again = [take_in(session, raw(name), [], desk, LATER) for name in names]

    assert [letter.outcome for letter in first] == [(USUAL | CASES[name])["outcome"] for name in names]
    assert {letter.outcome for letter in again} == {"duplicate"}
    session.flush()


def test_no_quoted_line_of_an_agents_letter_reaches_the_customer(session: Session, desk: Desk, raw) -> None:
    """Our letters to the agents hold what the customer must not read: what may be offered, and who may speak as us."""
    for name, case in CASES.items():
        if case.get("author") == "agent":
            take_in(session, raw(name), [], desk, LATER)

    for letter in letters(session, "customer")[1:]:
        text = letter.get_body(("plain",)).get_content()
        assert "Можно предложить" not in text
        assert "You may offer" not in text
        assert "+t1001." not in text


def test_a_letter_of_30_megabytes_is_kept_by_its_beginning(session: Session, desk: Desk, raw) -> None:
    """It is never taken apart; the letter after it comes in as usual."""
    size = 30 * 1024 * 1024
    head = raw("gmail_ru_top").partition(b"\r\n\r\n")[0]

    letter = take_in(session, head + b"\r\n\r\n" + b"A" * size, [], desk, LATER)
    after = take_in(session, raw("gmail_en_top"), [], desk, LATER)

    assert size > MAX_LETTER_BYTES
    assert (letter.outcome, letter.from_address) == ("quarantined", "maria@example.com")
    assert letter.reason.startswith("too large")
    assert len(letter.raw) < 100_000
    assert after.outcome == "threaded"


def test_a_zip_bomb_is_passed_on_and_never_opened(session: Session, desk: Desk, raw) -> None:
    """Ten thousand times its size when unpacked; we do not look inside attachments."""
    take_in(session, raw("zip_bomb"), [], desk, LATER)

    (attachment,) = letters(session, "agents")[-1].iter_attachments()
    assert attachment.get_content()[:2] == b"PK"
    assert len(attachment.get_content()) < 20_000


def test_raw_letters_keep_their_line_ends() -> None:
    """Git must not change them (.gitattributes): a letter's lines end with CRLF."""
    content = (LETTERS / "gmail_ru_top.eml").read_bytes()

    assert content.count(b"\r\n") == content.count(b"\n") > 10
