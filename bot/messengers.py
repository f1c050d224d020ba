"""The messengers that are set up: where messages leave, and what keeps asking for new ones."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from fastapi import APIRouter

from bot.channel import Channel, MessengerAway
from bot.channels import telegram, web
from bot.channels.telegram import TelegramChannel
from bot.channels.telegram_profile import set_profile
from bot.channels.telegram_updates import TelegramIntake
from bot.channels.web import WebChannel
from bot.lease import Lease
from bot.notices import NoticeTexts
from handoff.database import Database
from handoff.settings import Settings

log = logging.getLogger(__name__)

#: A messenger that was away, or a lease that was lost, is tried again after this long.
RETRY_S = 2.0

Loop = tuple[str, Callable[[], Awaitable[None]]]


class Messengers:
    """What the settings switch on; the demo has the web chat instead.

    `channels` are where messages leave. `received` is called after messages were kept. `profile` is what
    `read_profile` gives.
    """

    def __init__(
        self, settings: Settings, database: Database, texts: NoticeTexts, profile: dict[str, Any], *, demo: bool
    ) -> None:
        self.received: Callable[[], None] = lambda: None
        self.channels: dict[str, Channel] = {web.CHANNEL: WebChannel()} if demo else {}
        self._settings = settings
        self._database = database
        self._profile = profile
        self._telegram: TelegramIntake | None = None
        if settings.telegram_token:
            channel = TelegramChannel(settings.telegram_token, settings.telegram_api_base, settings.telegram_file_base)
            self.channels[telegram.CHANNEL] = channel
            self._telegram = TelegramIntake(database, channel, texts, self._wake)

    def _wake(self) -> None:
        self.received()

    def loops(self) -> list[Loop]:
        """What asks the messengers for messages, or tells them where to send them."""
        found: list[Loop] = []
        if self._telegram is not None:
            intake, url = self._telegram, self._settings.telegram_webhook_url
            if url:
                found.append(("telegram webhook", lambda: intake.keep_webhook(url, self._webhook_secret())))
            else:
                lease = Lease(self._database, f"telegram:{self._settings.telegram_token.partition(':')[0]}")
                found.append(("telegram poller", lambda: _polling(intake, lease)))
            found.append(("telegram profile", lambda: set_profile(self._database, intake.channel, self._profile)))
        return found

    def routers(self) -> Sequence[APIRouter]:
        """Where messengers post to us."""
        found = []
        if self._telegram is not None and self._settings.telegram_webhook_url:
            found.append(self._telegram.router(self._settings.telegram_webhook_url, self._webhook_secret()))
        return found

    def ages(self) -> dict[str, Callable[[], float | None]]:
        """By channel, the seconds since the messenger last answered."""
        found: dict[str, Callable[[], float | None]] = {}
        if web.CHANNEL in self.channels:
            found[web.CHANNEL] = lambda: 0.0
        if self._telegram is not None:
            intake = self._telegram
            found[telegram.CHANNEL] = lambda: _age(intake.polled_at)
        return found

    async def close(self) -> None:
        """Close the connections."""
        for channel in self.channels.values():
            await channel.close()

    def _webhook_secret(self) -> str:
        """As set, or one that every process of this installation comes to by itself."""
        if self._settings.telegram_webhook_secret:
            return self._settings.telegram_webhook_secret
        digest = hmac.digest(self._settings.signing_key(), b"telegram webhook", hashlib.sha256)
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")


async def _polling(intake: TelegramIntake, lease: Lease) -> None:
    """Ask for messages whenever the right to do so is ours, however long the messenger is away."""
    while True:
        async with lease.hold():
            try:
                await intake.poll(lease)
            except MessengerAway as problem:
                log.warning("%s: %s; asking again in %.0f s", lease.name, problem, RETRY_S)
        await asyncio.sleep(RETRY_S)


def _age(polled_at: float | None) -> float | None:
    return None if polled_at is None else round(time.monotonic() - polled_at, 1)
