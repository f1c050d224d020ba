"""The mark for a closed case, and the words that follow it."""

from __future__ import annotations

from rasa_sdk.events import SlotSet
from rasa_sdk.executor import CollectingDispatcher
from rasa_sdk.interfaces import Tracker
from rasa_sdk.types import DomainDict
from sqlalchemy.orm import Session

from actions.adding import add, ticket_words
from actions.conversation import customers_words, last_question, message_key, pressed_mark
from actions.form import Events
from actions.services import CaseAction
from handoff.marks import Taken, add_words, keep_mark
from handoff.models import Ticket

#: The ticket that a mark was just given for.
MARKED = "marked_ticket"

#: Fewer words than this say nothing about a mark: "no", "no thanks".
LEAST_WORDS = 3

#: What is said to a message that belongs to no mark, by its intent.
OTHERWISE = {"deny": "utter_anything_else"}


class TakeMark(CaseAction):
    """A button of the question for a mark: the first press counts, a low mark opens the case again."""

    def name(self) -> str:
        """See `rasa_sdk.Action.name`."""
        return "action_take_mark"

    async def run(self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: DomainDict) -> Events:
        """See `rasa_sdk.Action.run`."""
        number, mark = pressed_mark(tracker)

        def work(session: Session) -> tuple[Taken, Ticket | None]:
            key, now = message_key(tracker), self.services.now()
            taken = keep_mark(session, number, mark, "", key, self.services.desk, now)
            return taken, session.get(Ticket, number)

        taken, ticket = await self.services.database.run(work)
        self.services.letters_waiting()
        dispatcher.utter_message(response=f"utter_mark_{taken}", **(ticket_words(ticket, tracker) if ticket else {}))
        return [SlotSet(MARKED, None if taken == "known" else str(number))]


class TakeMarkWords(CaseAction):
    """Words that no topic takes, said right after a mark: they go with it, and after a low one to the agents."""

    def name(self) -> str:
        """See `rasa_sdk.Action.name`."""
        return "action_take_mark_words"

    async def run(self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: DomainDict) -> Events:
        """See `rasa_sdk.Action.run`."""
        words, intent = customers_words(tracker), str((tracker.latest_message.get("intent") or {}).get("name"))
        number = tracker.get_slot(MARKED)
        if number is None or not was_just_marked(tracker) or (intent in OTHERWISE and len(words.split()) < LEAST_WORDS):
            dispatcher.utter_message(response=OTHERWISE.get(intent, "utter_unclear"))
            return [SlotSet(MARKED, None)]

        def work(session: Session) -> Ticket | None:
            add_words(session, int(number), words)
            return session.get(Ticket, int(number))

        ticket = await self.services.database.run(work)
        if ticket is not None and ticket.state == "open":
            await add(self.services, tracker, ticket, words)
        dispatcher.utter_message(response="utter_mark_words")
        return [SlotSet(MARKED, None)]


def was_just_marked(tracker: Tracker) -> bool:
    """Whether the latest message answers what was said to a mark."""
    return last_question(tracker).startswith("utter_mark_")
