"""Words an answer: the customer's language, the shop's facts, the variant used longest ago.

Named in endpoints.yml as Rasa's NLG. A text with Cyrillic letters is Russian, one without is English. A variant that
names a fact ("{fact_care}") is used when shop.yml sets that fact, the others while it does not; then the gateway is
told about the gap, so that the shop learns what its customers asked.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import Any

from rasa.core.nlg import TemplatedNaturalLanguageGenerator
from rasa.shared.core.domain import Domain
from rasa.shared.core.trackers import DialogueStateTracker
from rasa.utils.endpoints import EndpointConfig

from bot.engine.normaliser import CYRILLIC
from bot.engine.talk import Talk
from handoff.shop import Shop, load_shop

log = logging.getLogger(__name__)

PLACEHOLDER = re.compile(r"{(\w+)}")
FACT = "fact_"
#: A text that begins so says sorry itself.
APOLOGY = re.compile(
    r"[^.?!]*(?:\bпрости|извини|жаль|виноват|неловко|стыдно|sorry|apolog|our mistake|our fault|ashamed)",
    re.I,
)


class Answers(TemplatedNaturalLanguageGenerator):
    """See `rasa.core.nlg.NaturalLanguageGenerator`.

    Rasa makes this object before it has loaded a model, and sets `responses` afterwards on generators of this base only
    (`rasa.core.agent.Agent.load_model`, 3.6.21).
    """

    def __init__(self, endpoint_config: EndpointConfig | None, domain: Domain) -> None:
        super().__init__(domain.responses)
        self._shop_file = Path(os.environ.get("SHOP_FILE", "shop.yml"))
        self._shop: Shop = load_shop(self._shop_file)
        self._shop_read_at = self._shop_file.stat().st_mtime

    async def generate(
        self, utter_action: str, tracker: DialogueStateTracker, output_channel: str, **kwargs: Any
    ) -> dict[str, Any] | None:
        """The message for a response; `custom` tells the gateway language, topic and facts that were missing.

        `choices` of an action are buttons that no text could know; they come before the text's own.
        """
        language = language_of(tracker)
        shop = self._current_shop()
        slots = {name: value for name, value in tracker.current_slot_values().items() if value is not None}
        if "address" in slots:
            slots["address"] = slots["address"].partition("#")[0]  # the mask without the reference behind it
        values = {**shop.words(language, tracker.sender_id), **slots, **kwargs}
        values.update({FACT + name: text for name in shop.facts if (text := shop.fact(name, language))})

        talk = Talk(tracker)
        message: dict[str, Any] = {"text": "", "variants": {}, "custom": {"language": language}}
        own_variants = len(self._usable(utter_action, language, values)[0])
        for name in talk.responses_for(utter_action, own_variants, overload=shop.overload):
            variants, gap = self._usable(name, language, values)
            if not variants:
                log.error("no %s text for %s", language, name)
                continue
            number, variant = min(variants, key=lambda pair: talk.preference(name, *pair))
            if gap:
                message["custom"].setdefault("gaps", []).append(gap)
            if APOLOGY.match(variant["text"]) and list(message["variants"]) == ["utter_sorry"]:
                message["text"] = ""  # this one says so itself
                message["variants"].clear()
            message["variants"][name] = number
            message["text"] += ("\n\n" if message["text"] else "") + talk.addressed(_filled(variant["text"], values))
            if variant.get("buttons"):
                message["buttons"] = [{**b, "title": _filled(b["title"], values)} for b in variant["buttons"]]
        if not message["text"]:
            return None
        message["text"] += talk.smile(utter_action)
        if message["custom"].get("gaps") and talk.may_offer_to_ask(utter_action):
            # Only the buttons of this response are used, below the answer's own offer.
            for _, leave in self._usable("utter_may_ask", language, values)[0][:1]:
                message["buttons"] = message.get("buttons", []) + leave.get("buttons", [])
        if options := talk.options(utter_action, language) + kwargs.get("choices", []):
            message["buttons"] = options + message.get("buttons", [])
        if topic := talk.topic():
            message["custom"]["topic"] = topic
        return message

    def _usable(
        self, name: str, language: str, values: dict[str, Any]
    ) -> tuple[list[tuple[int, dict[str, Any]]], str | None]:
        """The variants of a response that can be said, each with its number; the fact that was missing for others."""
        variants = [
            (number, variant)
            for number, variant in enumerate(self.responses.get(name, []))
            if bool(CYRILLIC.search(variant["text"])) == (language == "ru")
        ]
        about = [(n, v) for n, v in variants if FACT in v["text"]]
        known = [(n, v) for n, v in about if set(PLACEHOLDER.findall(v["text"])) <= values.keys()]
        if known or not about:
            return known or variants, None
        missing = [p for p in PLACEHOLDER.findall(about[0][1]["text"]) if p.startswith(FACT)]
        return [(n, v) for n, v in variants if FACT not in v["text"]] or variants, missing[0].removeprefix(FACT)

    def _current_shop(self) -> Shop:
        """The facts as they stand in the file now: a change there needs no restart and no training."""
        changed = self._shop_file.stat().st_mtime
        if changed != self._shop_read_at:
            self._shop_read_at = changed
            try:
                self._shop = load_shop(self._shop_file)
            except Exception:  # a slip in the file must not silence the bot; the old facts stay
                log.exception("shop file not usable, the previous facts stay in force")
        return self._shop


def language_of(tracker: DialogueStateTracker) -> str:
    """The conversation's language: last sure message, else a short word, else what the channel said, else Russian."""
    metadata = (tracker.latest_message.metadata if tracker.latest_message else None) or {}
    for said in (tracker.get_slot("language"), tracker.get_slot("language_hint"), metadata.get("language")):
        if said in ("ru", "en"):
            return said
    return "ru"


def _filled(text: str, values: dict[str, Any]) -> str:
    return PLACEHOLDER.sub(lambda found: str(values.get(found[1], found[0])), text)
