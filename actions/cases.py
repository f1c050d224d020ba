"""The case form's actions: begin, correct, end, pass on, open the ticket, add to it."""

from __future__ import annotations

from rasa_sdk.events import ActiveLoop, FollowupAction, SlotSet
from rasa_sdk.executor import CollectingDispatcher
from rasa_sdk.interfaces import Tracker
from rasa_sdk.types import DomainDict
from sqlalchemy.orm import Session

from actions.adding import add, other_address, ticket_words
from actions.conversation import (
    GENERAL_TOPIC,
    all_named_addresses,
    customers_words,
    display_name,
    fact_meant,
    form_was_open,
    heard_at,
    language,
    last_question,
    message_key,
    named_facts,
    named_numbers,
    times_angry,
    told_before,
    topic,
    transcript,
    understood,
    urgency,
)
from actions.form import (
    CLOSE_FORM,
    CONFIRMED,
    MISMATCHES,
    TOPIC,
    WORDS,
    Events,
    asked_anew,
    begun,
    bound_address,
)
from actions.inside import CANCEL, NoteAside, NoteInForm, OfferPassOn, SayUnsent, is_vague_cancel
from actions.links import AskOrderNumber, Forget, Greet
from actions.marks import MARKED, TakeMark, TakeMarkWords, was_just_marked
from actions.metrics import CASE_SECONDS
from actions.services import CaseAction, Services
from actions.unasked import SURE, TICKET_OPEN, TakeAside, TakeIdentifiers, TakePhoto, TakeUnclear
from handoff.case import Case, Line, Opened
from handoff.crm.port import CrmUnavailable
from handoff.identifiers import looks_spelt, mask_address, normalise_order_number
from handoff.identity import Requester, address_behind, identify, identify_bound, is_bound_reference
from handoff.log_lines import follow
from handoff.models import Ticket
from handoff.tickets import open_ticket, open_ticket_of, recent_ticket_of

#: Topics that add to whatever ticket is open instead of being a case of their own.
ADDING_TOPICS = ("case/ticket_followup", "case/receipt_sent", "case/order_question", "human/", "complaint/")

#: Topics that are about no order: never more of a ticket about something else.
APART = ("case/account_", "case/design_payout", "case/site_problem")

#: A trouble told inside the form counts from this probability on; beside a number or address, which answer, from that.
SURE_IN_FORM, SURE_BESIDE_FACTS = 0.6, 0.9

#: The topic of which the agents need the new address itself.
NEW_ADDRESS = "case/account_email"

#: Wrong pairs of number and address before the bot offers to pass the case on unchecked.
MISMATCHES_BEFORE_OFFER = 2

#: As many angry messages, and the case goes to a person with whatever is known: more questions would only pour oil.
ANGRY_BEFORE_HANDING_OVER = 2


#: The form stays open and does not ask by itself: its buttons would take the place of those of the message.
LISTEN: Events = [ActiveLoop("case_form"), SlotSet("requested_slot", CONFIRMED), FollowupAction("action_listen")]


class BeginCase(CaseAction):
    """Remembers what the case is about; what belongs to an open ticket is added to it instead."""

    def name(self) -> str:
        """See `rasa_sdk.Action.name`."""
        return "action_begin_case"

    async def run(self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: DomainDict) -> Events:
        """See `rasa_sdk.Action.run`."""
        about, words = topic(tracker), customers_words(tracker)
        if (ticket := await other_address(self.services, tracker)) is not None:
            dispatcher.utter_message(response="utter_address_added", **ticket_words(ticket, tracker))
            return [FollowupAction("action_listen")]
        ticket = await self.services.database.run(open_ticket_of, tracker.sender_id, self.services.now())
        if ticket is not None and _belongs(about, ticket, tracker):
            await add(self.services, tracker, ticket, words)
            dispatcher.utter_message(response="utter_added_to_ticket", **ticket_words(ticket, tracker))
            return [FollowupAction("action_listen")]
        ticket = await self.services.database.run(recent_ticket_of, tracker.sender_id, self.services.now())
        if ticket is not None and _may_belong(about, ticket, tracker):
            await add(self.services, tracker, ticket, words)
            dispatcher.utter_message(response="utter_added_unless_other", **ticket_words(ticket, tracker))
            return [FollowupAction("action_listen")]
        case = await begun(self.services, tracker, about, words)
        if times_angry(tracker) >= ANGRY_BEFORE_HANDING_OVER:
            return [*case, FollowupAction("action_pass_on")]
        return case


