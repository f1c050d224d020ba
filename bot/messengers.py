"""The messengers that are set up: where messages leave, and what keeps asking for new ones."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
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
from bot.lease import Lease, Presence, alone
from bot.notices import NoticeTexts
from handoff.database import Database
from handoff.settings import Settings

log = logging.getLogger(__name__)

#: A messenger that was away, or a lease that was lost, is tried again after this long.
RETRY_S = 2.0

Loop = tuple[str, Callable[[], Awaitable[None]]]


class Messengers:
    """What the settings switch on, and the web chat, on which only the demo's page takes messages.

    Of several services one polls a messenger and sends on it: its limits count for a token, and are kept by whoever
    makes all calls. `channels` are where messages leave. `profile` is what `read_profile` gives. `received` is called
    after messages were kept.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        texts: NoticeTexts,
        profile: dict[str, Any],
        *,
        presence: Presence,
        received: Callable[[], None],
        demo: bool,
    ) -> None:
        self.channels: dict[str, Channel] = {web.CHANNEL: WebChannel()}
        self._leases = {web.CHANNEL: presence.lease(web.CHANNEL)}
        self._received = received
        self._presence = presence
        self._demo = demo
        self._settings = settings
        self._database = database
        self._profile = profile
        self._telegram = self._set_up_telegram(texts) if settings.telegram_token else None
        self._vk = self._set_up_vk() if settings.vk_token else None

    def _set_up_telegram(self, texts: NoticeTexts) -> TelegramIntake:
        own = self._settings
        channel = TelegramChannel(own.telegram_token, own.telegram_api_base, own.telegram_file_base)
        intake = TelegramIntake(self._database, channel, texts, self._received)
        self._add(telegram.CHANNEL, channel.bot_id, channel, intake)
        return intake

    def _set_up_vk(self) -> VkIntake:
        own = self._settings
        channel = VkChannel(own.vk_token, own.vk_group_id, own.vk_api_base)
        intake = VkIntake(self._database, channel, self._received)
        self._add(vk.CHANNEL, str(own.vk_group_id), channel, intake)
        return intake

    def _add(self, name: str, account: str, channel: Channel, intake: TelegramIntake | VkIntake) -> None:
        self.channels[name] = channel
        self._leases[name] = self._presence.lease(f"{name}:{account}", partial(_polled_at, intake))

    def may_send(self, channel: str) -> bool:
        """Whether this service is the one that sends on a channel now."""
        return self._leases[channel].may_send

    def loops(self) -> list[Loop]:
        """What asks the messengers for messages, or tells them where to send them."""
        found: list[Loop] = []
        if self._telegram is not None:
            intake, own = self._telegram, self._settings
            if own.telegram_webhook_url:
                keep = partial(intake.keep_webhook, own.telegram_webhook_url, self._webhook_secret())
                found.append(("telegram webhook", keep))
            else:
                found.append(("telegram poller", self._polling(telegram.CHANNEL, intake)))
            set_up = partial(set_profile, self._database, intake.channel, self._profile)
            found.append(("telegram profile", partial(alone, self._leases[telegram.CHANNEL], set_up)))
        if self._vk is not None and not self._settings.vk_callback_secret:
            found.append(("vk poller", self._polling(vk.CHANNEL, self._vk)))
        return found

    def _polling(self, channel: str, intake: TelegramIntake | VkIntake) -> Callable[[], Awaitable[None]]:
        lease = self._leases[channel]
        return partial(alone, lease, partial(_poll, intake, lease))

    def routers(self) -> Sequence[APIRouter]:
        """Where messengers post to us."""
        own, found = self._settings, []
        if self._telegram is not None and own.telegram_webhook_url:
            found.append(self._telegram.router(own.telegram_webhook_url, self._webhook_secret()))
        if self._vk is not None and own.vk_callback_secret:
            found.append(self._vk.router(own.vk_callback_secret, own.vk_confirmation))
        return found

    def ages(self) -> dict[str, Callable[[], float | None]]:
        """By channel, the seconds since the messenger last answered, whichever service polls it; 0 where none does."""
        unpolled = {web.CHANNEL, vk.CHANNEL} if self._settings.vk_callback_secret else {web.CHANNEL}
        names = [name for name in self._leases if name != web.CHANNEL or self._demo]
        return {name: (lambda: 0.0) if name in unpolled else partial(_age, self._leases[name]) for name in names}

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


async def _poll(intake: TelegramIntake | VkIntake, lease: Lease) -> None:
    """Ask for messages for as long as the right to do so is ours, however long the messenger is away."""
    while True:
        await lease.wait()  # while our database is away, another service may have taken over
        try:
            await intake.poll(lease)
        except MessengerAway as problem:
            log.warning("%s: %s; asking again in %.0f s", lease.name, problem, RETRY_S)
        await asyncio.sleep(RETRY_S)


def _polled_at(intake: TelegramIntake | VkIntake) -> datetime | None:
    if intake.polled_at is None:
        return None
    return datetime.now(UTC) - timedelta(seconds=time.monotonic() - intake.polled_at)


def _age(lease: Lease) -> float | None:
    polled_at = lease.polled_at
    return None if polled_at is None else round((datetime.now(UTC) - polled_at).total_seconds(), 1)
