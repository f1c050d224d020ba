"""Where a personal link leads: into the shop's chat in a messenger, which hands the link's token on to us."""

from __future__ import annotations

from collections.abc import Callable

from telegram.error import TelegramError

from bot.channels.telegram import TelegramChannel
from handoff.errors import HandoffError
from handoff.settings import Settings


class BotNameUnknown(HandoffError):
    """A messenger does not say what the shop is called there."""


async def link_makers(settings: Settings) -> dict[str, Callable[[str], str]]:
    """By channel, what makes a link of a token; only the messengers that are set up.

    Raises:
        BotNameUnknown: Telegram does not answer; the bot's name is known only there.
    """
    makers: dict[str, Callable[[str], str]] = {}
    if settings.telegram_token:
        name = await _bot_name(settings)
        makers["telegram"] = lambda token: f"https://t.me/{name}?start={token}"
    if settings.vk_token:
        makers["vk"] = lambda token: f"https://vk.me/club{settings.vk_group_id}?ref={token}"
    return makers


async def _bot_name(settings: Settings) -> str:
    channel = TelegramChannel(settings.telegram_token, settings.telegram_api_base, settings.telegram_file_base)
    try:
        return str((await channel.bot.get_me()).username)
    except TelegramError as error:
        raise BotNameUnknown(f"Telegram does not say what the bot is called: {error}") from None
    finally:
        await channel.close()
