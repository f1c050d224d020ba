"""VK, inward: events, kept together with our place in VK's row of them; by long poll or by callbacks."""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count, takewhile
from typing import Any

import requests
from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import PlainTextResponse
from sqlalchemy import select
from sqlalchemy.orm import Session
from vk_api.bot_longpoll import VkBotLongPoll
from vk_api.exceptions import ApiError, VkApiError

from bot.channels.vk import CHANNEL, REFUSALS, VkChannel, random_id, reason
from bot.channels.vk_lines import on_thread
from bot.channels.vk_messages import Json, key_of, read_message, read_press, sender_of
from bot.inbox import OPERATOR_PAUSE, Incoming, change_text, clean_text, pause, receive
from bot.lease import Lease
from bot.metrics import MESSAGES, RECEIVE_SECONDS
from bot.models import ChannelState, Conversation, OutboxItem
from handoff.database import Database

log = logging.getLogger(__name__)

CALLBACK_PATH = "/vk/callback"

#: How long VK holds a request for events when there are none, in seconds.
POLL_S = 20
#: After each delivery: what is written meanwhile comes together, in one request and one transaction.
GATHER_S = 0.05
#: Without an answer for this long the poller is built anew: connections were seen to hang for hours.
STALLED_S = 45.0
#: An answer without events that comes sooner is not followed by a request at once: VK gave a new key, or is unwell.
EMPTY_S = 0.5
#: Waits between attempts while VK is away: doubled each time.
FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 15.0

#: How far back messages without an answer are looked for, and how many VK lists at once.
MISSED_FOR = timedelta(hours=24)
PAGE = 200
#: VK's codes for a method or a right that is missing, and for what it refuses in a single conversation.
HOPELESS = {3, 7, 15, *REFUSALS}

#: By so many of our last messages to a customer our own are told from an operator's.
OWN_MESSAGES = 20

#: What an event raises that is not as VK describes it.
UNREADABLE = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError)


