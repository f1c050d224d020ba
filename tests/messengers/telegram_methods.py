"""What Telegram knows, and what each method of its Bot API does.

Its words, and what they depend on, are those of the official server (github.com/tdlib/telegram-bot-api, Client.cpp).
"""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from .telegram_calls import ApiError, Params, Upload, Violation
from .telegram_customer import BOT, Customer, Received
from .telegram_updates import Json, Updates, Waiting
from .telegram_webhook import Webhook

#: Over all chats; in one chat one a second after a short burst (core.telegram.org/bots/faq).
SENDS_PER_SECOND = 30
BURST = 3

#: A bot cannot know when exactly its calls arrive.
TOLERANCE_S = 0.02

MAX_DOWNLOAD_BYTES = 20 << 20

#: Longer polls are cut to this (LONG_POLL_MAX_TIMEOUT).
MAX_POLL_S = 50


@dataclass(eq=False)
class Call:
    """A call of the bot: what it came to ("ok", an error, or nothing yet), and the fault that it met."""

    method: str
    params: Params
    at: float
    outcome: str = ""
    fault: str = ""
    sent: Received | None = None
    handed_out: list[Waiting] = field(default_factory=list)


class BotApi:
    """Telegram's side of the calls. Each method is called with `changed` held and parameters that were checked."""

    def __init__(self, strict_limits: bool) -> None:
        self.changed = threading.Condition()
        self.strict_limits = strict_limits
        self.clock = time.monotonic  # of the limits
        self.query_life_s = 15.0  # not documented
        self.webhook_retry_s = 2.0
        self.sent: list[Received] = []
        self.answers: dict[str, Params] = {}
        self.profile: dict[tuple[str, str], Params] = {}
        self.refused = 0
        self.is_up = False
        self.updates = Updates()
        self.webhook: Webhook | None = None
        self.customers: dict[int, Customer] = {}
        self.queries: dict[str, float] = {}
        self._files: dict[str, tuple[str, bytes]] = {}
        self._ids = itertools.count(1001)
        self._recent: deque[float] = deque()
        self._rested_at: dict[int, float] = {}
        self._poll = 0
        self._last_poll = (0, -math.inf)

    def next_id(self) -> int:
        """A number that no message, person or file has yet."""
        return next(self._ids)

    def keep_file(self, content: bytes, folder: str, extension: str) -> Json:
        """Keep a file, and describe it as messages do."""
        number = self.next_id()
        self._files[f"file-{number}"] = (f"{folder}/file_{number}.{extension}", content)
        return self._file(f"file-{number}")

    def _file(self, file_id: str) -> Json:
        if file_id not in self._files:
            raise ApiError(400, "Bad Request: wrong file_id or the file is temporarily unavailable")
        size = len(self._files[file_id][1])
        return {"file_id": file_id, "file_unique_id": f"unique-{file_id}", "file_size": size}

    def getMe(self, call: Call) -> Json:
        return {**BOT, "can_join_groups": False, "can_read_all_group_messages": False, "supports_inline_queries": False}

    def getUpdates(
        self, call: Call, offset: int = 0, limit: int = 100, timeout: int = 0, allowed_updates: list[str] | None = None
    ) -> list[Json]:
        if self.webhook is not None:
            raise _conflict("can't use getUpdates method while webhook is active; use deleteWebhook to delete the "
                            "webhook first")  # fmt: skip
        self.updates.allow(allowed_updates)
        if self.strict_limits and timeout < 3 and offset == self._last_poll[0] and call.at - self._last_poll[1] < 3:
            timeout = 3  # Telegram slows down who asks the same again
        self._last_poll = offset, call.at
        self.updates.confirm_below(offset)
        if timeout > 0 and not self.updates.due():
            self._wait_for_updates(min(timeout, MAX_POLL_S))
        call.handed_out = self.updates.due()[:limit]
        return [waiting.update for waiting in call.handed_out]

    def _wait_for_updates(self, timeout: int) -> None:
        self._poll += 1  # ends the poll that waits already
        mine = self._poll
        self.changed.notify_all()
        self.changed.wait_for(
            lambda: self.updates.due() or self._poll != mine or self.webhook is not None or not self.is_up, timeout
        )
        if self.webhook is not None:
            raise _conflict("terminated by setWebhook request")
        if self._poll != mine:
            raise _conflict("terminated by other getUpdates request; make sure that only one bot instance is running")

    def setWebhook(
        self,
        call: Call,
        url: str,
        max_connections: int = 40,
        allowed_updates: list[str] | None = None,
        drop_pending_updates: bool = False,
        secret_token: str = "",
    ) -> bool:
        self.deleteWebhook(call, drop_pending_updates)
        if not url:
            return True
        where = urlsplit(url)
        if where.scheme != "https" and where.hostname != "127.0.0.1":  # which Telegram could not reach anyway
            words = "Bad Request: bad webhook: An HTTPS URL must be provided for webhook"
            raise Violation("a webhook without https", words)
        self.updates.allow(allowed_updates)
        self.webhook = Webhook(url, secret_token, max_connections, self.webhook_retry_s)
        self.start_pushing()
        return True

    def start_pushing(self) -> None:
        """Push updates if there is a webhook, until it is deleted or Telegram is away."""
        if (webhook := self.webhook) is not None:
            webhook.start(self.updates, self.changed, lambda: self.is_up and self.webhook is webhook)

    def deleteWebhook(self, call: Call, drop_pending_updates: bool = False) -> bool:
        self.webhook = None
        if drop_pending_updates:
            self.updates.confirm(*self.updates.due())
        return True

    def getWebhookInfo(self, call: Call) -> Json:
        info: Json = {"url": "", "has_custom_certificate": False, "pending_update_count": len(self.updates)}
        if self.webhook is not None:
            info |= {"url": self.webhook.url, "max_connections": self.webhook.max_connections, **self.webhook.error}
        return {**info, "allowed_updates": sorted(self.updates.allowed)}

    def sendMessage(self, call: Call, chat_id: int, text: str, **params: Any) -> Json:
        return self._deliver(call, chat_id, {"text": text}, params)

    def sendPhoto(self, call: Call, chat_id: int, photo: Upload | str, **params: Any) -> Json:
        size = {**self._uploaded(photo, "photos"), "width": 1280, "height": 960}
        return self._deliver(call, chat_id, {"photo": [size]}, params)

    def sendDocument(self, call: Call, chat_id: int, document: Upload | str, **params: Any) -> Json:
        return self._deliver(call, chat_id, {"document": self._uploaded(document, "documents")}, params)

    def _uploaded(self, file: Upload | str, folder: str) -> Json:
        if isinstance(file, Upload):
            return {**self.keep_file(file, folder, file.name.rpartition(".")[2]), "file_name": file.name}
        return self._file(file)

    def _deliver(self, call: Call, chat_id: int, content: Json, params: Params) -> Json:
        customer = self._reachable(chat_id)
        if self.strict_limits:
            self._limit(chat_id)
        message = {
            "message_id": self.next_id(),
            "from": BOT,
            "chat": customer.chat,
            "date": int(time.time()),
            **content,
        }
        markup = params.get("reply_markup", {})
        if "inline_keyboard" in markup:
            message["reply_markup"] = markup
        if caption := params.get("caption"):
            message["caption"] = caption
        call.sent = Received(chat_id, message.get("text") or caption or "", time.monotonic(), message, markup)
        customer.received.append(call.sent)
        self.sent.append(call.sent)
        return message

    def _reachable(self, chat_id: int) -> Customer:
        if chat_id not in self.customers:
            raise ApiError(400, "Bad Request: chat not found")
        if self.customers[chat_id].blocked:
            raise ApiError(403, "Forbidden: bot was blocked by the user")
        return self.customers[chat_id]

    def _limit(self, chat_id: int) -> None:
        now = self.clock()
        while self._recent and self._recent[0] <= now - 1:
            self._recent.popleft()
        rested_at = max(self._rested_at.get(chat_id, now), now) + 1
        wait = max(rested_at - now - BURST, self._recent[0] + 1 - now if len(self._recent) >= SENDS_PER_SECOND else 0)
        if wait > TOLERANCE_S:
            self.refused += 1
            raise too_many(math.ceil(wait))
        self._recent.append(now)
        self._rested_at[chat_id] = rested_at

    def sendChatAction(self, call: Call, chat_id: int, action: str) -> bool:
        return bool(self._reachable(chat_id))

    def answerCallbackQuery(self, call: Call, callback_query_id: str, **params: Any) -> bool:
        if call.at - self.queries.pop(callback_query_id, -math.inf) > self.query_life_s:
            raise ApiError(400, "Bad Request: query is too old and response timeout expired or query ID is invalid")
        self.answers[callback_query_id] = params
        return True

    def editMessageReplyMarkup(
        self, call: Call, chat_id: int, message_id: int, reply_markup: Json | None = None
    ) -> Json:  # fmt: skip
        received = self._reachable(chat_id).received
        message = next((seen.raw for seen in received if seen.message_id == message_id), None)
        if message is None:
            raise ApiError(400, "Bad Request: message to edit not found")
        new = reply_markup if reply_markup and reply_markup["inline_keyboard"] else {}
        if message.pop("reply_markup", {}) == new:
            raise ApiError(400, "Bad Request: message is not modified: specified new message content and reply markup "
                           "are exactly the same as a current content and reply markup of the message")  # fmt: skip
        if new:
            message["reply_markup"] = new
        return message

    def getFile(self, call: Call, file_id: str) -> Json:
        file = self._file(file_id)
        if file["file_size"] > MAX_DOWNLOAD_BYTES:
            raise ApiError(400, "Bad Request: file is too big")
        return {**file, "file_path": self._files[file_id][0]}

    def download(self, call: Call, file_path: str) -> bytes:
        """What the bot gets at the address of a file."""
        for path, content in self._files.values():
            if path == file_path:
                return content
        raise ApiError(404, "Not Found")

    def setMyCommands(self, call: Call, language_code: str = "", **params: Any) -> bool:
        self.profile[call.method, language_code] = params
        return True

    setMyName = setMyDescription = setMyShortDescription = setMyCommands

    def close(self, call: Call) -> bool:
        raise too_many(600)  # in the first ten minutes after the bot was started

    def logOut(self, call: Call) -> bool:
        raise Violation("logOut would lock the bot out for ten minutes")


def too_many(retry_after: int) -> ApiError:
    """The answer to a bot that is too fast."""
    return ApiError(429, f"Too Many Requests: retry after {retry_after}", retry_after=retry_after)


def _conflict(why: str) -> ApiError:
    return ApiError(409, f"Conflict: {why}")
