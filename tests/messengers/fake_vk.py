"""A VK community on loopback: its API, long poll and callbacks, for a bot that runs as a real process.

What the bot asks for is checked against vk_methods.yml; what VK would not take is kept in `violations`.
"""

from __future__ import annotations

import json
import random
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import count
from threading import Condition, Event, RLock
from types import TracebackType
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from .vk_callback import Callback
from .vk_calls import VERSION, VkError, objections
from .vk_customer import Customer
from .vk_execute import execute
from .vk_faults import Fault, Faults, Weather
from .vk_http import Request, Response, Server, uploaded_file
from .vk_methods import EVENTS, METHODS, show

Json = dict[str, Any]

#: Calls of all methods together in any second, for a community token (dev.vk.com/api/api-requests).
CALLS_PER_SECOND = 20

#: A human of the shop who answers by hand.
OPERATOR = 100_200

#: Ports that Linux never gives out by itself: while VK is away nobody else gets ours.
PORTS = range(20_000, 32_000)


@dataclass
class Call:
    """A call as it came in; `outcome` is "ok", "error 914" or the kind of the fault, empty until it is answered."""

    method: str
    params: dict[str, str]
    at: float
    outcome: str = ""


class FakeVk:
    """Everything public may be used from any thread; what is changed by hand is changed under `changed`."""

    def __init__(
        self, port: int | None = None, *, token: str = "vk1.a.test", group_id: int = 777, strict_rate: bool = False
    ) -> None:
        self.port = port or _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.token = token
        self.group_id = group_id
        self.strict_rate = strict_rate
        self.refused = 0  # calls over the limit
        self.calls: list[Call] = []
        self.violations: list[str] = []
        self.changed = Condition(RLock())

        self.customers: dict[int, Customer] = {}
        self.dialogs: dict[int, list[Json]] = {}  # messages by peer_id, oldest first
        self.read: dict[int, int] = {}  # the newest message that the community has read, by peer_id
        self.sent: dict[tuple[int, int], Json] = {}  # by peer_id and random_id
        self.presses: dict[str, tuple[int, float]] = {}  # user_id and time, by the id of the press
        self.files: dict[str, bytes] = {}
        self.uploads: dict[str, tuple[str, bytes]] = {}
        self.attachments: set[str] = set()

        self.key = uuid4().hex
        self.long_poll_enabled = True
        self.enabled_events = set(EVENTS)
        self.confirmation_code = uuid4().hex[:8]
        self._events: list[Json] = []
        self._first_ts = 1  # a client with this ts has seen nothing of _events
        self._to_come_late = 0
        self._late: list[Json] = []

        self._ids = count(1)
        self._calls_at: list[float] = []
        self._faults = Faults()
        self._callback: Callback | None = None
        self._server: Server | None = None
        self._away = Event()

    # --- life -----------------------------------------------------------------------------------------------------

    def __enter__(self) -> FakeVk:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def wait_until(self, true: Callable[[], Any], timeout: float = 10) -> bool:
        """Whether something becomes true of this community in time; it is looked at whenever something happens."""
        with self.changed:
            return bool(self.changed.wait_for(true, timeout))

    @property
    def environment(self) -> dict[str, str]:
        """What the service needs to find us."""
        return {"VK_API_BASE": f"{self.url}/method/", "VK_TOKEN": self.token, "VK_GROUP_ID": str(self.group_id)}

    def start(self) -> None:
        """Come (back) with all that was there before."""
        self._away.clear()
        self._server = Server(self.port, self._answer)
        if self._callback:
            self._callback.start()

    def stop(self) -> None:
        """Be away: the port is closed, waiting calls are hung up on."""
        self._away.set()
        with self.changed:
            self.changed.notify_all()
        if self._callback:
            self._callback.stop()
        if self._server:
            self._server.close()
            self.violations += [f"the fake itself failed: {failure}" for failure in self._server.failures]
        self._server = None

    # --- people ---------------------------------------------------------------------------------------------------

    def customer(self, user_id: int | None = None, first_name: str = "Мария", last_name: str = "Соколова") -> Customer:
        """A customer, the same one for the same id."""
        with self.changed:
            user_id = user_id or 501_000 + self.new_id()
            return self.customers.setdefault(user_id, Customer(self, user_id, first_name, last_name))

    def operator_replies(self, customer: Customer, text: str) -> Json:
        """A human of the shop writes by hand in VK."""
        with self.changed:
            message = self.add_message(customer.user_id, -self.group_id, text, admin_author_id=OPERATOR)
            self.inject("message_reply", message)
            show(customer, message, {})
        return message

    def add_message(self, peer_id: int, from_id: int, text: str, **fields: Any) -> Json:
        """A message in a conversation, of which nobody is told yet."""
        with self.changed:
            messages = self.dialogs.setdefault(peer_id, [])
            message = {
                "id": self.new_id(),
                "conversation_message_id": len(messages) + 1,
                "date": int(time.time()),
                "peer_id": peer_id,
                "from_id": from_id,
                "out": int(from_id < 0),
                "text": text,
                "random_id": 0,
                "attachments": [],
                "fwd_messages": [],
                "important": False,
                "is_hidden": False,
                "version": 10_000_000 + len(messages),
                **fields,
            }
            messages.append(message)
        return message

    def new_id(self) -> int:
        return next(self._ids)

    def keep_file(self, content: bytes, name: str) -> str:
        """The address under which VK gives the file out."""
        path = f"/files/{self.new_id()}/{quote(name)}"
        self.files[path] = content
        return self.url + path

    def press(self, user_id: int, payload: Any, conversation_message_id: int) -> str:
        """A callback button was pressed; the answer must name the id of the press."""
        event_id = uuid4().hex[:12]
        pressed = {"user_id": user_id, "peer_id": user_id, "event_id": event_id, "payload": payload}
        with self.changed:
            self.presses[event_id] = (user_id, time.monotonic())
            self.inject("message_event", {**pressed, "conversation_message_id": conversation_message_id})
        return event_id

    # --- events ---------------------------------------------------------------------------------------------------

    @property
    def ts(self) -> int:
        """Number of the newest event."""
        return self._first_ts + len(self._events)

    def inject(self, kind: str, content: Json) -> Json:
        """Let the bot know of an event, of whatever content; its `event_id` is in the result."""
        event = {
            "group_id": self.group_id,
            "type": kind,
            "event_id": uuid4().hex,
            "v": VERSION,
            "object": json.loads(json.dumps(content)),
        }
        with self.changed:
            if self._to_come_late:
                self._to_come_late -= 1
                self._late.append(event)
            else:
                late, self._late = self._late, []
                self._deliver(event, *late)
        return event

    def redeliver(self, number: int = 1) -> list[Json]:
        """The last events once more, with the same event_id, as VK does after a reconnect."""
        with self.changed:
            again = self._events[-number:]
            self._deliver(*again)
        return again

    def deliver_late(self, number: int = 1) -> None:
        """The next events come only after the one that follows them."""
        with self.changed:
            self._to_come_late = number

    def forget_events(self) -> None:
        """Lose the history: whoever has not fetched an event yet will not get it (failed 1)."""
        with self.changed:
            self._first_ts = self.ts + 10
            self._events.clear()
            self.changed.notify_all()

    def expire_key(self) -> None:
        """Let the key of the long poll expire (failed 2)."""
        with self.changed:
            self.key = uuid4().hex
            self.changed.notify_all()

    def callback_to(self, url: str, secret: str, confirmation_code: str, retry_after_s: float = 0.2) -> None:
        """Confirm the bot's address, then post every event to it as well; raises AssertionError if not confirmed."""
        self.confirmation_code = confirmation_code
        callback = Callback(url, secret, self.changed, retry_after_s)
        confirmation = {"group_id": self.group_id, "type": "confirmation", "event_id": uuid4().hex, "v": VERSION}
        callback.confirm(confirmation, confirmation_code)
        if self._callback:
            self._callback.stop()
        self._callback = callback
        callback.start()

    @property
    def callbacks_waiting(self) -> int:
        """Events that the bot has not answered with `ok` yet."""
        return len(self._callback.waiting) if self._callback else 0

    def _deliver(self, *events: Json) -> None:
        self._events += [event for event in events if event["type"] in self.enabled_events]
        if self._callback:
            self._callback.waiting += events
        self.changed.notify_all()

    # --- faults ---------------------------------------------------------------------------------------------------

    def fault(
        self, method: str, kind: str, *, peer_id: int | None = None, times: int | None = 1, **options: Any
    ) -> None:
        """Let calls of a method, or "poll", go wrong; kinds and options are those of vk_faults."""
        with self.changed:
            self._faults.planned.append(Fault(method, kind, peer_id, times, **options))

    def weather(self, random: random.Random, probability: float, kinds: Sequence[str], **options: Any) -> None:
        """Let sends and polls go wrong at random from now on."""
        with self.changed:
            self._faults.weather = Weather(random, probability, kinds, options)

    def clear_faults(self) -> None:
        """Fair weather and no plans."""
        with self.changed:
            self._faults = Faults()

    def fault_within(self, method: str, params: dict[str, str]) -> Fault | None:
        """The planned error of a call within another; the caller holds the lock."""
        return self._faults.next_for(method, params, within=True)

    # --- HTTP -----------------------------------------------------------------------------------------------------

    def _answer(self, request: Request) -> Response | None:
        prefix, _, rest = request.path.removeprefix("/").partition("/")
        if prefix == "method":
            return self._call(rest, request)
        if prefix == "whp":
            return self._call("poll", request)
        if prefix == "upload":
            return self._upload(rest, request)
        if prefix == "doc":
            return Response(b"", 302, headers={"Location": f"{self.url}/files/{rest}"})
        if request.path in self.files:
            return Response(self.files[request.path], content_type="application/octet-stream")
        self.violations.append(f"nothing is at {request.path}")
        return Response(b"", 404)

    def note_call(self, method: str, params: dict[str, str], at: float) -> Call:
        """Write down a call; the caller holds the lock."""
        call = Call(method, params, at)
        self.calls.append(call)
        self.changed.notify_all()
        return call

    def _call(self, method: str, request: Request) -> Response | None:
        shown = {name: value for name, value in request.params.items() if name != "access_token"}
        at = time.monotonic()
        with self.changed:
            call = self.note_call(method, shown, at)
            fault = self._faults.next_for(method, shown)
        kind = fault.kind if fault else ""
        if fault and kind in ("hang", "slow"):
            self._away.wait(fault.seconds)
        if kind in ("hang", "drop_before", "500_before", "garbage"):
            response, outcome = None, ""
        else:
            response, outcome = self._act(call, request, fault)
        with self.changed:
            call.outcome = kind if kind not in ("", "slow", "error", "failed") else outcome
            self.changed.notify_all()
        if kind in ("hang", "drop_before", "drop_after") or self._away.is_set():
            return None
        return {
            "500_before": Response(b"<h1>Internal Server Error</h1>", 500, "text/html"),
            "500_after": Response(b"<h1>Internal Server Error</h1>", 500, "text/html"),
            "garbage": Response(b"<html>We will be back soon</html>", 200, "text/html"),
            "garbage_after": Response(b"<html>We will be back soon</html>", 200, "text/html"),
        }.get(kind, response)

    def _act(self, call: Call, request: Request, fault: Fault | None) -> tuple[Response, str]:
        with self.changed:
            try:
                self._check(call, request)
                if fault and fault.kind == "error":
                    raise VkError(fault.code, "a fault of the test")
                if call.method == "poll":
                    answer = self._poll(call.params, fault.failed if fault and fault.kind == "failed" else 0)
                    outcome = f"failed {answer['failed']}" if "failed" in answer else "ok"
                elif call.method == "execute":
                    answers, errors = execute(self, request.params, METHODS)
                    answer = {"response": answers} | ({"execute_errors": errors} if errors else {})
                    outcome = "ok"
                else:
                    answer, outcome = {"response": METHODS[call.method](self, call.params)}, "ok"
            except VkError as error:
                answer, outcome = error.as_json(call.params), f"error {error.code}"
            return Response(json.dumps(answer, ensure_ascii=False).encode()), outcome

    def _check(self, call: Call, request: Request) -> None:
        """Raises: VkError: the first objection."""
        found = list(objections(call.method, request.params, request.repeated))
        self.violations += [f"{call.method}: {objection}" for objection in found]
        if call.method != "poll":
            token = request.params.get("access_token") or request.headers.get("authorization", "").removeprefix(
                "Bearer "
            )
            if not token:
                self.violations.append(f"{call.method}: no token")
            if token != self.token:
                raise VkError(5, "invalid access_token")
            self._keep_to_the_rate(call.at)
            if call.params.get("group_id", str(self.group_id)) != str(self.group_id):
                raise VkError(15, "another group")
        if found:
            raise found[0]

    def _keep_to_the_rate(self, at: float) -> None:
        self._calls_at = [other for other in self._calls_at if other > at - 1]
        if self.strict_rate and len(self._calls_at) >= CALLS_PER_SECOND:
            self.refused += 1
            raise VkError(6)
        self._calls_at.append(at)

    def _poll(self, params: dict[str, str], failed: int) -> Json:
        """Wait for events after the client's ts; numbers in the answers are of VK's types."""
        if failed in (1, 3):
            self.forget_events()
        if failed in (2, 3):
            self.expire_key()
        ts, deadline = int(params["ts"]), time.monotonic() + int(params["wait"])
        while True:
            expired, lost = params["key"] != self.key, not self._first_ts <= ts <= self.ts
            if expired:
                return {"failed": 3 if lost else 2}
            if lost:
                return {"failed": 1, "ts": self.ts}  # a number here, a string below
            left = deadline - time.monotonic()
            if ts < self.ts or left <= 0 or self._away.is_set():
                return {"ts": str(self.ts), "updates": self._events[ts - self._first_ts :]}
            self.changed.wait(left)

    def _upload(self, kind: str, request: Request) -> Response:
        token = uuid4().hex
        with self.changed:
            self.uploads[token] = uploaded_file(request)
        answer = {"photo": token, "server": 1, "hash": "abc"} if kind == "photo" else {"file": token}
        return Response(json.dumps(answer).encode())


def _free_port() -> int:
    for port in random.sample(PORTS, 100):
        with closing(socket.socket()) as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port
    raise AssertionError("no free port")
