"""The messengers that are set up: where messages leave, and what keeps asking for new ones."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from fastapi import APIRouter

from bot.channel import Channel, MessengerAway
from bot.channels import telegram, vk, web
from bot.channels.telegram import TelegramChannel
from bot.channels.telegram_profile import set_profile
from bot.channels.telegram_updates import TelegramIntake
from bot.channels.vk import VkChannel
from bot.channels.vk_events import VkIntake
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
    """What the settings switch on, and the web chat, on which only the demo's page takes messages.

    `channels` are where messages leave. `received` is called after messages were kept. `profile` is what
    `read_profile` gives.
    """

    def __init__(
        self, settings: Settings, database: Database, texts: NoticeTexts, profile: dict[str, Any], *, demo: bool
    ) -> None:
        self.received: Callable[[], None] = lambda: None
        self.channels: dict[str, Channel] = {web.CHANNEL: WebChannel()}
        self._demo = demo
        self._settings = settings
        self._database = database
        self._profile = profile
        self._telegram = self._set_up_telegram(texts) if settings.telegram_token else None
        self._vk = self._set_up_vk() if settings.vk_token else None

    def _set_up_telegram(self, texts: NoticeTexts) -> TelegramIntake:
        own = self._settings
        channel = TelegramChannel(own.telegram_token, own.telegram_api_base, own.telegram_file_base)
        self.channels[telegram.CHANNEL] = channel
        return TelegramIntake(self._database, channel, texts, self._wake)

    def _set_up_vk(self) -> VkIntake:
        own = self._settings
        channel = VkChannel(own.vk_token, own.vk_group_id, own.vk_api_base)
        self.channels[vk.CHANNEL] = channel
        return VkIntake(self._database, channel, self._wake)

    def _wake(self) -> None:
        self.received()

    def loops(self) -> list[Loop]:
        """What asks the messengers for messages, or tells them where to send them."""
        found: list[Loop] = []
        if self._telegram is not None:
            intake, own = self._telegram, self._settings
            if own.telegram_webhook_url:
                keep = partial(intake.keep_webhook, own.telegram_webhook_url, self._webhook_secret())
                found.append(("telegram webhook", keep))
            else:
                lease = Lease(self._database, f"telegram:{intake.channel.bot_id}")
                found.append(("telegram poller", partial(_polling, intake, lease)))
            set_up = partial(set_profile, self._database, intake.channel, self._profile)
            found.append(("telegram profile", set_up))
        if self._vk is not None and not self._settings.vk_callback_secret:
            lease = Lease(self._database, f"vk:{self._settings.vk_group_id}")
            found.append(("vk poller", partial(_polling, self._vk, lease)))
        return found

    def routers(self) -> Sequence[APIRouter]:
        """Where messengers post to us."""
        own, found = self._settings, []
        if self._telegram is not None and own.telegram_webhook_url:
            found.append(self._telegram.router(own.telegram_webhook_url, self._webhook_secret()))
        if self._vk is not None and own.vk_callback_secret:
            found.append(self._vk.router(own.vk_callback_secret, own.vk_confirmation))
        return found

    def ages(self) -> dict[str, Callable[[], float | None]]:
        """By channel, the seconds since the messenger last answered."""
        intakes = {telegram.CHANNEL: self._telegram, vk.CHANNEL: self._vk}
        found = {name: partial(_age, intake) for name, intake in intakes.items() if intake is not None}
        return {web.CHANNEL: lambda: 0.0, **found} if self._demo else {**found}

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


async def _polling(intake: TelegramIntake | VkIntake, lease: Lease) -> None:
    """Ask for messages whenever the right to do so is ours, however long the messenger is away."""
    while True:
        async with lease.hold():
            try:
                await intake.poll(lease)
            except MessengerAway as problem:
                log.warning("%s: %s; asking again in %.0f s", lease.name, problem, RETRY_S)
        await asyncio.sleep(RETRY_S)


def _age(intake: TelegramIntake | VkIntake) -> float | None:
    return None if intake.polled_at is None else round(time.monotonic() - intake.polled_at, 1)