class BeginOtherCase(CaseAction):
    """What was just added to a ticket is a matter of its own, says the customer: its case begins."""

    def name(self) -> str:
        """See `rasa_sdk.Action.name`."""
        return "action_begin_other_case"

    async def run(self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: DomainDict) -> Events:
        """See `rasa_sdk.Action.run`."""
        about, words = told_before(tracker)
        return await begun(self.services, tracker, about, words)


class TakeYes(CaseAction):
    """A "yes" or "pass it on" outside the form: accepts what was offered, or is just a yes."""

    def name(self) -> str:
        """See `rasa_sdk.Action.name`."""
        return "action_take_yes"

    async def run(self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: DomainDict) -> Events:
        """See `rasa_sdk.Action.run`."""
        if (ticket := await other_address(self.services, tracker)) is not None:
            dispatcher.utter_message(response="utter_address_added", **ticket_words(ticket, tracker))
            return []
        offered = last_question(tracker).startswith(("utter_faq", "utter_oos", "utter_reassure", "utter_unclear"))
        if not offered:
            dispatcher.utter_message(response="utter_anything_else")
            return []
        dispatcher.utter_message(response="utter_question_passed")
        case = await begun(self.services, tracker, GENERAL_TOPIC, customers_words(tracker, back=1))
        return [*case, FollowupAction("case_form")]


class ValidateCaseForm(CaseAction):
    """Looks at every message inside the form: a problem told there gets its apology, whatever else it holds."""

    def name(self) -> str:
        """See `rasa_sdk.Action.name`."""
        return "validate_case_form"

    async def run(self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: DomainDict) -> Events:
        """See `rasa_sdk.Action.run`."""
        if tracker.get_slot("requested_slot") == "address" and _broken_address(tracker):
            dispatcher.utter_message(response="utter_broken_address")
            return [SlotSet("address", None)]
        if len(numbers := named_numbers(tracker)) > 1:
            dispatcher.utter_message(response="utter_more_orders", orders=", ".join(numbers), taken=numbers[-1])
        about, known = topic(tracker), str(tracker.get_slot(TOPIC) or GENERAL_TOPIC)
        if form_was_open(tracker) and times_angry(tracker) >= ANGRY_BEFORE_HANDING_OVER:
            # No slot is asked for any more: the form ends, and the ticket is opened with what there is. (The topic is
            # set as well because Rasa takes a form in which no slot is set for one that did not understand.)
            return [SlotSet(TOPIC, known), SlotSet("requested_slot", None)]
        problem = about.startswith(("case/", "complaint/")) and not about.startswith(ADDING_TOPICS)
        problem = problem and _told_surely(tracker, about)
        if not form_was_open(tracker) or not problem or about == known:
            return []
        if is_vague_cancel(tracker):
            return []
        dispatcher.utter_message(response=f"utter_{about}")
        if known.startswith(ADDING_TOPICS) or about == CANCEL:
            return [SlotSet(TOPIC, about), SlotSet(WORDS, customers_words(tracker))]
        return [SlotSet(TOPIC, known)]


class CorrectCase(CaseAction):
    """Forgets what is wrong of number and address, so that the form asks for it again."""

    def name(self) -> str:
        """See `rasa_sdk.Action.name`."""
        return "action_correct_case"

    async def run(self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: DomainDict) -> Events:
        """See `rasa_sdk.Action.run`."""
        # Facts that came with this very message ("no, it's 48213") are the correction.
        if named_facts(tracker):
            return [SlotSet(CONFIRMED, None)]
        wrong = fact_meant(tracker)
        if wrong is not None and not (wrong == "address" and is_bound_reference(tracker.get_slot("address"))):
            return [SlotSet(wrong, None), SlotSet(CONFIRMED, None)]
        if tracker.get_slot("requested_slot") != CONFIRMED or is_bound_reference(tracker.get_slot("address")):
            return [*await asked_anew(self.services, tracker), SlotSet(CONFIRMED, None)]
        dispatcher.utter_message(response="utter_what_to_correct")
        return [SlotSet(CONFIRMED, None), *LISTEN]


class EndCase(CaseAction):
    """Leaves the form; nothing was sent."""

    def name(self) -> str:
        """See `rasa_sdk.Action.name`."""
        return "action_end_case"

    async def run(self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: DomainDict) -> Events:
        """See `rasa_sdk.Action.run`."""
        return [*CLOSE_FORM]


