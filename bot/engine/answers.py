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
from rasa.shared.core.events import BotUttered
from rasa.shared.core.trackers import DialogueStateTracker
from rasa.utils.endpoints import EndpointConfig

from bot.engine.normaliser import CYRILLIC
from handoff.shop import Shop, load_shop

log = logging.getLogger(__name__)

PLACEHOLDER = re.compile(r"{(\w+)}")
FACT = "fact_"


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
        """The message for a response; `custom` tells the gateway the language and a fact that was missing."""
        language = language_of(tracker)
        variants = [
            (number, variant)
            for number, variant in enumerate(self.responses.get(utter_action, []))
            if bool(CYRILLIC.search(variant["text"])) == (language == "ru")
        ]
        if not variants:
            log.error("no %s text for %s", language, utter_action)
            return None
        shop = self._current_shop()
        slots = {name: value for name, value in tracker.current_slot_values().items() if value is not None}
        if "address" in slots:
            slots["address"] = slots["address"].partition("#")[0]  # the mask without the reference behind it
        values = {**shop.words(language, tracker.sender_id), **slots, **kwargs}
        values.update({FACT + name: text for name in shop.facts if (text := shop.fact(name, language))})

        about = [(n, v) for n, v in variants if FACT in v["text"]]
        known = [(n, v) for n, v in about if set(PLACEHOLDER.findall(v["text"])) <= values.keys()]
        plain = [(n, v) for n, v in variants if FACT not in v["text"]]
        number, variant = min(known or plain or variants, key=lambda pair: _last_used(tracker, utter_action, pair[0]))

        custom = {"language": language}
        if about and not known:
            custom["gap"] = next(
                p for p in PLACEHOLDER.findall(about[0][1]["text"]) if p.startswith(FACT)
            ).removeprefix(FACT)
        message: dict[str, Any] = {"text": _filled(variant["text"], values), "variant": number, "custom": custom}
        if variant.get("buttons"):
            message["buttons"] = [{**b, "title": _filled(b["title"], values)} for b in variant["buttons"]]
        return message

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


def _last_used(tracker: DialogueStateTracker, utter_action: str, number: int) -> int:
    """Position of the last use of a variant in the conversation, -1 if it was not used yet.

    What came before a restart does not count: those turns were taken back or are told again after it.
    """
    events = tracker.events_after_latest_restart()
    for position in range(len(events) - 1, -1, -1):
        event = events[position]
        if (
            isinstance(event, BotUttered)
            and event.metadata.get("utter_action") == utter_action
            and event.metadata.get("variant") == number
        ):
            return position
    return -1


def _filled(text: str, values: dict[str, Any]) -> str:
    return PLACEHOLDER.sub(lambda found: str(values.get(found[1], found[0])), text)
