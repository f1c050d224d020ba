"""Rasa's REST channel, which also logs each turn under its message's key and tells the caller how long it took.

Named in credentials.yml. Read against Rasa 3.6.21: a request is answered in the task that took it, and a turn that
breaks is logged by Rasa after `on_new_message`, so the key is followed until the response leaves.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any

from rasa.core.channels.channel import UserMessage
from rasa.core.channels.rest import RestInput
from sanic import Blueprint
from sanic.request import Request
from sanic.response import HTTPResponse

from bot.engine.turn_times import begin_turn, note_seconds, server_timing
from handoff.log_lines import follow

log = logging.getLogger(__name__)


class Channel(RestInput):  # type: ignore[misc]
    """Answers at `/webhooks/rest/webhook`, as Rasa's own does."""

    def blueprint(self, on_new_message: Callable[[UserMessage], Awaitable[Any]]) -> Blueprint:
        """See `RestInput.blueprint`."""

        async def timed(message: UserMessage) -> None:
            follow(key=(message.metadata or {}).get("key"))
            began = perf_counter()
            await on_new_message(message)
            took_s = perf_counter() - began
            note_seconds("turn", took_s)
            log.info("turn played in %.3f s", took_s)

        routes = super().blueprint(timed)

        @routes.middleware("request")
        async def begin(request: Request) -> None:
            begin_turn()

        @routes.middleware("response")
        async def tell(request: Request, response: HTTPResponse) -> None:
            response.headers["Server-Timing"] = server_timing()
            follow(key=None)  # the connection's task goes on with other requests

        return routes