class OpenTicket(CaseAction):
    """Number and address are confirmed: if they belong together, the case becomes a ticket."""

    def name(self) -> str:
        """See `rasa_sdk.Action.name`."""
        return "action_open_ticket"

    async def run(self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: DomainDict) -> Events:
        """See `rasa_sdk.Action.run`."""
        number, address = tracker.get_slot("order_number"), await _address(self.services, tracker)
        if tracker.get_slot(CONFIRMED) is None and (number is None or address is None):
            # The form ended early, for an angry customer: a person takes what there is.
            return await _hand_over(self.services, dispatcher, tracker, None, number, address)
        if address is None:  # typed days ago and forgotten since, or the binding has ended
            known = await bound_address(self.services, tracker)
            return [SlotSet("address", known), SlotSet(CONFIRMED, None), FollowupAction("case_form")]
        try:
            requester = await identify(
                self.services.database, self.services.crm, tracker.sender_id, str(number), address, self.services.now()
            )
        except CrmUnavailable:
            # Never "not found": the case is taken now and matched when the CRM is back (`handoff.matching`).
            return await _hand_over(self.services, dispatcher, tracker, None, str(number), address, unchecked=True)
        if requester is not None or tracker.get_slot(CONFIRMED) is None:
            return await _hand_over(self.services, dispatcher, tracker, requester, str(number), address)
        return await self._ask_again(dispatcher, tracker)

    async def _ask_again(self, dispatcher: CollectingDispatcher, tracker: Tracker) -> Events:
        mismatches = int(tracker.get_slot(MISMATCHES) or 0) + 1
        events: Events = [SlotSet(CONFIRMED, None), SlotSet(MISMATCHES, mismatches)]
        if is_bound_reference(tracker.get_slot("address")) and mismatches < MISMATCHES_BEFORE_OFFER:
            dispatcher.utter_message(response="utter_mismatch_number")
            return [*events, *await asked_anew(self.services, tracker), FollowupAction("case_form")]
        # The facts stay: one of them is right, and passed on as they are they help the agent.
        again = mismatches >= MISMATCHES_BEFORE_OFFER
        dispatcher.utter_message(response="utter_mismatch_again" if again else "utter_mismatch")
        return [*events, *LISTEN]


class PassOn(CaseAction):
    """The customer wants the case passed on as it is: an unverified ticket."""

    def name(self) -> str:
        """See `rasa_sdk.Action.name`."""
        return "action_pass_on"

    async def run(self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: DomainDict) -> Events:
        """See `rasa_sdk.Action.run`."""
        address = await _address(self.services, tracker)
        return await _hand_over(self.services, dispatcher, tracker, None, tracker.get_slot("order_number"), address)


class NoOrder(CaseAction):
    """Somebody without an order: his matter is passed on at once, and he is asked where to answer."""

    def name(self) -> str:
        """See `rasa_sdk.Action.name`."""
        return "action_no_order"

    async def run(self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: DomainDict) -> Events:
        """See `rasa_sdk.Action.run`."""
        address = await _address(self.services, tracker)
        return await _hand_over(self.services, dispatcher, tracker, None, None, address, ordered=False)


def all_actions(services: Services) -> list[CaseAction]:
    """Every action that domain.yml names."""
    of_form = (BeginCase, TakeYes, ValidateCaseForm, AskOrderNumber, CorrectCase, SayUnsent, EndCase, OpenTicket)
    ends = (NoteInForm, NoteAside, OfferPassOn, PassOn, NoOrder, BeginOtherCase)
    others = (TakeUnclear, TakeAside, TakePhoto, TakeIdentifiers, TakeMark, TakeMarkWords, Greet, Forget)
    return [kind(services) for kind in (*of_form, *ends, *others)]


