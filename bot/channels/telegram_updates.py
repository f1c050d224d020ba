"""Telegram, inward: what an update says, kept before Telegram is told that it arrived; by polling or by webhook."""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from fastapi import APIRouter, HTTPException, Request
from sqlalchemy.orm import Session
from telegram import CallbackQuery, Message, Update
from telegram.constants import ChatType
from telegram.error import TelegramError
from telegram.ext import ExtBot, Updater

from bot.channel import MessengerAway
from bot.channels.telegram import CHANNEL, TelegramChannel
from bot.inbox import Incoming, change_text, clean_text, receive_all
from bot.lease import Lease
from bot.metrics import MESSAGES, RECEIVE_SECONDS
from bot.models import RemoteFile
from bot.notices import NoticeTexts
from handoff.database import Database

log = logging.getLogger(__name__)

ALLOWED_UPDATES = ["message", "edited_message", "callback_query"]

#: How long Telegram holds a request for updates when there are none, in seconds.
POLL_S = 20
#: After each delivery: what is written meanwhile comes together, in one request and one transaction.
GATHER_S = 0.05
#: Without a successful request for this long the poller is built anew: connections were seen to hang for hours.
STALLED_S = 60.0
#: Ending must not wait for a request that hangs.
STOP_S = 3.0
#: Between two looks at Telegram's view of the webhook.
WEBHOOK_CHECK_S = 60.0

#: Languages of Telegram whose speakers we answer in Russian until they write something.
RUSSIAN = ("ru", "uk", "be", "kk", "ky", "uz", "tg", "hy", "az")


class TelegramIntake:
    """Keeps updates; `polled_at` is when Telegram last answered, on the monotonic clock."""

    def __init__(
        self, database: Database, channel: TelegramChannel, texts: NoticeTexts, received: Callable[[], None]
    ) -> None:
        self._database = database
        self.channel = channel
        self._texts = texts
        self._received = received
        self._answers: set[asyncio.Task[None]] = set()
        self.polled_at: float | None = None

    async def take(self, updates: Sequence[Update]) -> None:
        """Keep what updates say; when this returns, Telegram may forget them."""
        readable = [each for each in (self._read(update) for update in updates) if each is not None]
        with RECEIVE_SECONDS.labels(CHANNEL).time():
            kept = await self._database.run(self._keep, readable, datetime.now(UTC))
        if any(kept):
            MESSAGES.labels(CHANNEL).inc(sum(kept))
            self._received()
        for (update, _), new in zip(readable, kept, strict=True):
            if update.callback_query is not None:
                # Answered at once, or the button goes on turning; an answer that fails is of no importance.
                task = asyncio.create_task(self._answer(update.callback_query, pressed=bool(new)))
                self._answers.add(task)
                task.add_done_callback(self._answers.discard)

    def _read(self, update: Update) -> tuple[Update, list[Incoming]] | None:
        """An update and the messages in it; None when it cannot be read: asked for again it would be the same."""
        bot_id = self.channel.bot_id
        try:
            return update, read_message(update.message, bot_id) if update.message else read_press(
                update.callback_query, bot_id
            )
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            log.error("update %s cannot be read and is left out: %r", update.update_id, error)
            return None

    def _keep(self, session: Session, readable: Sequence[tuple[Update, list[Incoming]]], now: datetime) -> list[int]:
        """How many new messages each update brought."""
        kept = []
        for update, messages in readable:
            edited = update.edited_message
            if edited is not None:
                text = clean_text(edited.text or edited.caption or "")
                change_text(session, _key(edited, self.channel.bot_id), text)
            kept.append(receive_all(session, messages, now))
        return kept

    async def _answer(self, query: CallbackQuery, *, pressed: bool) -> None:
        language = language_of(query.from_user.language_code) or "ru"
        text = None if pressed else self._texts.text("button_gone", language, query.id)
        with suppress(TelegramError):
            await self.channel.bot.answer_callback_query(query.id, text)

    async def poll(self, lease: Lease) -> None:
        """Ask for updates for as long as the lease is ours.

        Raises:
            MessengerAway: Telegram cannot be reached, or has not answered for `STALLED_S`.
        """
        started = time.monotonic()
        bot = self.channel.new_bot(_PollingBot)
        bot.tell(self._polled, self.take)
        updater = Updater(bot, _Nowhere())
        try:
            await updater.initialize()
            await updater.start_polling(
                timeout=POLL_S, bootstrap_retries=-1, allowed_updates=ALLOWED_UPDATES, error_callback=_log_failure
            )
            log.info("asking Telegram for messages to @%s", bot.username)
            while lease.held:
                await asyncio.sleep(1)
                if time.monotonic() - max(started, self.polled_at or 0.0) > STALLED_S:
                    raise MessengerAway(f"no answer from Telegram for {STALLED_S:.0f} s")
        except TelegramError as error:
            raise MessengerAway(f"Telegram: {error}") from error
        finally:
            try:
                with suppress(TelegramError, TimeoutError):
                    async with asyncio.timeout(STOP_S):
                        if updater.running:
                            await updater.stop()
            finally:
                # Not by the Updater, which leaves a bot open that never answered, or whose time to stop was up.
                await bot.shutdown()

    def _polled(self) -> None:
        self.polled_at = time.monotonic()

    async def keep_webhook(self, url: str, secret: str) -> None:
        """Tell Telegram where to send updates, and look from time to time whether it still knows."""
        bot = self.channel.bot
        while True:
            try:
                known = await bot.get_webhook_info()
                if known.url != url:
                    await bot.set_webhook(url, allowed_updates=ALLOWED_UPDATES, secret_token=secret)
                elif known.last_error_message:
                    log.warning("Telegram could not deliver to us: %s", known.last_error_message)
                self._polled()
            except TelegramError as error:
                log.warning("Telegram cannot be told about the webhook: %s", error)
                await asyncio.sleep(5)
                continue
            await asyncio.sleep(WEBHOOK_CHECK_S)

    def router(self, url: str, secret: str) -> APIRouter:
        """The route that Telegram posts to, at the path of `url`; the answer 200 means that the update is kept."""
        router = APIRouter()

        @router.post(urlsplit(url).path or "/")
        async def webhook(request: Request) -> dict[str, bool]:
            sent = request.headers.get("X-Telegram-Bot-Api-Secret-Token", "")
            if not hmac.compare_digest(sent.encode(), secret.encode()):
                raise HTTPException(403)
            try:
                update = Update.de_json(await request.json(), self.channel.bot)
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                # 200: Telegram would send what we cannot read again and again, and hold back what comes after it.
                log.error("an update that cannot be read is left out: %r", error)
                return {"ok": False}
            await self.take([update])
            return {"ok": True}

        return router