class VkIntake:
    """Keeps events; `polled_at` is when VK last answered or called, on the monotonic clock."""

    def __init__(self, database: Database, channel: VkChannel, received: Callable[[], None]) -> None:
        self._database = database
        self._channel = channel
        self._group_id = channel.group_id
        self._place = f"{CHANNEL}:{channel.group_id}:ts"
        self._received = received
        self._answers: set[asyncio.Task[None]] = set()
        self.polled_at: float | None = None

    async def take(self, events: Sequence[Json], ts: str | None = None) -> None:
        """Keep what events say and, in the same transaction, that the next ones follow `ts`."""
        with RECEIVE_SECONDS.labels(CHANNEL).time():
            kept = await self._database.run(self._keep, events, ts, datetime.now(UTC))
        if kept:
            MESSAGES.labels(CHANNEL).inc(kept)
            self._received()
        for event in events:
            if event.get("type") == "message_event":
                task = asyncio.create_task(self._answer(event))
                self._answers.add(task)
                task.add_done_callback(self._answers.discard)

    def _keep(self, session: Session, events: Sequence[Json], ts: str | None, now: datetime) -> int:
        kept = 0
        for event in events:
            try:
                kept += self._keep_one(session, event["type"], event["object"], now)
            except UNREADABLE as error:
                # VK would send what we cannot read again and again, and hold back what comes after it.
                log.error("an event of VK that cannot be read is left out: %r", error)
        if ts is not None:
            session.merge(ChannelState(name=self._place, value=ts))
        return kept

    def _keep_one(self, session: Session, kind: str, content: Json, now: datetime) -> int:
        found: list[Incoming] = []
        if kind == "message_new":
            found = read_message(content["message"], self._group_id)
        elif kind == "message_event":
            found = read_press(content, self._group_id)
        elif kind == "message_edit":
            change_text(session, key_of(content, self._group_id), clean_text(content.get("text") or ""))
        elif kind == "message_reply" and content.get("admin_author_id"):
            _leave_to_person(session, content)
        return sum(_receive(session, message, now) for message in found)

    async def _answer(self, event: Json) -> None:
        """At once, or the pressed button goes on turning; an answer that fails is of no importance."""
        with suppress(VkApiError, requests.RequestException, *UNREADABLE):
            said = {name: event["object"][name] for name in ("event_id", "user_id", "peer_id")}
            await self._channel.call("messages.sendMessageEventAnswer", **said)

    async def poll(self, lease: Lease) -> None:
        """Ask for events for as long as the lease is ours."""
        polling, wait_s = None, FIRST_WAIT_S
        while lease.held:
            try:
                if polling is None:
                    polling = await on_thread(partial(_LongPoll, _PacedApi(self._channel), self._group_id, POLL_S))
                    log.info("asking VK for messages to community %s", self._group_id)
                await self._next(polling)
                wait_s = FIRST_WAIT_S
            except (VkApiError, requests.RequestException, TimeoutError) as error:
                log.warning("VK gave no events, asking again in %.0f s: %s", wait_s, reason(error))
                polling = None  # its address and key may be old, and its connection may hang
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, LONGEST_WAIT_S)

    async def _next(self, polling: VkBotLongPoll) -> None:
        """Wait for the events that follow those we have kept, and keep them."""
        began = time.monotonic()
        stored = await self._database.read(_stored, self._place)
        events: list[Json] = []
        if stored is not None:
            polling.ts = stored
            async with asyncio.timeout(STALLED_S):
                events = await on_thread(polling.check)
        self.polled_at = time.monotonic()
        ts = str(polling.ts)
        if not events and ts != stored:
            # We are here for the first time, or VK has lost events (failed 1 and 3).
            events = await self._missed()
        if events or ts != stored:
            await self.take(events, ts)
            await asyncio.sleep(GATHER_S)
        elif self.polled_at - began < EMPTY_S:
            await asyncio.sleep(EMPTY_S)

    async def _missed(self) -> list[Json]:
        """Messages that wait for an answer, as if VK told of them now; those that we have are known by their keys."""
        since = (datetime.now(UTC) - MISSED_FOR).timestamp()
        found: list[Json] = []
        for peer_id in await self._unanswered(since):
            history = await self._listed("messages.getHistory", peer_id=peer_id, count=PAGE)
            waiting = takewhile(lambda message: not message.get("out") and message["date"] > since, history)
            found += reversed([{"type": "message_new", "object": {"message": message}} for message in waiting])
        log.info("%d messages without an answer were found at VK", len(found))
        return found

    async def _unanswered(self, since: float) -> list[int]:
        """The customers who had the last word and said it after `since`; VK lists the newest first."""
        customers: list[int] = []
        for offset in count(0, PAGE):
            page = await self._listed("messages.getConversations", filter="unanswered", count=PAGE, offset=offset)
            last = [item.get("last_message") or {} for item in page]
            recent = [message for message in last if message.get("date", 0) > since]
            customers += [message["peer_id"] for message in recent if message["from_id"] == message["peer_id"]]
            if len(recent) < PAGE:
                break
        return customers

    async def _listed(self, method: str, **values: Any) -> list[Json]:
        """What VK lists; nothing if it never will: to try for ever would be to hear nobody."""
        try:
            items: list[Json] = (await self._channel.call(method, **values))["items"]
        except ApiError as error:
            if error.code not in HOPELESS:
                raise
            log.error("not all messages without an answer can be found, %s: %s", method, reason(error))
            return []
        return items

    def router(self, secret: str, confirmation: str) -> APIRouter:
        """The route that VK posts to; `ok` means that the event is kept, and after anything else VK repeats it."""
        router = APIRouter()

        @router.post(CALLBACK_PATH, response_class=PlainTextResponse)
        async def callback(request: Request) -> str:
            try:
                event = await request.json()
                # A new address is confirmed before VK was told the secret.
                sent = event.get("secret", secret if event["type"] == "confirmation" else "")
                known = hmac.compare_digest(str(sent).encode(errors="replace"), secret.encode())
                ours = known and event["group_id"] == self._group_id
            except UNREADABLE:
                ours = False
            if not ours:
                raise HTTPException(403)
            self.polled_at = time.monotonic()
            if event["type"] == "confirmation":
                return confirmation
            await self.take([event])
            return "ok"

        return router


class _LongPoll(VkBotLongPoll):  # type: ignore[misc]
    """Gives events as they came: the library's own reading fails for all of them when it fails for one."""

    def _parse_event(self, raw_event: Json) -> Json:
        return raw_event


class _PacedApi:
    """What the library's long poll, on its thread, needs of the API: calls within the pace of all."""

    def __init__(self, channel: VkChannel) -> None:
        self._channel = channel
        self._loop = asyncio.get_running_loop()

    def method(self, method: str, values: Json) -> Any:
        return asyncio.run_coroutine_threadsafe(self._channel.call(method, **values), self._loop).result()


def _stored(session: Session, name: str) -> str | None:
    state = session.get(ChannelState, name)
    return state.value if state else None


def _receive(session: Session, message: Incoming, now: datetime) -> bool:
    """Keep a message; a press whose button counts no longer is the text that it sent."""
    if receive(session, message, now):
        return True
    return bool(message.button and message.text) and receive(session, replace(message, kind="text", button=None), now)


def _leave_to_person(session: Session, reply: Json) -> None:
    """Pause after an operator's reply, as from when it was written: it may come late, or again."""
    sender_id, written_at = sender_of(reply), datetime.fromtimestamp(reply["date"], UTC)
    ours = (
        select(OutboxItem).where(OutboxItem.sender_id == sender_id).order_by(OutboxItem.id.desc()).limit(OWN_MESSAGES)
    )
    if reply["random_id"] in {random_id(item) for item in session.scalars(ours)}:
        return
    conversation = session.get(Conversation, sender_id)
    known = conversation.paused_until if conversation else None
    if known is None or written_at + OPERATOR_PAUSE > known:
        pause(session, sender_id, CHANNEL, written_at)
