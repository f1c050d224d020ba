"""VK's Callback API: events are posted to the bot, one after the other, each until the answer is `ok`."""

from __future__ import annotations

from collections import deque
from threading import Condition, Thread
from typing import Any

import httpx

Json = dict[str, Any]


class Callback:
    """A server of the community as entered in VK's settings."""

    def __init__(self, url: str, secret: str, changed: Condition, retry_after_s: float) -> None:
        self.url = url
        self.secret = secret
        self.retry_after_s = retry_after_s
        self.waiting: deque[Json] = deque()
        self._changed = changed
        self._running = False
        self._thread: Thread | None = None

    def confirm(self, event: Json, code: str) -> None:
        """Raises: AssertionError: the bot does not answer with exactly the code."""
        response = self._post(event, 0)
        if response is None or (response.status_code, response.text) != (200, code):
            raise AssertionError(f"not confirmed: {response.text if response else 'no answer'}")

    def start(self) -> None:
        self._running = True
        self._thread = Thread(target=self._push, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        with self._changed:
            self._running = False
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _push(self) -> None:
        tries = 0
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self.waiting or not self._running)
                if not self._running:
                    return
                event = self.waiting[0]
            response = self._post(event, tries)
            with self._changed:
                if response is not None and (response.status_code, response.text) == (200, "ok"):
                    self.waiting.popleft()
                    self._changed.notify_all()
                    tries = 0
                else:
                    tries += 1
                    self._changed.wait_for(lambda: not self._running, self.retry_after_s)

    def _post(self, event: Json, tries: int) -> httpx.Response | None:
        headers = {"X-Retry-Counter": str(tries)} if tries else {}
        secret = {"secret": self.secret} if self.secret else {}
        try:
            return httpx.post(self.url, json={**event, **secret}, headers=headers, timeout=10, trust_env=False)
        except httpx.HTTPError:
            return None