class _PollingBot(ExtBot[None]):
    """Keeps updates before the Updater hears of them: with its next request it confirms them to Telegram."""

    def tell(self, on_poll: Callable[[], None], keep: Callable[[Sequence[Update]], Awaitable[None]]) -> None:
        self._on_poll, self._keep = on_poll, keep  # the library lets nothing be set from outside

    async def get_updates(self, *args: Any, **kwargs: Any) -> tuple[Update, ...]:
        updates = await super().get_updates(*args, **kwargs)
        self._on_poll()
        if updates:
            try:
                await self._keep(updates)
            except Exception as error:  # anything but its own kind would end the Updater's task without a word
                log.exception("%d updates could not be kept, they will be asked for again", len(updates))
                raise TelegramError(repr(error)) from error
            await asyncio.sleep(GATHER_S)
        return updates


class _Nowhere(asyncio.Queue[object]):
    """Where the Updater puts updates that are kept already."""

    async def put(self, item: object) -> None:
        """Forget it."""


def read_message(message: Message, bot_id: str) -> list[Incoming]:
    """The messages to keep: none from groups, bots and of kinds that say nothing; a caption is one of its own."""
    sender = message.from_user
    if message.chat.type != ChatType.PRIVATE or sender is None or sender.is_bot:
        return []
    common: dict[str, Any] = {
        "key": _key(message, bot_id),
        "sender_id": f"{CHANNEL}:{message.chat.id}",
        "channel": CHANNEL,
        "language": language_of(sender.language_code),
        "display_name": sender.full_name,
    }
    text = clean_text(message.text or "")
    if text:
        command, _, rest = text.partition(" ")
        command = command.partition("@")[0].lower()
        if command == "/start":
            return [Incoming(**common, kind="start", payload=rest.strip() or None)]
        if command == "/forget":
            return [Incoming(**common, kind="forget")]
        return [Incoming(**common, kind="text", text=text)]
    file = _file(message)
    if file is not None:
        found = [Incoming(**common, kind="photo", remote_file=file, album=message.media_group_id)]
        caption = clean_text(message.caption or "")
        if caption:
            found.append(Incoming(**common | {"key": f"{common['key']}:caption"}, kind="text", text=caption))
        return found
    if message.voice or message.audio or message.video_note:
        return [Incoming(**common, kind="voice")]
    if message.sticker or message.dice:
        return [Incoming(**common, kind="sticker")]
    if message.location:
        return [Incoming(**common, kind="place")]
    if message.contact:
        return [Incoming(**common, kind="contact")]
    return []


def read_press(query: CallbackQuery | None, bot_id: str) -> list[Incoming]:
    """A pressed button as a message."""
    message = query.message if query else None
    if query is None or message is None or not query.data or message.chat.type != ChatType.PRIVATE:
        return []
    return [
        Incoming(
            key=f"{CHANNEL}:{bot_id}:press:{query.id}",
            sender_id=f"{CHANNEL}:{message.chat.id}",
            channel=CHANNEL,
            kind="button",
            button=query.data,
            language=language_of(query.from_user.language_code),
            display_name=query.from_user.full_name,
        )
    ]


def language_of(code: str | None) -> str | None:
    """Our language for that of a Telegram client; None where it says nothing."""
    if not code:
        return None
    return "ru" if code.lower().split("-")[0] in RUSSIAN else "en"


def _file(message: Message) -> RemoteFile | None:
    """The file to fetch, with what Telegram says of its size and type."""
    if message.photo:
        largest = message.photo[-1]
        return RemoteFile(id=largest.file_id, size=largest.file_size, type="image/jpeg")
    # A GIF comes as an animation with a document beside it; a video is told to be what it is, and refused.
    document = message.document or message.video
    if document is None:
        return None
    return RemoteFile(id=document.file_id, size=document.file_size, type=document.mime_type)


def _key(message: Message, bot_id: str) -> str:
    """The same for every delivery: messages of one chat are numbered for each bot."""
    return f"{CHANNEL}:{bot_id}:{message.chat.id}:{message.message_id}"


def _log_failure(error: TelegramError) -> None:
    log.warning("Telegram gave no updates: %s", error)
