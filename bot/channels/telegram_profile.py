"""Telegram: the bot's name, descriptions and commands in both languages, set when their words have changed."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from sqlalchemy.orm import Session
from telegram.error import RetryAfter, TelegramError

from bot.channels.telegram import TelegramChannel
from bot.models import ChannelState
from handoff.database import Database
from handoff.shop import LANGUAGES, Shop

log = logging.getLogger(__name__)

#: Telegram allows few changes of a bot's name a day: trying often would only prolong the wait.
RETRY_S = 300.0

#: Speakers of other languages see these.
DEFAULT_LANGUAGE = "en"


def read_profile(path: Path, shop: Shop) -> dict[str, Any]:
    """The texts of data/profile.yml by language, filled in from shop.yml; commands as {name: text}."""
    raw = YAML(typ="safe").load(path)["profile"]
    return {
        language: {
            **{
                name: raw[name][language].strip().format(shop=shop.name, hours=shop.phrases[language]["hours"])
                for name in ("name", "short_description", "description")
            },
            "commands": {command: texts[language] for command, texts in raw["commands"].items()},
        }
        for language in LANGUAGES
    }


async def set_profile(database: Database, channel: TelegramChannel, profile: dict[str, Any]) -> None:
    """Tell Telegram, unless it was told the same before; goes on trying while Telegram is away."""
    state = f"telegram:{channel.bot_id}:profile"
    digest = hashlib.sha256(json.dumps(profile, sort_keys=True).encode()).hexdigest()
    if await database.read(_known, state) == digest:
        return
    while True:
        try:
            for language in (None, *LANGUAGES):
                await _set(channel, profile[language or DEFAULT_LANGUAGE], language)
            await database.run(_remember, state, digest)
            return
        except TelegramError as error:
            log.warning("Telegram does not take the bot's profile now: %s", error)
            wait = error.retry_after if isinstance(error, RetryAfter) else 0
            await asyncio.sleep(max(RETRY_S, float(wait if isinstance(wait, int) else wait.total_seconds())))


async def _set(channel: TelegramChannel, texts: dict[str, Any], language: str | None) -> None:
    bot = channel.bot
    await bot.set_my_description(texts["description"], language_code=language)
    await bot.set_my_short_description(texts["short_description"], language_code=language)
    await bot.set_my_commands(list(texts["commands"].items()), language_code=language)
    # The name last: it is what Telegram refuses most often, and the rest must not wait for it.
    await bot.set_my_name(texts["name"], language_code=language)


def _known(session: Session, name: str) -> str | None:
    row = session.get(ChannelState, name)
    return row.value if row else None


def _remember(session: Session, name: str, value: str) -> None:
    session.merge(ChannelState(name=name, value=value))
