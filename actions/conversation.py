"""Reads a conversation out of Rasa's tracker."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from rasa_sdk.interfaces import Tracker

from handoff.case import Line
from handoff.identifiers import ADDRESS_REFERENCE
from handoff.models import Urgency

#: Routes whose messages carry a topic a ticket can be about.
CASE_ROUTES = ("case", "complaint", "human")

NO_ADDRESSES: Mapping[str, str] = {}

#: How people call what the form asks for.
WORDS_FOR_FACTS = {
    "order_number": re.compile(r"\b(номер|цифр|number|digit)", re.I),
    "address": re.compile(r"\b(почт|адрес|мыл[оау]|ящик|[эие]-?ме?й?ил|e-?mail|mail)", re.I),
}

#: What a ticket is about when the customer only wants a person.
GENERAL_TOPIC = "human/human_request"

#: Complaints come first; this one is about how somebody speaks.
COMPLAINTS, ANGRY_TOPIC = "complaint/", "complaint/anger"


def message_key(tracker: Tracker) -> str:
    """The key of the message whose turn this is; the same when the turn is played again."""
    return str(_metadata(tracker)["key"])


def heard_at(tracker: Tracker) -> datetime:
    """When Rasa heard the latest message."""
    heard = [event["timestamp"] for event in told_events(tracker) if event["event"] == "user"]
    return datetime.fromtimestamp(heard[-1], UTC)


def display_name(tracker: Tracker) -> str:
    """What the customer is called in the messenger, perhaps nothing."""
    return str(_metadata(tracker).get("display_name") or "")


def tapped_link(tracker: Tracker) -> str:
    """The token of the personal link that led into the chat just now, usually none."""
    return str(_metadata(tracker).get("link") or "")


def named_facts(tracker: Tracker) -> set[str]:
    """Which of "order_number" and "address" the latest message holds."""
    found = {entity["entity"] for entity in tracker.latest_message.get("entities", [])}
    return found & {"order_number", "address"}


def named_numbers(tracker: Tracker) -> list[str]:
    """The different order numbers that the latest message holds, in order; the last is the one the slot took."""
    entities = tracker.latest_message.get("entities", [])
    named = [str(found["value"]) for found in entities if found["entity"] == "order_number"]
    return list(dict.fromkeys(reversed(named)))[::-1]


def fact_meant(tracker: Tracker) -> str | None:
    """Which of "order_number" and "address" the customer wants to correct, by button or words; None if none is said."""
    pressed = [entity["value"] for entity in tracker.latest_message.get("entities", []) if entity["entity"] == "fact"]
    if pressed:
        return str(pressed[-1])
    text = str(tracker.latest_message.get("text") or "")
    meant = [fact for fact, words in WORDS_FOR_FACTS.items() if words.search(text)]
    return meant[0] if len(meant) == 1 else None


def named_addresses(tracker: Tracker) -> list[str]:
    """The references of the addresses that the latest message holds, in order."""
    return [
        str(entity["value"]) for entity in tracker.latest_message.get("entities", []) if entity["entity"] == "address"
    ]


def pressed_mark(tracker: Tracker) -> tuple[int, int]:
    """Ticket number and mark of the pressed button."""
    values = {entity["entity"]: entity["value"] for entity in tracker.latest_message.get("entities", [])}
    return int(values["ticket"]), int(values["mark"])


def language(tracker: Tracker) -> str:
    """The customer's language, as the answers choose it (see `bot.engine.answers.language_of`)."""
    for said in (tracker.get_slot("language"), tracker.get_slot("language_hint"), _metadata(tracker).get("language")):
        if said in ("ru", "en"):
            return str(said)
    return "ru"


def understood(tracker: Tracker) -> tuple[str, float]:
    """What the latest message was taken for, "faq/care" or a route alone, and how surely (0 to 1)."""
    message = tracker.latest_message
    intent = message.get("intent") or {}
    route = str(intent.get("name") or "")
    found = (message.get("response_selector") or {}).get(route, {}).get("response", {}).get("intent_response_key")
    return str(found or route), float(intent.get("confidence") or 0.0)


def topic(tracker: Tracker) -> str:
    """The topic of the latest message ("case/delay"), `GENERAL_TOPIC` when it has none a ticket can be about."""
    found, _ = understood(tracker)
    return found if found.startswith(tuple(f"{route}/" for route in CASE_ROUTES)) else GENERAL_TOPIC


