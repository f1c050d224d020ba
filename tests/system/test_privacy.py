"""A code from the letter and the erasing of a customer, with the real service, its engine and a fake Telegram."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from email import message_from_bytes, policy
from pathlib import Path

import pytest

from ..messengers.fake_telegram import FakeTelegram
from ..messengers.telegram_customer import Customer, Received
from .running import Running

pytestmark = pytest.mark.engine

DANIEL = "daniel.novak@mail.example"


def said(customer: Customer, act, *what: str) -> Received:
    """The bot's answer to what a customer does."""
    known = len(customer.received)
    act(*what)
    return customer.wait_for(known + 1, timeout=60)[-1]


def code_in_letter(service: Running) -> str:
    query = "SELECT raw FROM letter_out WHERE template = 'confirmation' ORDER BY id DESC"
    letter = message_from_bytes(service.rows(query)[0][0], policy=policy.default)
    found = re.search(r"the code (\d{6})", letter.get_body(("plain",)).get_content())
    assert found is not None
    return found[1]


def events(service: Running) -> str:
    """What Rasa's own file holds, free pages and the log of what was written included."""
    return "".join(file.read_bytes().decode(errors="replace") for file in service.data_dir.glob("trackers.db*"))


def test_a_code_saves_number_and_address_and_erasing_leaves_nothing(service: Running, telegram: FakeTelegram):
    """A stranger's case, the code from its letter, a case without questions, and the end of it all."""
    daniel = telegram.customer(first_name="Daniel", language_code="en")
    sender_id = f"telegram:{daniel.chat_id}"
    said(daniel, daniel.says, f"My order 47988 is late, {DANIEL}")
    said(daniel, daniel.presses, "That's right")
    code = code_in_letter(service)

    wrong = said(daniel, daniel.says, f"code {(int(code) + 1) % 10**6:06}")
    bound = said(daniel, daniel.says, code)
    said(daniel, daniel.says, "Please cancel my order")
    asked = said(daniel, daniel.presses, "It's another matter")

    assert "doesn't fit" in wrong.text
    assert "d…k@mail.example" in bound.text
    assert "d…k@mail.example" in asked.text
    assert code not in events(service)
    assert service.rows("SELECT count(*) FROM inbox WHERE text LIKE ?", f"%{code}%") == [(0,)]
    assert sender_id in events(service)

    told = service.command("erase", "c-106", "--yes")

    assert f"conversation {sender_id}" in told
    assert "erased: 1 tickets" in told
    assert sender_id not in events(service)
    with closing(sqlite3.connect(service.data_dir / "support.db")) as connection:
        dump = "\n".join(line for line in connection.iterdump() if "crm_" not in line)
    assert sender_id not in dump
    assert DANIEL not in dump
    assert service.tickets()[0]["requester"] is None
    assert DANIEL not in Path(service.log).read_text(encoding="utf-8")

    anew = said(daniel, daniel.says, "My order is late")
    assert "number" in anew.text
