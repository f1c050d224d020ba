"""How the system says that it is well."""

from __future__ import annotations

import re
import threading
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from fastapi import FastAPI

from bot import health, outbox
from bot.health import health_router
from bot.models import InboxItem, OutboxItem
from handoff.database import Database
from handoff.models import Ticket

NOW = datetime.now(UTC)


@pytest.fixture
def operator(client):
    """Asks the health endpoints of a service with this database."""

    @asynccontextmanager
    async def ask(database, letters_leave=True):
        app = FastAPI()
        app.include_router(
            health_router(
                database,
                client,
                channels={"web": lambda: 0.0},
                letters_leave=letters_leave,
                mailbox_polled_at=lambda: None,
            )
        )
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as browser:
            yield browser

    return ask


@pytest.fixture
def lost_database(tmp_path):
    """A database that answers every question with an error."""
    database = Database(f"sqlite:///{tmp_path / 'empty.db'}")
    yield database
    database.close()


async def test_ready_once_a_message_would_be_answered(database, rasa, operator):
    async with operator(database) as browser:
        answer = await browser.get("/readyz")

    assert (answer.status_code, answer.json()) == (200, {"ready": True})


async def test_not_ready_while_rasa_is_away(database, rasa_away, operator):
    """A balancer, and `make demo`, wait for 200; the service itself stays up."""
    async with operator(database) as browser:
        ready, health = await browser.get("/readyz"), await browser.get("/healthz")

    assert ready.status_code == 503
    assert (health.status_code, health.json()["engine"], health.json()["database"]) == (200, "away", "ready")


async def test_not_ready_while_the_database_is_away(lost_database, rasa, operator):
    async with operator(lost_database) as browser:
        ready, health = await browser.get("/readyz"), await browser.get("/healthz")
        metrics = await browser.get("/metrics")

    assert ready.status_code == 503
    assert (health.status_code, health.json()["engine"], health.json()["database"]) == (200, "ready", "away")
    assert metrics.status_code == 200


async def test_health_tells_depth_age_and_what_is_stuck(database, rasa, operator, arrived):
    """What an operator looks at first: is something waiting, since when, and did something get given up."""
    old, _, stuck = arrived("old", ago=timedelta(minutes=5)), arrived("new"), arrived("given up")
    with database.session_scope() as session:
        session.get_one(InboxItem, stuck.id).state = "stuck"
        outbox.put(session, purpose="answer:9", sender_id="web:a", channel="web", text="x", now=NOW)

    async with operator(database, letters_leave=False) as browser:
        health = (await browser.get("/healthz")).json()

    assert (health["inbox"]["waiting"], health["inbox"]["stuck"]) == (2, 1)
    assert 300 <= health["inbox"]["oldest_s"] < 320
    assert (health["outbox"]["waiting"], health["outbox"]["stuck"]) == (1, 0)
    assert health["letters"] == {"waiting": 0, "oldest_s": 0.0, "stuck": 0}
    assert "web" in health["channels"]
    assert health["mail"] == {"sending": "off: letters wait", "last_poll_age_s": None}
    assert old.state == "waiting"


async def test_tickets_that_wait_for_the_crm_are_a_queue(database, rasa, operator):
    """An outage of the CRM shows: how many customers it concerns, and since when."""
    with database.session_scope() as session:
        for key, state, waits in (("a", "open", True), ("b", "closed", True), ("c", "open", False)):
            session.add(
                Ticket(
                    topic="case/delay", topic_title="x", language="en", channel="web", sender_id="web:a",
                    opening_key=key, display_name="", agent_names={}, snapshot={},
                    opened_at=datetime.now(UTC) - timedelta(minutes=9),
                    answer_by=NOW, state=state, match_at=NOW if waits else None,
                )
            )  # fmt: skip

    async with operator(database) as browser:
        crm = (await browser.get("/healthz")).json()["crm"]

    assert (crm["waiting"], crm["stuck"]) == (1, 0)
    assert 540 <= crm["oldest_s"] < 560


async def test_how_long_ago_the_mailbox_was_looked_through(database, rasa, client):
    """Agents' answers come from there; a mailbox that is away otherwise shows in the log alone. NaN before a look."""
    looks = [None]
    app = FastAPI()
    router = health_router(database, client, channels={}, letters_leave=True, mailbox_polled_at=lambda: looks[-1])
    app.include_router(router)

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as browser:
        before = (await browser.get("/metrics")).text
        looks.append(datetime.now(UTC) - timedelta(minutes=7))
        after = (await browser.get("/metrics")).text

    [unknown], [age] = (re.findall(r"^support_mailbox_poll_age_seconds (\S+)$", text, re.M) for text in (before, after))
    assert unknown == "NaN"
    assert 420 <= float(age) < 440


async def test_metrics_are_text_that_prometheus_reads(database, rasa_away, operator, arrived):
    """Depth, age and stuck items of every queue, also while Rasa is away."""
    arrived("old", ago=timedelta(minutes=5))
    with database.session_scope() as session:
        outbox.put(session, purpose="answer:9", sender_id="web:a", channel="web", text="x", now=NOW)
        session.query(OutboxItem).one().state = "stuck"

    async with operator(database) as browser:
        answer = await browser.get("/metrics")

    assert answer.headers["content-type"].startswith("text/plain")
    figures = dict(re.findall(r'^(support_\w+\{queue="\w+"\}) (\S+)$', answer.text, flags=re.MULTILINE))
    assert figures['support_queue_depth{queue="inbox"}'] == "1.0"
    assert 300 <= float(figures['support_queue_oldest_seconds{queue="inbox"}']) < 320
    assert figures['support_stuck{queue="outbox"}'] == "1.0"
    assert figures['support_stuck{queue="letters"}'] == "0.0"


async def test_a_database_that_hangs_is_away(operator, database, monkeypatch):
    """A probe that gets no answer cannot tell a frozen database from a dead service."""
    let_go = threading.Event()
    monkeypatch.setattr(health, "DATABASE_ANSWERS_S", 0.1)
    monkeypatch.setattr(health, "queue_states", lambda session, now: let_go.wait(10))
    async with operator(database) as browser:
        try:
            state, ready = await browser.get("/healthz"), await browser.get("/readyz")
        finally:
            let_go.set()

    assert (state.status_code, state.json()["database"], ready.status_code) == (200, "away", 503)