def told_before(tracker: Tracker) -> tuple[str, str]:
    """Topic and words of the newest case that the bot has answered; general and "" if there was none."""
    about = ""
    for event in reversed(told_events(tracker)):
        if event["event"] == "bot" and not about:
            answer = str((event.get("metadata") or {}).get("utter_action") or "").removeprefix("utter_")
            about = answer if answer.startswith(tuple(f"{route}/" for route in CASE_ROUTES)) else ""
        elif event["event"] == "user" and about:
            return about, _shown(event)
    return GENERAL_TOPIC, ""


def last_question(tracker: Tracker) -> str:
    """The response that the bot gave before the latest message, such as "utter_faq/care"; "" if there was none."""
    before = False
    for event in reversed(told_events(tracker)):
        if event["event"] == "user":
            if before:
                break
            before = True
        elif event["event"] == "bot" and before:
            return str((event.get("metadata") or {}).get("utter_action") or "")
    return ""


def form_was_open(tracker: Tracker) -> bool:
    """Whether the case form was open before the latest message."""
    before = False
    for event in reversed(told_events(tracker)):
        if event["event"] == "user":
            before = True
        elif event["event"] == "active_loop" and before:
            return bool(event.get("name") == "case_form")
    return False


def answers_in_form(tracker: Tracker, answers: tuple[str, ...]) -> int:
    """How many answers whose response begins so were given since the form was opened."""
    given = 0
    for event in reversed(told_events(tracker)):
        if event["event"] == "active_loop":
            break
        given += str((event.get("metadata") or {}).get("utter_action") or "").startswith(answers)
    return given


def times_angry(tracker: Tracker) -> int:
    """How many messages were angry (`bot.engine.manner`) if the latest is; who has calmed down is asked as usual."""
    angry = [_is_angry(event) for event in told_events(tracker) if event["event"] == "user"]
    return sum(angry) if angry and angry[-1] else 0


def urgency(tracker: Tracker, about: str) -> Urgency | None:
    """Why a ticket about this topic is urgent, if it is: a complaint, or any angry message so far."""
    if about.startswith(COMPLAINTS) and about != ANGRY_TOPIC:
        return "complaint"
    angry = any(_is_angry(event) for event in told_events(tracker) if event["event"] == "user")
    return "anger" if angry or about == ANGRY_TOPIC else None


def customers_words(tracker: Tracker, *, back: int = 0) -> str:
    """The customer's latest message as he sees it, or the one `back` messages before it."""
    said = [line.text for line in transcript(tracker) if line.author == "customer"]
    return said[-1 - back] if len(said) > back else ""


def transcript(tracker: Tracker, addresses: Mapping[str, str] = NO_ADDRESSES) -> tuple[Line, ...]:
    """What was said, with times; a button shows what it said instead of its payload.

    Addresses stay masked but for those that `addresses` gives by reference.
    """
    lines = []
    for event in told_events(tracker):
        if event["event"] not in ("user", "bot") or not (text := _shown(event, addresses)):
            continue
        moment = datetime.fromtimestamp(event["timestamp"], UTC)
        lines.append(Line("customer" if event["event"] == "user" else "bot", text, moment))
    return tuple(lines)


def told_events(tracker: Tracker) -> list[dict[str, Any]]:
    """The events that count: a turn taken back is followed by "restart" and all that came before it (`bot.rasa`)."""
    restarts = [place for place, event in enumerate(tracker.events) if event["event"] == "restart"]
    return list(tracker.events[restarts[-1] + 1 :] if restarts else tracker.events)


def all_named_addresses(tracker: Tracker) -> list[str]:
    """The references of all addresses that the customer has named."""
    texts = (str(event.get("text") or "") for event in told_events(tracker) if event["event"] == "user")
    return [found.group() for text in texts for found in ADDRESS_REFERENCE.finditer(text)]


def _shown(event: dict[str, Any], addresses: Mapping[str, str] = NO_ADDRESSES) -> str:
    """What a message looks like to the customer; "" where nothing was said: the start of the chat, a photo."""
    text = str(event.get("text") or "")
    if event["event"] == "user":
        shown = str((event.get("metadata") or {}).get("shown") or "")
        text = shown or ("" if text.startswith("/") else text)
    return ADDRESS_REFERENCE.sub(lambda found: addresses.get(found.group()) or found.group().partition("#")[0], text)


def _is_angry(event: dict[str, Any]) -> bool:
    heard = event.get("parse_data") or {}
    return bool((heard.get("manner") or {}).get("angry")) or (heard.get("intent") or {}).get("name") == "complaint"


def _metadata(tracker: Tracker) -> dict[str, Any]:
    for event in reversed(told_events(tracker)):
        if event["event"] == "user":
            return event.get("metadata") or {}
    return {}
