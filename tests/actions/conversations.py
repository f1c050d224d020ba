"""Conversations as Rasa 3.6 sends them to an action: all events of the session, the state after them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from rasa_sdk.interfaces import Tracker

Event = dict[str, Any]

#: A Friday, 15:20 in Moscow.
NOW = datetime(2026, 11, 20, 12, 20, tzinfo=UTC)

SENDER = "web:visitor-0123456789_abcDEF"
OTHER_SENDER = "web:somebody-else-0123456789"

#: Slots of domain.yml as they are at the start.
NO_SLOTS = {
    "language": None,
    "language_hint": None,
    "order_number": None,
    "address": None,
    "case_form__confirmed": None,
    "case_form__topic": None,
    "case_form__words": None,
    "case_form__mismatches": 0.0,
    "marked_ticket": None,
    "requested_slot": None,
    "session_started_metadata": None,
}

LISTEN: Event = {"event": "action", "name": "action_listen", "policy": "RulePolicy", "confidence": 1.0}
REWIND: Event = {"event": "rewind"}
FORM_OPENED: Event = {"event": "active_loop", "name": "case_form"}
FORM_CLOSED: Event = {"event": "active_loop", "name": None}


def user(
    text: str,
    key: str = "k1",
    *,
    topic: str = "faq/care",
    entities: dict[str, str] | None = None,
    shown: str | None = None,
    language: str = "en",
    display_name: str = "",
) -> Event:
    """A message of the customer; `topic` is an intent ("affirm") or a route with its topic ("case/delay")."""
    route, _, rest = topic.partition("/")
    metadata: Event = {"key": key, "language": language, "display_name": display_name}
    if shown is not None:
        metadata["shown"] = shown
    parse_data: Event = {
        "intent": {"name": route, "confidence": 0.97},
        "entities": [
            {"entity": entity, "value": value, "start": 0, "end": len(value), "extractor": "TopicClassifier"}
            for entity, value in (entities or {}).items()
        ],
        "text": text,
        "message_id": f"id of {key}",
        "metadata": metadata,
        "intent_ranking": [{"name": route, "confidence": 0.97}],
    }
    if rest:
        found = {"intent_response_key": topic, "utter_action": f"utter_{topic}", "confidence": 0.97}
        parse_data["response_selector"] = {route: {"response": found, "ranking": []}}
    stamped = metadata | {"model_id": "c0a364c24c04", "assistant_id": "jeans-support"}
    return {"event": "user", "text": text, "parse_data": parse_data, "input_channel": "web", "metadata": stamped}


def bot(text: str, response: str = "utter_faq/care") -> Event:
    """Something that the bot said."""
    return {
        "event": "bot",
        "text": text,
        "data": {"buttons": None},
        "metadata": {"variant": 0, "utter_action": response, "model_id": "c0a364c24c04"},
    }


def as_sent(*events: Event, sender_id: str = SENDER, **slots: object) -> Event:
    """The tracker in an action call, one second between two events."""
    start: list[Event] = [{"event": "action", "name": "action_session_start"}, {"event": "session_started"}, LISTEN]
    every = [*start, *events]
    first = NOW - timedelta(seconds=len(every))
    for number, event in enumerate(every):
        every[number] = {"timestamp": (first + timedelta(seconds=number)).timestamp(), **event}
    said = [event for event in every if event["event"] == "user"]
    loops = [event["name"] for event in every if event["event"] == "active_loop"]
    in_form = bool(loops and loops[-1])
    return {
        "sender_id": sender_id,
        "slots": NO_SLOTS | {"session_started_metadata": said[0]["metadata"]} | slots,
        "latest_message": said[-1]["parse_data"],
        "events": every,
        "paused": False,
        "followup_action": None,
        "active_loop": {"name": loops[-1], "is_interrupted": False, "rejected": False} if in_form else {},
        "latest_action_name": "action_listen",
        "latest_input_channel": "web",
    }


def tracker(*events: Event, sender_id: str = SENDER, **slots: object) -> Tracker:
    """The same as an action sees it."""
    return Tracker.from_dict(as_sent(*events, sender_id=sender_id, **slots))
