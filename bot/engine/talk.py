"""What a conversation so far asks of the next answer: hello, an apology, other words, "ты", an emoji, a person.

A rule names one response; here it becomes the responses that one message is made of, in the order in which they are
said: apology, answer, answers to further questions, what is offered.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from typing import Any

from rasa.shared.core.events import BotUttered, UserUttered
from rasa.shared.core.trackers import DialogueStateTracker

#: A conversation of today: older turns are neither repeated nor remembered as said.
TODAY_S = 24 * 60 * 60

#: Routes with a problem in them: the apology comes before the hello.
PROBLEMS = ("case", "complaint", "human")
ANSWERING = ("faq", "reassure")
CALM = ("smalltalk", "faq", "reassure")

#: The third time a topic is asked, its answer evidently does not help; then a person is offered.
ASKED_TOO_OFTEN = 3
#: A customer who says "ты" as often is answered so.
FIRST_NAME_TERMS = 2
#: As many angry messages, and a person takes over.
ANGRY_TOO_OFTEN = 2

SMILE = "🙂"
#: "{Пришлите|Пришли}": for "вы" and for "ты".
EITHER = re.compile(r"{([^{}|]*)\|([^{}|]*)}")

#: Who we are, said when a conversation begins.
FIRST_WORDS = ("utter_hello", "utter_intro")
#: Answers that say "I did not understand"; after one of them the next offers a person.
MISSED = ("utter_unclear", "utter_unclear_again", "utter_oos/gibberish")


class Talk:
    """The conversation that an answer belongs to."""

    def __init__(self, tracker: DialogueStateTracker) -> None:
        # What came before a restart does not count: those turns were taken back or are told again after it.
        events = list(tracker.events_after_latest_restart())
        since = time.time() - TODAY_S
        self._said = [e for e in events if isinstance(e, BotUttered) and e.timestamp > since]
        self._heard = [e for e in events if isinstance(e, UserUttered) and e.timestamp > since]
        last = tracker.latest_message
        self._latest: dict[str, Any] = (last.parse_data if last else None) or {}
        self._intent = str((self._latest.get("intent") or {}).get("name") or "")
        began = max((place for place, e in enumerate(events) if isinstance(e, UserUttered)), default=-1)
        self._first_of_turn = not any(isinstance(e, BotUttered) for e in events[began + 1 :])
        before = [e for e in events[: max(began, 0)] if isinstance(e, BotUttered)]
        self._in_form = bool(tracker.active_loop_name)
        self._missed_before = bool(before) and any(name in MISSED for name in _names(before[-1]))

    def responses_for(self, utter_action: str, variants: int, *, overload: bool) -> list[str]:
        """The responses that the message for `utter_action`, which has so many variants, is made of.

        While the shop has more orders than it can sew, who begins a conversation hears that (`overload`).
        """
        if not self._first_of_turn:
            return [utter_action]
        route = _route(utter_action)
        also = [f"utter_{topic}" for topic in self._latest.get("also") or []]
        used = self._times(utter_action)

        name = utter_action
        if name == "utter_smalltalk/greet" and not self._said:
            name = "utter_hello"
        elif name in MISSED and self._missed_before:
            name = "utter_unclear_again"
        elif route in ANSWERING and used >= variants:
            name = "utter_told_all"

        answer = [*also, name] if name.startswith("utter_ask_") else [name, *also]
        # Who gives a mark, days later, answers us: nothing begins.
        if not self._said and not name.startswith(("utter_hello", "utter_mark")):
            answer.insert(1 if route in PROBLEMS else 0, "utter_intro")
        if overload and (first := next((said for said in answer if said in FIRST_WORDS), None)):
            answer.insert(answer.index(first) + 1, "utter_overloaded")
        if self._angry():
            answer.insert(0, "utter_sorry")  # left out where the answer itself says so
        if route in ANSWERING and name == utter_action:
            if used + 1 >= ASKED_TOO_OFTEN or (self._angry() and self._times_angry() >= ANGRY_TOO_OFTEN):
                answer.append("utter_not_helped")
            elif self._latest.get("tie") and not self._in_form:
                answer.append("utter_perhaps_mine")
        return answer

    def preference(self, name: str, number: int, variant: dict[str, Any]) -> tuple[bool, int]:
        """Less is better: no exclamation marks for the angry, then the variant used longest ago."""
        places = [place for place, e in enumerate(self._said) if _variants(e).get(name) == number]
        return self._angry() and "!" in variant["text"], max(places, default=-1)

    def addressed(self, text: str) -> str:
        """The text with "вы" or "ты", as the customer says it."""
        informal = sum(bool(_manner(e).get("informal")) for e in self._heard) >= FIRST_NAME_TERMS
        return EITHER.sub(lambda either: either[2 if informal else 1], text)

    def smile(self, utter_action: str) -> str:
        """An emoji for who sent one, if nothing is wrong."""
        latest = self._latest.get("manner") or {}
        calm = self._first_of_turn and _route(utter_action) in CALM and not self._angry()
        return f" {SMILE}" if latest.get("emoji") and calm else ""

    def may_offer_to_ask(self, utter_action: str) -> bool:
        """Whether a "yes" to an answer without its fact would make it a case: of a question, outside the form."""
        return self._first_of_turn and not self._in_form and _route(utter_action) == "faq"

    def options(self, utter_action: str, language: str) -> list[dict[str, str]]:
        """Buttons for the topics that the message may have been about."""
        if not self._first_of_turn or (utter_action != "utter_unclear" and _route(utter_action) not in ANSWERING):
            return []
        offered = self._latest.get("options") or []
        return [{"title": option["title"][language], "payload": option["ask"][language]} for option in offered]

    def topic(self) -> str:
        """What the latest message was taken for, "faq/care"; a route alone where it has no topics."""
        selector = (self._latest.get("response_selector") or {}).get(self._intent) or {}
        return str((selector.get("response") or {}).get("intent_response_key") or self._intent)

    def _times(self, name: str) -> int:
        return sum(name in _names(e) for e in self._said)

    def _angry(self) -> bool:
        manner = self._latest.get("manner") or {}
        return bool(manner.get("angry")) or self._intent == "complaint"

    def _times_angry(self) -> int:
        return sum(bool(_manner(e).get("angry")) or e.intent_name == "complaint" for e in self._heard)


def _route(utter_action: str) -> str:
    return utter_action.removeprefix("utter_").split("/")[0] if "/" in utter_action else ""


def _variants(event: BotUttered) -> dict[str, int]:
    return event.metadata.get("variants") or {}


def _names(event: BotUttered) -> Iterable[str]:
    return _variants(event).keys()


def _manner(event: UserUttered) -> dict[str, bool]:
    return (event.parse_data or {}).get("manner") or {}
