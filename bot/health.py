"""How the system is doing: `/healthz`, `/readyz`, `/metrics`, and the queues a person must look at."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from math import nan
from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy import false, func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from bot.engines import Engines
from bot.metrics import CLAIMS, MAILBOX_AGE, POLL_AGE, QUEUE_AGE, QUEUE_DEPTH, STUCK
from bot.models import InboxItem, OutboxItem
from handoff.database import Database
from handoff.limits import recent_claims
from handoff.models import LetterIn, LetterOut, Ticket

#: A database that takes longer is away for whoever asks: a probe that hangs tells nothing.
DATABASE_ANSWERS_S = 3.0


def health_router(
    database: Database,
    rasa: Engines,
    *,
    channels: Mapping[str, Callable[[], float | None]],
    letters_leave: bool,
    mailbox_polled_at: Callable[[], datetime | None],
) -> APIRouter:
    """`/healthz`, `/readyz`, `/metrics`.

    Args:
        database: asked for the depth of the queues.
        rasa: asked whether it would answer.
        channels: those that customers can write on, each with the seconds since the messenger last answered: 0 where
            nobody polls (the web chat, VK's callbacks), and None before the first answer.
        letters_leave: whether a mail server is set.
        mailbox_polled_at: when the mailbox last answered, if letters are fetched from one.
    """
    router = APIRouter()

    async def queues() -> dict[str, Any] | None:
        try:
            async with asyncio.timeout(DATABASE_ANSWERS_S):
                return await database.read(queue_states, datetime.now(UTC))
        except (SQLAlchemyError, TimeoutError):
            return None

    def poll_age() -> float | None:
        moment = mailbox_polled_at()
        return None if moment is None else round((datetime.now(UTC) - moment).total_seconds(), 1)

    @router.get("/healthz")
    async def healthz() -> dict[str, Any]:
        found = await queues()
        return {
            "channels": {name: {"last_poll_age_s": age()} for name, age in channels.items()},
            "engine": "ready" if await rasa.ready() else "away",
            "database": "ready" if found is not None else "away",
            "mail": {"sending": "on" if letters_leave else "off: letters wait", "last_poll_age_s": poll_age()},
            **(found or {}),
        }

    @router.get("/readyz")
    async def readyz() -> JSONResponse:
        ready = await rasa.ready() and await queues() is not None
        return JSONResponse({"ready": ready}, 200 if ready else 503)

    @router.get("/metrics")
    async def metrics() -> Response:
        for name, state in (await queues() or {}).items():
            QUEUE_DEPTH.labels(name).set(state["waiting"])
            QUEUE_AGE.labels(name).set(state["oldest_s"])
            STUCK.labels(name).set(state["stuck"])
        for name, age in channels.items():
            seconds = age()
            POLL_AGE.labels(name).set(nan if seconds is None else seconds)
        looked = poll_age()
        MAILBOX_AGE.set(nan if looked is None else looked)
        with suppress(SQLAlchemyError, TimeoutError):
            async with asyncio.timeout(DATABASE_ANSWERS_S):
                claims = await database.run(recent_claims, datetime.now(UTC))
            for outcome, count in claims.items():
                CLAIMS.labels(outcome).set(count)
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return router


def queue_states(session: Session, now: datetime) -> dict[str, dict[str, float]]:
    """Depth, age of the oldest item in seconds, and stuck items of each queue; "crm" are tickets that wait for it."""

    def state(waiting: Any, stuck: Any, since: Any) -> dict[str, float]:
        depth, oldest = session.execute(select(func.count(), func.min(since)).where(waiting)).one()
        age = (now - oldest).total_seconds() if oldest else 0.0
        return {
            "waiting": depth,
            "oldest_s": round(age, 1),
            "stuck": session.scalars(select(func.count()).where(stuck)).one(),
        }

    unsent = LetterOut.state.in_(("waiting", "sending"))
    return {
        "inbox": state(InboxItem.state == "waiting", InboxItem.state == "stuck", InboxItem.received_at),
        "outbox": state(OutboxItem.state == "waiting", OutboxItem.state == "stuck", OutboxItem.created_at),
        "letters": state(unsent, LetterOut.state == "stuck", LetterOut.created_at),
        "crm": state(Ticket.match_at.is_not(None) & (Ticket.state == "open"), false(), Ticket.opened_at),
        "letters_in": state(LetterIn.outcome == "", LetterIn.outcome == "quarantined", LetterIn.received_at),
    }
