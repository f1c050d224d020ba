"""What comes unasked outside the form: a number or an address alone, a photo, words that belong to a ticket."""

from __future__ import annotations

from rasa_sdk.events import FollowupAction, SlotSet
from rasa_sdk.executor import CollectingDispatcher
from rasa_sdk.interfaces import Tracker
from rasa_sdk.types import DomainDict
from sqlalchemy.orm import Session

from actions.adding import add, late_facts, other_address, ticket_words
from actions.conversation import customers_words, last_question, understood
from actions.form import Events
from actions.services import CaseAction
from handoff.files import unattached_files
from handoff.identifiers import mask_address
from handoff.models import Ticket
from handoff.tickets import FILES_BELONG, open_ticket_of, recent_ticket_of

#: Set while words that come unasked may be more of a ticket.
TICKET_OPEN = "ticket_open"

#: The questions that an address alone answers.
ASKED_WHERE_TO_ANSWER = ("utter_ticket_no_order_no_address", "utter_ticket_no_address")

#: Soon after a ticket a message that is read less surely than this goes to the people who have it.
SURE = 0.8

#: Taken at their word even when they are not sure: they end or begin a talk, or nobody should read them in a ticket.
NEVER_OF_A_TICKET = (
    "smalltalk/greet", "smalltalk/thanks", "smalltalk/bye", "smalltalk/ack", "smalltalk/language_switch",
    "oos/privacy_probe", "oos/injection", "oos/spam",
)  # fmt: skip

#: Read so soon after a ticket, these are a flat's number, a size, a worry whether the parcel will come.
MOSTLY_OF_A_TICKET = ("oos/gibberish", "reassure/", "smalltalk/customer_sorry")

#: Answers about a ticket; what comes right after them is mostly about it, too.
ABOUT_A_TICKET = ("utter_ticket_", "utter_added_", "utter_photo_added", "utter_address_added", "utter_will_answer")


class TakeUnclear(CaseAction):
    """Words that were not understood belong to the ticket that was just talked about, if there is one."""

    def name(self) -> str:
        """See `rasa_sdk.Action.name`."""
        return "action_take_unclear"

    async def run(self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: DomainDict) -> Events:
        """See `rasa_sdk.Action.run`."""
        ticket = await self.services.database.run(recent_ticket_of, tracker.sender_id, self.services.now())
        if ticket is None:
            dispatcher.utter_message(response="utter_unclear")
            return []
        await add(self.services, tracker, ticket, customers_words(tracker))
        dispatcher.utter_message(response="utter_added_to_ticket", **ticket_words(ticket, tracker))
        return []


class TakeAside(CaseAction):
    """A question, doubt, small talk or something not ours, soon after a ticket: added to it if it belongs there."""

    def name(self) -> str:
        """See `rasa_sdk.Action.name`."""
        return "action_take_aside"

    async def run(self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: DomainDict) -> Events:
        """See `rasa_sdk.Action.run`."""
        ticket = await self.services.database.run(recent_ticket_of, tracker.sender_id, self.services.now())
        if ticket is None:
            return [SlotSet(TICKET_OPEN, None)]
        if not _is_of_ticket(tracker):
            return []
        await add(self.services, tracker, ticket, customers_words(tracker))
        dispatcher.utter_message(response="utter_added_to_ticket", **ticket_words(ticket, tracker))
        return [FollowupAction("action_listen")]


class TakeIdentifiers(CaseAction):
    """A number or an address alone: the address was asked for when a letter came back, else it says nothing."""

    def name(self) -> str:
        """See `rasa_sdk.Action.name`."""
        return "action_take_identifiers"

    async def run(self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: DomainDict) -> Events:
        """See `rasa_sdk.Action.run`."""
        if (ticket := await other_address(self.services, tracker)) is not None:
            dispatcher.utter_message(response="utter_address_added", **ticket_words(ticket, tracker))
            return []
        alone = (tracker.latest_message.get("intent") or {}).get("name") == "identifiers"
        if alone and (ticket := await late_facts(self.services, tracker)) is not None:
            words = ticket_words(ticket, tracker)
            if last_question(tracker) in ASKED_WHERE_TO_ANSWER and ticket.claimed_address:
                words["masked"] = mask_address(ticket.claimed_address)
                dispatcher.utter_message(response="utter_will_answer_there", **words)
            else:
                dispatcher.utter_message(response="utter_added_to_ticket", **words)
            return []
        dispatcher.utter_message(response="utter_what_about_order" if alone else "utter_unclear")
        return []


class TakePhoto(CaseAction):
    """A photo without words: goes to the open ticket, or waits for the case."""

    def name(self) -> str:
        """See `rasa_sdk.Action.name`."""
        return "action_take_photo"

    async def run(self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: DomainDict) -> Events:
        """See `rasa_sdk.Action.run`."""
        services = self.services
        since = services.now() - FILES_BELONG

        def waiting(session: Session) -> tuple[Ticket | None, int]:
            files = unattached_files(session, tracker.sender_id, since)
            return open_ticket_of(session, tracker.sender_id, services.now()), len(files)

        ticket, files = await services.database.run(waiting)
        in_form = tracker.active_loop.get("name") == "case_form"
        if ticket is not None and not in_form:
            await add(services, tracker, ticket, "")
            dispatcher.utter_message(response="utter_photo_added", **ticket_words(ticket, tracker))
        elif not files:
            dispatcher.utter_message(response="utter_photo_missing")
        else:
            dispatcher.utter_message(response="utter_photo_kept_for_case" if in_form else "utter_photo_kept")
        return []


def _is_of_ticket(tracker: Tracker) -> bool:
    """Whether what was said soon after a ticket is more of it than what it was read as."""
    about, sure = understood(tracker)
    if about in NEVER_OF_A_TICKET:
        return False
    after_ticket = last_question(tracker).startswith(ABOUT_A_TICKET)
    return sure < SURE or (after_ticket and about.startswith(MOSTLY_OF_A_TICKET))
