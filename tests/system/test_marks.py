"""After the end of a case, in the whole running system: the chat asks for a mark, a low one brings the case back."""

from __future__ import annotations

import re
from email.message import EmailMessage

import pytest

from bot.demo.mailboxes import Mailboxes

from .chat import Chat, Said
from .running import AGENTS, Running, wait_for

pytestmark = pytest.mark.engine


def test_a_low_mark_brings_a_closed_case_back(rested_demo: Running):
    """The agent closes with his answer, the customer is asked in the chat, and was not helped."""
    demo = rested_demo
    # A case about this order that another test left open would take this one in.
    demo.write(("UPDATE ticket SET state = 'closed'",))
    chat = Chat(demo, "en")
    chat.say("The zip of my jeans broke, order 48390, sophie.brown@post.example")
    promise = chat.say("yes")
    number = int(re.findall(r"\b\d{4}\b", promise.text)[0])

    _reply_as_agent(demo, number, "Please sew it yourself.\n/close")
    question = wait_for(lambda: _question(chat), "the question for a mark")

    assert str(number) in question.text
    assert list(question.buttons) == ["1", "2", "3", "4", "5"]
    assert [ticket["state"] for ticket in demo.tickets() if ticket["number"] == number] == ["closed"]

    sorry = chat.press(question, 0)
    assert re.search("sorry|apolog", sorry.text, re.I)
    assert str(number) in sorry.text
    [letter] = wait_for(lambda: _letters(demo, number, "ОЦЕНКА 1 ИЗ 5"), "the letter about the mark")
    assert letter["X-Priority"] == "1"
    assert [ticket["state"] for ticket in demo.tickets() if ticket["number"] == number] == ["open"]

    chat.say("They sent me the wrong thread as well")
    wait_for(lambda: _letters(demo, number, "wrong thread"), "the customer's words in the agents' thread")

    again = chat.press(question, 4)
    assert again.text != sorry.text
    assert demo.rows("SELECT mark FROM csat WHERE ticket_number = ?", number) == [(1,)]


def _question(chat: Chat) -> Said | None:
    asked = [message for message in chat.conversation() if len(message["buttons"]) == 5]
    return Said(asked[-1]["text"], {b["title"]: b["key"] for b in asked[-1]["buttons"]}) if asked else None


def _letters(demo: Running, number: int, words: str) -> list[EmailMessage]:
    ours = [letter for letter in demo.letters(AGENTS) if letter["X-Handoff-Ticket"] == str(number)]
    return [letter for letter in ours if words in str(letter.get_body(("plain",)).get_content())]  # type: ignore[union-attr]


def _reply_as_agent(demo: Running, number: int, text: str) -> None:
    def find() -> str | None:
        marked = f"X-Handoff-Ticket: {number}\r\n".encode()
        letters = Mailboxes(demo.data_dir / "demo-mail").letters(AGENTS)
        return next((letter.id for letter in letters if marked in letter.raw), None)

    letter_id = wait_for(find, "the letter to the agents")
    place = f"/demo/letters/{AGENTS}/{letter_id}/reply"
    answer = demo.http.post(place, json={"id": f"reply-{number}", "text": text}, headers={"X-Demo": "1"})
    assert answer.status_code == 200, answer.text
