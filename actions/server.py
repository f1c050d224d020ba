"""Serves the actions to Rasa from our own process (Rasa's action protocol over HTTP)."""

from __future__ import annotations

import hmac
import logging
from typing import Annotated, Any

from fastapi import APIRouter, Body, HTTPException, Query
from fastapi.responses import JSONResponse
from rasa_sdk.executor import ActionExecutor

from actions.metrics import timed_action
from actions.services import CaseAction
from handoff.log_lines import follow

log = logging.getLogger(__name__)


def actions_router(actions: list[CaseAction], token: str) -> APIRouter:
    """The endpoint of endpoints.yml's `action_endpoint`.

    Args:
        actions: what Rasa may call. When one breaks, the engine lets the whole turn fail (`bot.engine.whole_turns`).
        token: only callers who send it are served; the port may be reachable from outside.
    """
    executor = ActionExecutor()
    for action in actions:
        executor.register_action(action)
    router = APIRouter(prefix="/actions")

    @router.post("/webhook")
    async def run(call: Annotated[dict[str, Any], Body()], given: Annotated[str, Query(alias="token")] = "") -> Any:
        if not hmac.compare_digest(given.encode(), token.encode()):
            raise HTTPException(403, "wrong token")
        call.setdefault("domain", {})  # no action reads it (`bot.engine.short_calls` leaves it out)
        name = str(call.get("next_action"))
        follow(key=_key_of(call), action=name)
        try:
            with timed_action(name if name in executor.actions else "unknown"):
                done = await executor.run(call)
            log.info("action done")
            return done
        except Exception:  # whatever broke, Rasa must hear of it
            log.exception("action %s failed", call.get("next_action"))
            return JSONResponse({"error": "the action failed", "action_name": call.get("next_action")}, 500)

    return router


def _key_of(call: dict[str, Any]) -> str:
    for event in reversed((call.get("tracker") or {}).get("events") or []):
        if event.get("event") == "user":
            return str((event.get("metadata") or {}).get("key"))
    return ""
