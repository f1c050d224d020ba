"""The whole system is killed in the middle of everything, ten times, and goes on as if nothing had happened."""

from __future__ import annotations

import re
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from random import Random
from threading import Event

import httpx
import pytest

from bot.demo.mailboxes import Mailboxes
from handoff.identifiers import mask_address

from .chat import PATIENCE_S, RETRY_S, Chat, Said
from .running import AGENTS, Running, wait_for

pytestmark = [pytest.mark.crash, pytest.mark.engine]

#: Where in the conversation the power goes, and how long after that moment began at most. Turns take a few tenths of a
#: second, a letter a few hundredths.
MOMENTS = {
    "before the first answer": 0.4,
    "in the form": 1.0,
    "after confirming": 0.5,
    "while letters go out": 0.1,
    "while the agent's reply is taken in": 0.15,
}


@dataclass(frozen=True)
class Case:
    """One round's customer; every round has another case, so each must become a ticket of its own."""

    language: str
    words: str
    order: str
    address: str


CASES = [
    Case("ru", "На джинсах разошёлся боковой шов", "47655", "maria.sokolova@mail.example"),
    Case("en", "My parcel still hasn't arrived", "47988", "daniel.novak@mail.example"),
    Case("ru", "Хочу отменить заказ", "48377", "ivan.petrov@post.example"),
    Case("en", "I want to change the delivery address of my order", "48120", "james.carter@mail.example"),
    Case("ru", "Сроки прошли, а юбки всё нет", "47902", "elena.kim@mail.example"),
    Case("en", "The jeans don't fit me, I want to exchange them", "47731", "sophie.brown@post.example"),
    Case("ru", "Где мой заказ? Он опаздывает", "48213", "maria.sokolova@mail.example"),
    Case("en", "I want a refund for my jacket", "48390", "sophie.brown@post.example"),
    Case("ru", "Мне прислали чужие джинсы", "48377", "petrov.i@mail.example"),
    Case("en", "I want my money back", "47988", "daniel.novak@mail.example"),
]


class Way:
    """A customer's whole way and the agent's answer; `begun` says how far it got."""

    def __init__(self, demo: Running, case: Case) -> None:
        self.case = case
        self.chat = Chat(demo, case.language)
        self.ticket = 0
        self.confirmation = ""
        self.answer = f"An answer to {self.chat.visitor}"
        self.begun = {moment: Event() for moment in MOMENTS}
        self._demo = demo

    def walk(self) -> None:
        """Each step waits for the one before; whoever is asked may be down for a while."""
        self.begun["before the first answer"].set()
        self.chat.begin()
        self.chat.say(self.case.words)
        self.begun["in the form"].set()
        self.chat.say(self.case.order)
        asks = self.chat.say(self.case.address)
        assert len(asks.buttons) == 3, asks.text
        self.begun["after confirming"].set()
        self.confirmation = next(iter(asks.buttons))
        promise = self.chat.press(asks)
        found = re.search(r"\b\d{4}\b", promise.text)
        assert found, promise.text
        self.ticket = int(found[0])
        letter_id = wait_for(self._letter, "the letter to the agents", PATIENCE_S)
        self.begun["while the agent's reply is taken in"].set()
        self._reply(letter_id)
        wait_for(lambda: len(self.letters(self.case.address)) >= 2, "the answer to the customer", PATIENCE_S)
        wait_for(lambda: len(self.letters(AGENTS)) >= 2, "the answer in the agents' thread", PATIENCE_S)

    def letters(self, address: str) -> list[str]:
        """What the letters of this ticket in a mailbox are, in a word each.

        A letter that the mail server had taken when we died, before we had noted it, is sent again: SMTP knows no other
        way not to lose it. It has the same Message-ID, and counts here as it does for mail stores: once.
        """
        found = [letter for letter in self._demo.letters(address) if letter["X-Handoff-Ticket"] == str(self.ticket)]
        letters = {letter["Message-ID"]: letter for letter in found}
        assert len(found) <= len(letters) + 1, "more letters twice than one kill can cut off"
        return ["automatic" if letter["Auto-Submitted"] else "answer" for letter in letters.values()]

    def _letter(self) -> str | None:
        mailboxes = Mailboxes(self._demo.data_dir / "demo-mail")
        marked = f"X-Handoff-Ticket: {self.ticket}\r\n".encode()
        return next((letter.id for letter in mailboxes.letters(AGENTS) if marked in letter.raw), None)

    def _reply(self, letter_id: str) -> None:
        """As the page does it: the reply keeps its id until the service has taken it."""
        reply = {"id": f"reply-{self.chat.visitor}".replace("_", "-"), "text": self.answer}
        place = f"/demo/letters/{AGENTS}/{letter_id}/reply"

        def taken() -> bool:
            try:
                return self._demo.http.post(place, json=reply, headers={"X-Demo": "1"}).status_code == 200
            except httpx.HTTPError:
                return False

        wait_for(taken, "a service that takes the reply", PATIENCE_S, RETRY_S)


