"""Connections to VK's API, each with an instance of the library that calls through it, on a thread of its own."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from threading import Thread
from typing import Any, TypeVar

import requests
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies
from vk_api.exceptions import ApiError, ApiHttpError
from vk_api.requests_pool import VkRequestsPool
from vk_api.vk_api import VkApiGroup

from bot.channels.pace import Place

T = TypeVar("T")

Values = dict[str, Any]

#: Where the library sends its calls.
OFFICIAL_API = "https://api.vk.ru/method/"
API_VERSION = "5.199"

#: To connect and to wait for an answer, in seconds. The library itself would wait for ever.
TIME_OUTS = (5.0, 10.0)


class NotTogether(Exception):
    """VK did not take several calls in one; each must be made alone."""


class Lines:
    """As many connections as calls are under way: a call that hangs has its line for itself.

    `api_base` is the address of the API's server, with or without "/method/".
    """

    #: What a thread and the library need before a call leaves, in seconds, with some room.
    lead_s = 0.005

    def __init__(self, token: str, api_base: str) -> None:
        self._token = token
        self._base = (api_base or OFFICIAL_API).rstrip("/").removesuffix("/method") + "/method/"
        self._all: list[_Line] = []
        self._idle: deque[_Line] = deque()

    async def call(self, method: str, values: Values, place: Place) -> Any:
        """Call a method in a place of the pace. Raises as `VkChannel.call` does."""
        return await self._on_a_line(lambda line: line.call(method, values, place))

    async def call_together(self, method: str, each: Sequence[Values], place: Place) -> list[Any]:
        """Call a method once for each of at most 25 `values`, all in one call of VK's `execute`.

        Returns:
            for each what the method answered, or the error that it would have raised.

        Raises:
            NotTogether: VK took none of them, or it is not known which; repeating them must be safe.
            requests.RequestException: VK cannot be reached, or talks gibberish.
        """
        return await self._on_a_line(lambda line: line.call_together(method, each, place))

    def close(self) -> None:
        """Close the connections."""
        for line in self._all:
            line.close()

    async def _on_a_line(self, work: Callable[[_Line], T]) -> T:
        def on_line() -> T:
            try:
                line = self._idle.pop()
            except IndexError:
                line = _Line(self._token, self._base)
                self._all.append(line)
            try:
                return work(line)
            finally:
                self._idle.append(line)

        return await on_thread(on_line)


class _Line(HTTPAdapter):
    """A connection to `base` with the library's instance that calls through it; no call is without a time-out."""

    def __init__(self, token: str, base: str) -> None:
        super().__init__(pool_connections=1, pool_maxsize=1)
        self._base = base
        session = requests.Session()
        session.mount(OFFICIAL_API, self)
        self._api = VkApiGroup(token=token, api_version=API_VERSION, session=session)
        self._api.RPS_DELAY = 0  # paced by us, for all lines together
        # They repeat a call without end, or want a captcha solved: every error is ours.
        self._api.error_handlers.clear()

    def call(self, method: str, values: Values, place: Place) -> Any:
        """See `Lines.call`."""
        self._place = place
        return self._api.method(method, values)

    def call_together(self, method: str, each: Sequence[Values], place: Place) -> list[Any]:
        """See `Lines.call_together`."""
        self._place = place
        pool = VkRequestsPool(self._api)
        calls = [pool.method(method, values) for values in each]
        try:
            pool.execute()
        except ApiError as error:  # its text may hold a piece of the messages
            raise NotTogether(f"error {error.code}") from None
        except ApiHttpError as error:  # too long for one call, perhaps
            raise NotTogether(f"HTTP {error.response.status_code}") from None
        except (KeyError, TypeError, IndexError, StopIteration) as error:
            raise NotTogether(f"an answer of another form: {type(error).__name__}") from None
        if not all(call.ready for call in calls):
            raise NotTogether("fewer answers than calls")
        return [
            call.result if call.ok else ApiError(self._api, method, values, False, call.error)
            for values, call in zip(each, calls, strict=True)
        ]

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        request.url = self._base + (request.url or "").removeprefix(OFFICIAL_API)
        kwargs |= {"timeout": TIME_OUTS, "proxies": get_environ_proxies(request.url)}
        with self._place:
            return super().send(request, *args, **kwargs)


async def on_thread(work: Callable[[], T]) -> T:
    """What `work` returns, done on a thread of its own that nobody waits for at the end.

    Not `asyncio.to_thread`: its few threads are those of the database, and a process ends only after them.
    """
    outcome: Future[T] = Future()

    def run() -> None:
        if outcome.set_running_or_notify_cancel():
            try:
                outcome.set_result(work())
            except Exception as error:  # noqa: BLE001 - handed on
                outcome.set_exception(error)

    Thread(target=run, name="vk", daemon=True).start()
    return await asyncio.wrap_future(outcome)
