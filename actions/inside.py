"""What is said inside the form and answers nothing that it asks: noted, offered a way on, or asked about."""

from __future__ import annotations

import re

from rasa_sdk.events import ActiveLoop, FollowupAction
from rasa_sdk.executor import CollectingDispatcher
from rasa_sdk.interfaces import Tracker
from rasa_sdk.types import DomainDict

from actions.conversation import customers_words, named_facts, topic, understood
from actions.form import TOPIC, Events
from actions.services import CaseAction
from actions.unasked import NEVER_OF_A_TICKET

#: The wish that an order be cancelled.
CANCEL = "case/cancel"
#: Without one of these words "cancel that" may mean the form as well.
ORDER_WORDS = re.compile(
    r"заказ|джинс|брюк|штан|\bпар[ауыо]|пошив|шить|шейте|order|jeans|pair|trousers|sew", re.IGNORECASE
)

#: Rasa sets a form aside that did not understand a message; named again, it takes its answer from the next one.
STAY: Events = [ActiveLoop("case_form"), FollowupAction("action_listen")]

#: Inside the form a question, doubt or remark read less surely than this is more of the case.
SURE_ASIDE = 0.6
#: Read inside the form, these are a size, a phone's model, a street.
MOSTLY_OF_THE_CASE = ("oos/gibberish", "oos/spam")

#: Said by somebody who takes the talk for finished.
LEAVING = ("smalltalk/thanks", "smalltalk/bye")


class NoteInForm(CaseAction):
    """More words for the case: they go with it, questions too; "cancel that" may mean the case or the order."""

    def name(self) -> str:
        """See `rasa_sdk.Action.name`."""
        return "action_note_in_form"

    async def run(self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: DomainDict) -> Events:
        """See `rasa_sdk.Action.run`."""
        if is_vague_cancel(tracker):
            dispatcher.utter_message(response="utter_cancel_what")
            return STAY
        _note(dispatcher, tracker)
        return []


class NoteAside(CaseAction):
    """A question, doubt, small talk or something not ours, read inside the form: noted if it is rather of the case."""

    def name(self) -> str:
        """See `rasa_sdk.Action.name`."""
        return "action_note_aside"

    async def run(self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: DomainDict) -> Events:
        """See `rasa_sdk.Action.run`."""
        about, sure = understood(tracker)
        if about not in MOSTLY_OF_THE_CASE and (about in NEVER_OF_A_TICKET or sure >= SURE_ASIDE):
            return []
        _note(dispatcher, tracker)
        return [FollowupAction("case_form")]


class SayUnsent(CaseAction):
    """Whoever thanks or says goodbye inside the form hears that nothing has been passed on."""

    def name(self) -> str:
        """See `rasa_sdk.Action.name`."""
        return "action_say_unsent"

    async def run(self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: DomainDict) -> Events:
        """See `rasa_sdk.Action.run`."""
        about, _ = understood(tracker)
        if about in LEAVING:
            dispatcher.utter_message(response="utter_not_sent_yet")
        return []


class OfferPassOn(CaseAction):
    """The customer has no number, or no address, at hand: offers to pass the case on without, and goes on listening."""

    def name(self) -> str:
        """See `rasa_sdk.Action.name`."""
        return "action_offer_pass_on"

    async def run(self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: DomainDict) -> Events:
        """See `rasa_sdk.Action.run`."""
        address_asked = tracker.get_slot("requested_slot") == "address"
        dispatcher.utter_message(response="utter_no_address" if address_asked else "utter_no_number")
        return STAY


def is_vague_cancel(tracker: Tracker) -> bool:
    """Whether a wish to cancel may mean what the form is about to send, and not the order."""
    words = customers_words(tracker)
    known = tracker.get_slot(TOPIC) == CANCEL
    return topic(tracker) == CANCEL and not known and not named_facts(tracker) and not ORDER_WORDS.search(words)


def _note(dispatcher: CollectingDispatcher, tracker: Tracker) -> None:
    asks = "?" in customers_words(tracker)
    dispatcher.utter_message(response="utter_question_noted" if asks else "utter_case_noted")