async def _hand_over(
    services: Services,
    dispatcher: CollectingDispatcher,
    tracker: Tracker,
    requester: Requester | None,
    number: str | None,
    address: str | None,
    *,
    ordered: bool = True,
    unchecked: bool = False,
) -> Events:
    if requester is None and is_bound_reference(tracker.get_slot("address")):
        try:
            # Whose case it is was proven by the link, only the order is not known.
            requester = await identify_bound(services.database, services.crm, tracker.sender_id, services.now())
        except CrmUnavailable:
            unchecked = True
    spoken = language(tracker)
    about = str(tracker.get_slot(TOPIC) or GENERAL_TOPIC)
    words, lines = await _told(services, tracker, about)
    case = Case(
        key=message_key(tracker),
        sender_id=tracker.sender_id,
        channel=tracker.get_latest_input_channel() or "",
        language=spoken,
        display_name=display_name(tracker),
        topic=about,
        topic_title=services.titles.get(about, {}).get(spoken, about),
        transcript=lines,
        urgent_for=urgency(tracker, about),
        claimed_order=number,
        claimed_address=address,
        own_words=words,
        unchecked=unchecked,
    )
    opened: Opened = await services.database.run(open_ticket, case, requester, services.desk, services.now())
    follow(ticket=opened.number)
    CASE_SECONDS.observe((services.now() - heard_at(tracker)).total_seconds())
    services.letters_waiting()
    # The ticket decides and not this turn: played again, it may find the CRM away or back.
    response = "utter_ticket_waiting" if opened.waits else "utter_ticket_unmatched"
    if opened.verified_pair:
        response = "utter_ticket_joined" if opened.joined else "utter_ticket_opened"
    elif ordered and number is None and address is None:
        response = "utter_ticket_no_address"
    elif not ordered:
        response = "utter_ticket_no_order" if address else "utter_ticket_no_order_no_address"
    dispatcher.utter_message(
        response=response,
        ticket=opened.number,
        agent=opened.agent,
        deadline=opened.deadline_text,
        masked=opened.masked_address or ("" if ordered or not address else mask_address(address)),
    )
    return [*CLOSE_FORM, SlotSet(TICKET_OPEN, True)]


async def _told(services: Services, tracker: Tracker, about: str) -> tuple[str, tuple[Line, ...]]:
    """The words that the case began with, and the transcript; where an address is to be changed, with addresses."""
    words, lines = str(tracker.get_slot(WORDS) or ""), transcript(tracker)
    if about != NEW_ADDRESS:
        return words, lines

    def typed(session: Session) -> dict[str, str]:
        found = {each: address_behind(session, tracker.sender_id, each, services.now()) for each in named}
        return {reference: address for reference, address in found.items() if address}

    named = all_named_addresses(tracker)
    full = transcript(tracker, await services.database.run(typed))
    words = next((line.text for masked, line in zip(lines, full, strict=True) if masked.text == words), words)
    return words, full


async def _address(services: Services, tracker: Tracker) -> str | None:
    """The address that the slot stands for, while it is kept."""
    reference = tracker.get_slot("address")
    if not reference:
        return None
    return await services.database.run(address_behind, tracker.sender_id, str(reference), services.now())


def _broken_address(tracker: Tracker) -> bool:
    """Something that was meant as an address and is none."""
    return looks_spelt(str(tracker.latest_message.get("text") or "")) and "address" not in named_facts(tracker)


def _told_surely(tracker: Tracker, about: str) -> bool:
    """Whether a message inside the form tells a trouble, and is not just an answer to what was asked.

    "my e-mail is ..." reads like a change of it, "no, it's 51057" like a change of the order.
    """
    named, (_, sure) = named_facts(tracker), understood(tracker)
    if "address" in named and about == NEW_ADDRESS:
        return False
    return sure >= (SURE_BESIDE_FACTS if named else SURE_IN_FORM)


def _belongs(about: str, ticket: Ticket, tracker: Tracker) -> bool:
    """Whether a message is about the ticket that is open: the same topic or none of its own, no other order.

    What is said after a low mark is said about it, whatever the topic.
    """
    named = named_numbers(tracker)
    if named and named[-1] not in (ticket.order_number, normalise_order_number(ticket.claimed_order or "")):
        return False
    marked = tracker.get_slot(MARKED) == str(ticket.number) and was_just_marked(tracker)
    return about == ticket.topic or about.startswith(ADDING_TOPICS) or marked


def _may_belong(about: str, ticket: Ticket, tracker: Tracker) -> bool:
    """Whether a matter may be more of the ticket that was just talked about: both are of an order, none is named.

    What is not read surely may be anything, and the people who have the ticket will know.
    """
    of_orders = all(topic.startswith("case/") and not topic.startswith(APART) for topic in (about, ticket.topic))
    _, sure = understood(tracker)
    return (of_orders or sure < SURE) and "order_number" not in named_facts(tracker)
