"""Tries a model before customers meet it: it must load, understand what is sure (data/sure.yml) and answer once."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from bot.rasa import EngineAway, NoModel, RasaClient, TurnFailed

#: A start takes 10 s, on a busy machine many times that.
LOADING_PATIENCE_S = 180.0
ASKED_EVERY_S = 0.5


class ModelRefused(Exception):
    """The model must not serve; the message says why."""


class ModelCheck:
    """The examples, and how a conversation is forgotten that nobody had."""

    def __init__(self, sure: Path, forget: Callable[[str], object]) -> None:
        self._sure: Mapping[str, str] = YAML(typ="safe").load(sure)["sure"]
        self._forget = forget

    async def loaded(self, client: RasaClient, starts: Callable[[], int]) -> None:
        """Wait until the engine has its model; `starts` says how often it had to be started.

        Raises:
            ModelRefused: it never will.
        """
        deadline = asyncio.get_running_loop().time() + LOADING_PATIENCE_S
        while True:
            try:
                if await client.loaded():
                    return
            except NoModel:  # Rasa listens only once it has tried
                raise ModelRefused("Rasa could not load it; engine.log says why") from None
            except EngineAway:
                pass
            if starts() > 1:
                raise ModelRefused("the engine ended while it loaded it; engine.log says why")
            if asyncio.get_running_loop().time() > deadline:
                raise ModelRefused(f"it was not loaded after {LOADING_PATIENCE_S:.0f} s; engine.log says why")
            await asyncio.sleep(ASKED_EVERY_S)

    async def passed(self, client: RasaClient, *, proved: bool) -> None:
        """Try the model, which also warms it up; one that has `proved` itself need not know today's examples.

        Raises:
            ModelRefused: with each example that it took for something else.
        """
        try:
            wrong = [await self._mistake(client, text, expected) for text, expected in self._sure.items()]
            await self._turn(client)
        except EngineAway as problem:
            raise ModelRefused(f"the engine went away while it was tried: {problem}") from None
        except TurnFailed as problem:
            raise ModelRefused(f"it does not answer a plain question: {problem}") from None
        except (LookupError, TypeError, AttributeError) as problem:
            raise ModelRefused(f"it answers as no model of ours does: {problem!r}") from None
        if any(wrong) and not proved:
            raise ModelRefused("; ".join(filter(None, wrong)) + " (data/sure.yml)")

    async def _mistake(self, client: RasaClient, text: str, expected: str) -> str | None:
        found = _topic(await client.parse(text))
        return None if found == expected or found.startswith(f"{expected}/") else f"“{text}” is {found}, not {expected}"

    async def _turn(self, client: RasaClient) -> None:
        """One message in a conversation of its own, which leaves nothing behind."""
        sender_id = f"check:{secrets.token_hex(8)}"
        question = next(iter(self._sure))
        try:
            await client.say(sender_id, question, "web", {"key": sender_id, "language": "ru", "display_name": ""})
        finally:
            await asyncio.to_thread(self._forget, sender_id)


def _topic(parsed: Mapping[str, Any]) -> str:
    """The topic of a message, or its intent where there are none."""
    intent: str = parsed["intent"]["name"]
    chosen = parsed.get("response_selector", {}).get(intent, {}).get("response", {})
    return chosen.get("intent_response_key") or intent
