"""Telegram for tests: speaks the Bot API over HTTP, objects to what Telegram would not take, errs when told to."""

from __future__ import annotations

import json
import random
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote

from ..system.running import lasting_port
from .telegram_calls import ApiError, Violation, checked
from .telegram_customer import BOT, Customer
from .telegram_faults import Fault, Faults
from .telegram_http import Answer, Request, Server
from .telegram_methods import BotApi, Call, too_many
from .telegram_updates import Json

TOKEN = f"{BOT['id']}:AAE-a-token-for-tests-only-0123456789abc"

WORDS = {
    "400": "Bad Request: test",
    "401": "Unauthorized",
    "403": "Forbidden: bot was blocked by the user",
    "404": "Not Found",
    "500": "Internal Server Error",
}
GARBAGE = b"<html><body>Welcome to the network of this hotel</body></html>"


class FakeTelegram(BotApi):
    """Telegram with one bot and as many customers as a test wants; any thread may use it.

    `violations`: calls that no bot should make. `calls`: all calls. `sent`: what reached customers, oldest first.
    `answers`: answers to presses by the id of their query. `profile`: what was set about the bot, by method and
    language. `refused`: how many sends were over the limits, if `strict_limits` watches them.
    """

    def __init__(self, port: int | None = None, *, token: str = TOKEN, strict_limits: bool = False) -> None:
        super().__init__(strict_limits)
        self.port = port or lasting_port()
        self.token = token
        self.violations: list[str] = []
        self.calls: list[Call] = []
        self.api_base = f"http://127.0.0.1:{self.port}/bot"  # for TELEGRAM_API_BASE
        self.file_base = f"http://127.0.0.1:{self.port}/file/bot"  # for TELEGRAM_FILE_BASE
        self._faults = Faults()
        self._server: Server | None = None

    def __enter__(self) -> FakeTelegram:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Be there, or be back on the same port with all that was known before."""
        with self.changed:
            self._server = Server(self.port, self._answer, self._failed)
            self.is_up = True
            self.start_pushing()

    def stop(self) -> None:
        """Be away: hang up on everybody and take no connections."""
        with self.changed:
            server, self._server = self._server, None
            self.is_up = False
            self.changed.notify_all()
        if server is not None:
            server.close()

    def customer(self, chat_id: int | None = None, first_name: str = "Мария", language_code: str = "ru") -> Customer:
        """A person who has not written yet."""
        with self.changed:
            customer = Customer(self, chat_id or 500_000 + self.next_id(), first_name, language_code)
            self.customers[customer.chat_id] = customer
            return customer

    def inject(self, kind: str, content: Json) -> Json:
        """Let an update of any kind happen; one that the bot has not asked for is not kept for it."""
        with self.changed:
            update = self.updates.add(kind, content)
            self.changed.notify_all()
            return update

    def new_query(self) -> str:
        """The id of a press that waits for its answer."""
        with self.changed:
            query_id = str(4_000_000_000 + self.next_id())
            self.queries[query_id] = time.monotonic()
            return query_id

    @contextmanager
    def holding_back(self) -> Iterator[None]:
        """Updates that happen meanwhile are handed out only after `release`, so that newer ones overtake them."""
        self.updates.holding_back = True
        try:
            yield
        finally:
            self.updates.holding_back = False

    def release(self) -> None:
        """Hand out what was held back."""
        with self.changed:
            self.updates.release()
            self.changed.notify_all()

    def redeliver(self, count: int) -> None:
        """Hand out the newest confirmed updates once more."""
        with self.changed:
            self.updates.redeliver(count)
            self.changed.notify_all()

    def pending(self) -> list[Json]:
        """Updates that could be handed out and are not confirmed."""
        with self.changed:
            return [waiting.update for waiting in self.updates.due()]

    def fault(self, method: str, kind: str, *, chat_id: int | None = None, times: int = 1, **options: Any) -> None:
        """Let the next calls of a method go wrong; `download` is the one that fetches a file.

        Args:
            method: as in the Bot API.
            kind: see `telegram_faults.KINDS`.
            chat_id: only calls for this chat.
            times: how often.
            **options: `seconds` of "hang" and "slow", `retry_after` of "429", `description` of an error.
        """
        with self.changed:
            self._faults.plan(Fault(method, kind, chat_id, times, options))

    def weather(self, rng: random.Random, probability: float, kinds: list[str], **options: Any) -> None:
        """Let sends and polls go wrong by chance; probability 0 ends it. `Received.ambiguous` says what came of it."""
        with self.changed:
            self._faults.set_weather(rng, probability, kinds, options)

    def wait_until(self, true: Callable[[], Any], timeout: float = 10) -> bool:
        """Wait until something about this object is true; it is asked whenever anything has happened."""
        with self.changed:
            return bool(self.changed.wait_for(true, timeout))

    def _answer(self, request: Request) -> Answer:
        is_file = request.path.startswith("/file/")
        token, _, rest = unquote(request.path).removeprefix("/file").removeprefix("/bot").partition("/")
        method, params = ("download", {"file_path": rest}) if is_file else (rest, request.params)
        call = Call(method, params, time.monotonic())
        with self.changed:
            self.calls.append(call)
            fault = self._faults.next(method, params.get("chat_id"))
        try:
            if token != self.token:
                raise Violation("wrong token", "Unauthorized", 401)
            if not is_file:
                params = checked(method, params)
            if fault is None:
                return self._act(call, params, request)
            call.fault = fault.kind
            return self._go_wrong(fault, lambda told: self._act(call, params, request, told))
        except ApiError as error:
            call.outcome = "" if request.caller_is_gone() else str(error)
            if isinstance(error, Violation):
                self.violations.append(f"{method}: {error.wrong}")
            return _json(error.code, error.as_json())
        finally:
            with self.changed:
                self.changed.notify_all()

    def _act(self, call: Call, params: Json, request: Request, told: bool = True) -> Answer:
        with self.changed:
            result = getattr(self, call.method)(call, **params)
            told = told and not request.caller_is_gone()
            if call.sent is not None:
                call.sent.ambiguous = not told
            for waiting in call.handed_out:
                waiting.handed_out |= told
            call.outcome = "ok"
            if isinstance(result, bytes):
                return 200, "application/octet-stream", result
            return _json(200, {"ok": True, "result": result})

    def _go_wrong(self, fault: Fault, act: Callable[[bool], Answer]) -> Answer:
        kind, _, when = fault.kind.partition("_")
        if kind in ("hang", "slow"):
            gone_away = self.wait_until(lambda: not self.is_up, fault.seconds)
            return None if gone_away or kind == "hang" else act(True)
        if when == "after":
            act(False)
        match kind:
            case "drop":
                return None
            case "garbage":
                return 200, "text/html", GARBAGE
            case "429":
                raise too_many(fault.retry_after)
        raise ApiError(int(kind), fault.options.get("description", WORDS[kind]))

    def _failed(self, failure: BaseException) -> None:
        self.violations.append("".join(traceback.format_exception(failure)))


def _json(status: int, content: Json) -> Answer:
    return status, "application/json", json.dumps(content).encode()
