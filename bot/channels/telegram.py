"""Telegram, outward: messages, typing signs and files go through the Bot API, paced within its limits."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from functools import lru_cache
from typing import TypeVar

from aiolimiter import AsyncLimiter
from telegram import InlineKeyboardButton, InlineKeyboardMarkup, LinkPreviewOptions
from telegram.constants import ChatAction
from telegram.error import BadRequest, ChatMigrated, Forbidden, InvalidToken, RetryAfter, TelegramError
from telegram.ext import ExtBot

from bot.channel import FileGone, MaybeSent, SendLater, SendRefused
from bot.channels.pace import Pace
from bot.channels.telegram_request import NOT_SENT, TelegramRequest, proxy_of
from bot.models import OutboxItem, RemoteFile
from handoff.files import MAX_FILE_BYTES, FileTooLarge

CHANNEL = "telegram"

# The library's own switch to spans of time instead of numbers; without it every refusal by rate would warn.
os.environ.setdefault("PTB_TIMEDELTA", "1")

OFFICIAL_API = "https://api.telegram.org"

#: Telegram takes about 30 messages a second from a bot and one a second for a chat, with short bursts (Bots FAQ,
#: "hitting limits").
ALL_CHATS = 30
#: A tenth below: the limiter counts when a call begins, Telegram when it arrives, and in a burst some arrive late.
ONE_CHAT = (3, 3.3)
PACED_CHATS = 20_000

#: How long an answer is waited for, in seconds: giving up a slow one early would say a thing twice.
ANSWER_S = 12.0

#: As many calls at once; each waits at most for the request's own time-outs.
CONNECTIONS = 64


B = TypeVar("B", bound=ExtBot[None])


class TelegramChannel:
    """See `bot.channel.Channel`. `api_base` is the address of the Bot API's server, with or without "/bot"."""

    def __init__(self, token: str, api_base: str = "", file_base: str = "") -> None:
        self.bot_id = token.partition(":")[0]
        self._token, self._bases = token, _bases(api_base, file_base)
        proxy_of(self._bases[0])  # one that cannot be used is told at the start
        self.bot = self.new_bot(ExtBot[None])
        self._all_chats = Pace(ALL_CHATS)
        self._one_chat = lru_cache(PACED_CHATS)(lambda chat: AsyncLimiter(*ONE_CHAT))

    def new_bot(self, kind: type[B]) -> B:
        """A client of its own connections: one that got stuck must not hold up the others."""
        calls, polls = TelegramRequest(CONNECTIONS, ANSWER_S), TelegramRequest(4)
        api, files = self._bases
        return kind(self._token, base_url=api, base_file_url=files, request=calls, get_updates_request=polls)

    async def send(self, item: OutboxItem, leaves: Callable[[], object] = lambda: None) -> str:
        """See `bot.channel.Channel.send`. Plain text: nothing in it can be mistaken for formatting."""
        chat = chat_of(item.sender_id)
        rows = [[InlineKeyboardButton(button["title"], callback_data=button["key"])] for button in item.buttons]
        async with self._one_chat(chat):
            try:
                if item.maybe_sent:
                    # The one repetition that is allowed is made when Telegram is well again.
                    async with self._all_chats.place():
                        await self.bot.send_chat_action(chat, ChatAction.TYPING)
            except TelegramError as error:
                raise _known(error) or SendLater(str(error)) from error
            try:
                async with self._all_chats.place():
                    leaves()
                    message = await self.bot.send_message(
                        chat, item.text, reply_markup=InlineKeyboardMarkup(rows) if rows else None,
                        link_preview_options=LinkPreviewOptions(is_disabled=True),
                    )  # fmt: skip
            except TelegramError as error:
                raise _known(error) or MaybeSent(str(error)) from error
        return str(message.message_id)

    async def typing(self, sender_id: str) -> None:
        """See `bot.channel.Channel.typing`; left out where answers need the rate."""
        if self._all_chats.has_room:
            async with self._all_chats.place():
                await self.bot.send_chat_action(chat_of(sender_id), ChatAction.TYPING)

    async def download(self, file: RemoteFile) -> bytes:
        """See `bot.channel.Channel.download`."""
        try:
            found = await self.bot.get_file(file["id"])
            if (found.file_size or 0) > MAX_FILE_BYTES:
                raise FileTooLarge(found.file_size or 0)
            return bytes(await found.download_as_bytearray())
        except BadRequest as error:
            if "too big" in str(error):
                raise FileTooLarge(file["size"] or 0) from error
            raise FileGone(str(error)) from error

    async def close(self) -> None:
        """Close the connections."""
        await self.bot.request.shutdown()


def chat_of(sender_id: str) -> int:
    """The chat's number at Telegram."""
    return int(sender_id.removeprefix(f"{CHANNEL}:"))


def _known(error: TelegramError) -> SendLater | SendRefused | None:
    """What an error means for a message that certainly did not arrive; None when it may have."""
    match error:
        case RetryAfter():
            wait = error.retry_after
            return SendLater(str(error), wait if isinstance(wait, timedelta) else timedelta(seconds=wait))
        case Forbidden():
            return SendRefused(f"the customer cannot be written to: {error}", unreachable=True)
        case BadRequest() | ChatMigrated():
            return SendRefused(str(error), unreachable="chat not found" in str(error).lower())
        case InvalidToken():
            return SendLater(f"TELEGRAM_TOKEN is not accepted: {error}")
    if isinstance(error.__cause__, NOT_SENT):
        return SendLater(f"Telegram cannot be reached: {error}")
    return None


def _bases(api_base: str, file_base: str) -> tuple[str, str]:
    server = (api_base or OFFICIAL_API).rstrip("/").removesuffix("/bot")
    return f"{server}/bot", (file_base or f"{server}/file").rstrip("/").removesuffix("/bot") + "/bot"