def test_ten_crashes_lose_nothing_and_double_nothing(own_demo: Running):
    """Whoever wrote is answered once and whoever was promised a letter gets one, wherever the power went; and what
    the agents read is the conversation as it was, without a turn that had to be played twice.
    """
    own_demo.start()
    ways = []

    with ThreadPoolExecutor() as customers:
        for number, case in enumerate(CASES):
            way = Way(own_demo, case)
            ways.append(way)
            _crash_during(own_demo, way, customers.submit(way.walk), number)

    tickets = {ticket["number"]: ticket for ticket in own_demo.tickets()}
    assert sorted(tickets) == sorted(way.ticket for way in ways)
    for number, way in enumerate(ways):
        case, sender_id = way.case, way.chat.sender_id
        ticket = tickets[way.ticket]
        assert (ticket["order"], ticket["requester"]) == (case.order, case.address), f"round {number}"
        assert way.letters(AGENTS) == ["automatic", "automatic"], f"round {number}: the agents' letters"
        assert way.letters(case.address) == ["automatic", "answer"], f"round {number}: the customer's letters"
        taken = own_demo.rows("SELECT id, key, state FROM inbox WHERE sender_id = ? ORDER BY id", sender_id)
        assert [(key, state) for _, key, state in taken] == [(key, "answered") for key in way.chat.keys]
        answers = own_demo.rows(
            "SELECT purpose, state FROM outbox WHERE sender_id = ? AND purpose LIKE 'answer:%' ORDER BY id", sender_id
        )
        assert answers == [(f"answer:{item}", "sent") for item, _, _ in taken]
        notices = "SELECT count(*) FROM outbox WHERE sender_id = ? AND purpose LIKE 'answer_sent:%' AND state = 'sent'"
        assert own_demo.rows(notices, sender_id) == [(1,)], f"round {number}: notices"
        lines = [case.words, case.order, mask_address(case.address), way.confirmation]
        assert _transcript(own_demo, way.ticket) == lines, f"round {number}: the transcript"
    assert own_demo.command("stuck") == ""


def test_a_turn_whose_answer_was_lost_is_played_again_as_if_for_the_first_time(demo: Running):
    """Rasa keeps a turn a moment before we keep its answer; a crash in between leaves it played and unanswered. The
    customer then hears what he would have heard, in a form too, and the agents read every message once.
    """
    chat = Chat(demo, "en")

    _answered_again(demo, chat, chat.say("How do I measure myself?"))
    _answered_again(demo, chat, chat.say("The zip of my jeans broke"))
    _answered_again(demo, chat, chat.say("48390"))
    asks = _answered_again(demo, chat, chat.say("sophie.brown@post.example"))
    promise = _answered_again(demo, chat, chat.press(asks))

    [number] = [ticket["number"] for ticket in demo.tickets() if ticket["order"] == "48390"]
    assert str(number) in promise.text
    lines = ["How do I measure myself?", "The zip of my jeans broke", "48390", "s…n@post.example", "That's right"]
    assert _transcript(demo, number) == lines


def _answered_again(demo: Running, chat: Chat, first: Said) -> Said:
    """Put our database back to before the answer, while Rasa's is after it: the turn is played again."""
    [(item, answer)] = demo.rows(
        "SELECT inbox.id, outbox.id FROM inbox JOIN outbox ON purpose = 'answer:' || inbox.id WHERE key = ?",
        chat.keys[-1],
    )
    known = {message["id"] for message in chat.conversation()} - {f"out-{answer}"}
    demo.write(
        ("DELETE FROM button WHERE outbox_id = ?", answer),
        ("DELETE FROM outbox WHERE id = ?", answer),
        ("DELETE FROM knowledge_gap WHERE inbox_id = ?", item),
        ("UPDATE inbox SET state = 'waiting', attempts = 1 WHERE id = ?", item),
    )
    again = chat.answer_to(known)
    assert again.text == first.text
    assert list(again.buttons) == list(first.buttons)
    return again


def _transcript(demo: Running, ticket: int) -> list[str]:
    """What the agents read that the customer said."""
    said = "SELECT text FROM ticket_entry WHERE ticket_number = ? AND author = 'customer' AND kind = 'chat' ORDER BY id"
    return [text for (text,) in demo.rows(said, ticket)]


def _crash_during(demo: Running, way: Way, walk: Future[None], number: int) -> None:
    """Kill the system at a moment of this way that the round's number decides, start it again, see the way's end."""
    moment = list(MOMENTS)[number % len(MOMENTS)]
    delay_s = Random(number).uniform(0, MOMENTS[moment])
    if moment == "while letters go out":
        waiting = "SELECT 1 FROM letter_out JOIN ticket ON ticket_number = number WHERE sender_id = ?"
        wait_for(lambda: demo.rows(waiting, way.chat.sender_id), "a letter", PATIENCE_S, every_s=0.005)
    else:
        # The customer may have failed on the way there; his failure says more than our waiting in vain.
        wait_for(lambda: way.begun[moment].is_set() or walk.done(), moment, PATIENCE_S, every_s=0.005)
    time.sleep(delay_s)
    demo.kill()
    went_down = time.monotonic()
    again_s = demo.start()
    walk.result(PATIENCE_S)
    whole_s = time.monotonic() - went_down
    print(f"round {number}: {moment} + {delay_s:.3f} s; up after {again_s:.0f} s, done after {whole_s:.0f} s")  # noqa: T201
