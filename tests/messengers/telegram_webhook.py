"""Pushes updates to a bot's webhook, as often as it takes (WebhookActor.cpp of Telegram's server)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Condition, Thread
from typing import Any

import httpx

from .telegram_updates import Json, Updates, Waiting

#: Telegram opens as many as the bot allows; more than this make no difference to a test.
MAX_CONNECTIONS = 8
MAX_PAUSE_S = 60.0


@dataclass(eq=False)
class Webhook:
    """Where updates go. The first retry is at once, the next after `retry_s`, then twice that and so on."""

    url: str
    secret_token: str
    max_connections: int
    retry_s: float
    error: Json = field(default_factory=dict)
    _busy: set[tuple[str, Any]] = field(default_factory=set)

    def start(self, updates: Updates, changed: Condition, is_on: Callable[[], bool]) -> None:
        """Push from threads while `is_on`."""
        for _ in range(min(self.max_connections, MAX_CONNECTIONS)):
            Thread(target=self._push, args=(updates, changed, is_on), daemon=True).start()

    def _push(self, updates: Updates, changed: Condition, is_on: Callable[[], bool]) -> None:
        headers = {"X-Telegram-Bot-Api-Secret-Token": self.secret_token} if self.secret_token else {}
        with httpx.Client(headers=headers, timeout=10, verify=False) as http, changed:
            while is_on():
                waiting = updates.next_to_push(self._busy)
                if waiting is None:
                    changed.wait(0.02 if len(updates) else None)
                    continue
                self._busy.add(waiting.queue)
                changed.release()
                try:
                    error, retry_after = self._post(http, waiting.update)
                finally:
                    changed.acquire()
                self._busy.discard(waiting.queue)
                if error:
                    self._put_off(waiting, error, retry_after)
                else:
                    updates.confirm(waiting)
                changed.notify_all()

    def _post(self, http: httpx.Client, update: Json) -> tuple[str, float]:
        try:
            response = http.post(self.url, json=update)
        except httpx.HTTPError as failure:
            return f"Connection failed: {type(failure).__name__}", 0.0
        error = "" if response.is_success else f"Wrong response from the webhook: {response.status_code}"
        return error, float(response.headers.get("Retry-After", 0))

    def _put_off(self, waiting: Waiting, error: str, retry_after: float) -> None:
        self.error = {"last_error_date": int(time.time()), "last_error_message": error}
        pause = min(MAX_PAUSE_S, self.retry_s * 2 ** (waiting.refusals - 1)) if waiting.refusals else 0.0
        waiting.not_before = time.monotonic() + (retry_after or pause)
        waiting.refusals += 1
