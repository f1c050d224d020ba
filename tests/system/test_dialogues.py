"""The dialogues of tests/dialogues, spoken with the whole running system as a customer would.

A file is a list of dialogues, a dialogue a list of turns. Each turn says what the customer does and what the answer
must hold; patterns are regular expressions, read without regard to case.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from bot.engine_process import ROOT

from .chat import Chat, Said, png
from .running import Running

pytestmark = pytest.mark.engine

FOLDER = ROOT / "tests" / "dialogues"

#: What a turn of a file may hold, and what it means.
STEPS = {
    "says": "the customer writes this",
    "presses": "the customer presses the button whose title matches",
    "photo": "the customer sends a picture",
}
EXPECTATIONS = {
    "answer": "patterns that the answer matches",
    "never": "patterns that the answer does not match",
    "order": "patterns that come one after the other",
    "buttons": "patterns of buttons that are there",
    "tickets": "how many tickets the customer has opened by now",
    "topics": "topics of those tickets, in order",
    "urgent": "whether the newest ticket is urgent",
    "added": "patterns found in what the tickets hold by now",
}


@dataclass(frozen=True)
class Dialogue:
    """One conversation of a file."""

    name: str
    language: str
    turns: list[dict[str, Any]]
    file: str

    def __str__(self) -> str:
        return f"{self.file}: {self.name}"


def read(path: Path) -> list[Dialogue]:
    """The dialogues of a file; a misspelt word in it is an error, not an expectation that nothing checks."""
    dialogues = []
    for raw in YAML(typ="safe").load(path):
        for turn in raw["turns"]:
            unknown = turn.keys() - STEPS.keys() - EXPECTATIONS.keys()
            assert not unknown, f"{path.name}, {raw['name']}: {', '.join(unknown)} is not a word of a turn"
            assert len(turn.keys() & STEPS.keys()) == 1, f"{path.name}, {raw['name']}: a turn has one of {list(STEPS)}"
        dialogues.append(Dialogue(raw["name"], raw["language"], raw["turns"], path.stem))
    return dialogues


DIALOGUES = [dialogue for path in sorted(FOLDER.glob("*.yml")) for dialogue in read(path)]


@pytest.mark.parametrize("dialogue", DIALOGUES, ids=str)
def test_dialogue(dialogue: Dialogue, rested_demo: Running):
    """As its file says; no answer of a dialogue is given twice."""
    chat = Chat(rested_demo, dialogue.language)
    last = Said("", {})
    told: list[str] = []

    for place, turn in enumerate(dialogue.turns):
        last = _do(chat, turn, last)
        where = f"turn {place + 1}, {turn}\nanswer: {last.text}\nbuttons: {list(last.buttons)}"
        _check(turn, last, where)
        _check_tickets(turn, rested_demo, chat.sender_id, where)
        assert last.text not in told, f"said before; {where}"
        told.append(last.text)


def _do(chat: Chat, turn: dict[str, Any], last: Said) -> Said:
    if "says" in turn:
        return chat.say(str(turn["says"]))
    if "photo" in turn:
        known = {message["id"] for message in chat.conversation()}
        assert chat.send_file(png()).status_code == 202
        return chat.answer_to(known)
    titles = [title for title in last.buttons if _found(turn["presses"], title)]
    assert titles, f"no button {turn['presses']!r} among {list(last.buttons)}"
    return chat.press(last, list(last.buttons).index(titles[0]))


def _check(turn: dict[str, Any], said: Said, where: str) -> None:
    for pattern in turn.get("answer", []):
        assert _found(pattern, said.text), f"no {pattern!r}; {where}"
    for pattern in turn.get("never", []):
        assert not _found(pattern, said.text), f"{pattern!r} was said; {where}"
    for pattern in turn.get("buttons", []):
        assert any(_found(pattern, title) for title in said.buttons), f"no button {pattern!r}; {where}"
    places = [re.search(pattern, said.text, re.I | re.S) for pattern in turn.get("order", [])]
    assert all(places), f"not all of {turn.get('order')}; {where}"
    starts = [found.start() for found in places if found]
    assert starts == sorted(starts), f"wrong order {starts}; {where}"


def _check_tickets(turn: dict[str, Any], demo: Running, sender_id: str, where: str) -> None:
    tickets = demo.rows("SELECT number, topic, priority FROM ticket WHERE sender_id = ? ORDER BY number", sender_id)
    if "tickets" in turn:
        assert len(tickets) == turn["tickets"], f"{len(tickets)} tickets; {where}"
    if "topics" in turn:
        assert [topic for _, topic, _ in tickets] == turn["topics"], where
    if "urgent" in turn:
        assert (tickets[-1][2] == "urgent") == turn["urgent"], where
    for pattern in turn.get("added", []):
        held = [
            text
            for number, _, _ in tickets
            for (text,) in demo.rows("SELECT text FROM ticket_entry WHERE ticket_number = ?", number)
        ]
        assert any(_found(pattern, text) for text in held), f"no {pattern!r} in {held}; {where}"


def _found(pattern: str, text: str) -> bool:
    return re.search(str(pattern), text, re.I | re.S) is not None
