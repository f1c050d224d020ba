"""Personal links in the conversation: hello binds it, the form asks a customer it knows less, "/forget" ends it."""

from __future__ import annotations

import json
import re

from rasa_sdk.events import SlotSet
from rasa_sdk.executor import CollectingDispatcher
from rasa_sdk.interfaces import Tracker
from rasa_sdk.types import DomainDict

from actions.conversation import answers_in_form, customers_words, named_facts, tapped_link
from actions.form import CLOSE_FORM, TOPIC, Events, customers_orders
from actions.services import CaseAction
from handoff.crm.port import CrmUnavailable, OrderBrief
from handoff.identifiers import mask_address
from handoff.identity import bound_reference, is_bound_reference
from handoff.links import bind, forget, is_token

#: Telegram and VK show about this much of a button's title; VK refuses more than 40 (its documentation of keyboards).
LONGEST_TITLE = 40

#: Topics that people without an order have, too.
NEEDS_NO_ORDER = ("human/", "complaint/", "case/site_problem", "case/account_", "case/design_payout")
#: So somebody says that he has none.
NO_ORDER = re.compile(
    r"\b(?:нет (?:ещ[её] )?заказа|заказа (?:у меня )?(?:ещ[её] |пока )?нет|ещ[её] не заказ|"
    r"no order\b(?! n)|(?:not|n't|never) ordered (?:yet|anything))",
    re.IGNORECASE,
)

#: Routes whose topics are asked by people without an order, too.
ANSWERING = ("utter_faq/", "utter_reassure/")
#: As many of these inside the form, and perhaps there is no order.
WONDERS = 2


class Greet(CaseAction):
    """The start of a chat; the personal link that led here binds it to the customer."""

    def name(self) -> str:
        """See `rasa_sdk.Action.name`."""
        return "action_greet"

    async def run(self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: DomainDict) -> Events:
        """See `rasa_sdk.Action.run`."""
        services, token = self.services, tapped_link(tracker)
        if not is_token(token):
            dispatcher.utter_message(response="utter_hello")
            return []
        channel = tracker.get_latest_input_channel() or ""
        try:
            binding = await bind(
                services.database, services.crm, services.desk, token, tracker.sender_id, channel, services.now()
            )
        except CrmUnavailable:
            dispatcher.utter_message(response="utter_link_later")
            return []
        if binding is None:
            dispatcher.utter_message(response="utter_link_invalid")
            return []
        services.letters_waiting()
        dispatcher.utter_message(response="utter_linked", masked=mask_address(binding.registered_address))
        return [SlotSet("address", bound_reference(binding))]


class AskOrderNumber(CaseAction):
    """Asks for the order number; a customer we know gets a button for each of his newest orders."""

    def name(self) -> str:
        """See `rasa_sdk.Action.name`."""
        return "action_ask_case_form_order_number"

    async def run(self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: DomainDict) -> Events:
        """See `rasa_sdk.Action.run`."""
        known = is_bound_reference(tracker.get_slot("address"))
        orders = await customers_orders(self.services, tracker) if known else []
        if orders:
            dispatcher.utter_message(response="utter_ask_own_order", choices=[_choice(order) for order in orders])
        elif "address" in named_facts(tracker):
            dispatcher.utter_message(response="utter_ask_number_too")
        elif _may_have_no_order(tracker):
            dispatcher.utter_message(response="utter_ask_order_if_any")
        else:
            dispatcher.utter_message(response="utter_ask_case_form_order_number")
        return []


class Forget(CaseAction):
    """The customer wants to be a stranger: no binding, no typed addresses, and a case that was being told ends."""

    def name(self) -> str:
        """See `rasa_sdk.Action.name`."""
        return "action_forget"

    async def run(self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: DomainDict) -> Events:
        """See `rasa_sdk.Action.run`."""
        await self.services.database.run(forget, tracker.sender_id)
        if tracker.active_loop.get("name") == "case_form":
            dispatcher.utter_message(response="utter_case_stopped")
        dispatcher.utter_message(response="utter_forgotten")
        return [*CLOSE_FORM, SlotSet("order_number", None), SlotSet("address", None)]


def _may_have_no_order(tracker: Tracker) -> bool:
    """Whether the topic needs no order, the customer says that there is none, or he only wonders.

    General questions and doubts inside the form are told by people who have not ordered yet.
    """
    needs_none = str(tracker.get_slot(TOPIC)).startswith(NEEDS_NO_ORDER)
    wonders = answers_in_form(tracker, ANSWERING) >= WONDERS
    return needs_none or wonders or bool(NO_ORDER.search(customers_words(tracker)))


def _choice(order: OrderBrief) -> dict[str, str]:
    """A button that names an order, however its number is written."""
    title = f"{order.shown_number} · {order.item}" if order.item else order.shown_number
    if len(title) > LONGEST_TITLE:
        title = title[: LONGEST_TITLE - 1].rstrip(" ,") + "…"
    return {"title": title, "payload": f"/identifiers{json.dumps({'order_number': order.number})}"}
