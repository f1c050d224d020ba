"""Puts the parts together: one FastAPI app that holds the customers' side, the actions and the desk."""

from __future__ import annotations

import asyncio
import logging
import secrets
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from urllib.parse import urlsplit

from fastapi import FastAPI
from sqlalchemy.exc import SQLAlchemyError

from actions.cases import all_actions
from actions.server import actions_router
from actions.services import Services
from actions.topics import read_titles
from bot.channels.telegram_profile import read_profile
from bot.channels.web import web_router
from bot.demo.examples import CUSTOMERS_FILE, ORDERS_FILE, load_examples
from bot.demo.mail_server import DemoMailServer
from bot.demo.mailboxes import Mailboxes
from bot.demo.pages import demo_router
from bot.desk import desk_of, notices_of
from bot.engine_process import MODEL, ROOT
from bot.engines import Engines
from bot.gateway import Gateway
from bot.health import health_router
from bot.lease import Presence, alone
from bot.messengers import Messengers
from bot.model_check import ModelCheck
from bot.model_store import ModelStore
from bot.old_messages import message_rules, tracker_rules
from bot.outbox import Sender
from bot.own_engines import OwnEngines
from bot.rasa import RasaClient
from bot.signals import Signals
from bot.trackers import delete_conversations, for_rasa, place_of_trackers
from handoff.crm.connect import connect
from handoff.crm.csv_import import import_csv
from handoff.database import Database
from handoff.desk import Desk
from handoff.errors import HandoffError
from handoff.hours import check_holidays
from handoff.mail.imap import ImapIntake
from handoff.mail.inbound import take_in
from handoff.mail.lmtp import LmtpIntake
from handoff.mail.outgoing import LetterSender
from handoff.matching import Matching
from handoff.pages import mark_pages, not_me_pages, unlink_pages
from handoff.promises import PromiseKeeper
from handoff.retention import Retention, rules
from handoff.settings import Settings
from handoff.shop import load_shop

log = logging.getLogger(__name__)

DATA = ROOT / "data"

#: A part that broke is started again after this long.
RESTART_AFTER_S = 2.0

#: A database that is away is asked again after this long.
DATABASE_RETRY_S = 2.0

Loop = tuple[str, Callable[[], Awaitable[None]]]


@dataclass(frozen=True)
class Demo:
    """What only the demo has."""

    mail_server: DemoMailServer
    mailboxes: Mailboxes


def create_app(settings: Settings, *, demo: bool = False) -> FastAPI:
    """The whole service.

    Args:
        settings: from the environment; the demo brings its own mail server.
        demo: add the page, example customers and the mail server on loopback.

    Raises:
        HandoffError: a setting, a file or the engine is missing or cannot be used; with what to do.
    """
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    database = Database(settings.database)
    shop = load_shop(settings.shop_file)
    check_holidays(shop)
    notices = notices_of(shop)
    desk = desk_of(settings, shop, notices)

    presence, signals = Presence(database), Signals(database)
    extras = _demo(settings, database, desk) if demo else None
    smtp_url = f"smtp://127.0.0.1:{extras.mail_server.port}?starttls=off" if extras else settings.smtp_url
    letters = LetterSender(database, smtp_url)

    # An engine of somebody else's making learns one secret, for both directions; our child gets fresh ones.
    actions_token = settings.rasa_token if settings.rasa_url else secrets.token_urlsafe(24)
    own_engines, rasa = _engines(settings, actions_token)
    profile = read_profile(DATA / "profile.yml", shop)
    received, answered, letters_waiting = map(signals.giver, ("inbox", "outbox", "letters"))
    messengers = Messengers(settings, database, notices.texts, profile, presence=presence, received=received, demo=demo)
    sender = Sender(database, messengers.channels, messengers.may_send)
    gateway = Gateway(
        database, rasa, notices, messengers.channels, desk, answered=answered, may_send=messengers.may_send
    )
    for name, part in (("inbox", gateway), ("outbox", sender), ("letters", letters)):
        signals.on(name, part.wake)
    crm = connect(settings, database)
    services = Services(database, crm, desk, read_titles(DATA), letters_waiting=letters_waiting)

    loops: list[Loop] = [("gateway", gateway.run), ("outbox", sender.run), ("signals", signals.run)]
    loops += messengers.loops()
    periods = [*rules(settings), *message_rules(settings)]
    kept = Retention(database, settings.data_dir, periods, tracker_rules(settings))
    mailbox = ImapIntake(database, settings.imap_url, desk, letters_waiting) if settings.imap_url else None
    polled = presence.lease("mailbox", lambda: mailbox.last_poll_at) if mailbox else None
    # What one service does for all of them.
    single: list[Loop] = [("letters", letters.run), ("retention", kept.run)]
    single.append(("matching", Matching(database, crm, desk, letters_waiting).run))
    if mailbox is not None:
        single.append(("mailbox", mailbox.run))
    if settings.lmtp_listen:  # a place on this machine; another machine has one, too
        lmtp = LmtpIntake(database, settings.lmtp_listen, desk, letters_waiting)
        single.append((f"lmtp:{socket.gethostname()}"[:64], lmtp.run))
    if settings.handoff_mode == "desk":  # elsewhere the answers do not pass through us, and nothing looks answered
        single.append(("promises", PromiseKeeper(database, desk, letters_waiting).run))
    loops += [(name, partial(alone, presence.lease(name), loop)) for name, loop in single]
    engine_loops: list[Loop] = [("engines", rasa.run)]
    if own_engines is not None:
        engine_loops.append(("own engines", own_engines.run))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        running = asyncio.create_task(_run(database, presence, loops, engine_loops, demo=demo))
        running.add_done_callback(partial(_ended, app))
        yield
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await messengers.close()
        await rasa.close()
        if extras is not None:
            await asyncio.to_thread(extras.mail_server.stop)
        database.close()

    app = FastAPI(title=f"{shop.name} support", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.rasa, app.state.problem = rasa, None
    app.include_router(
        health_router(
            database,
            rasa,
            channels=messengers.ages(),
            letters_leave=bool(smtp_url),
            mailbox_polled_at=lambda: polled.polled_at if polled else None,
        )
    )
    for router in messengers.routers():
        app.include_router(router)
    app.include_router(actions_router(all_actions(services), actions_token))
    app.include_router(not_me_pages(database, desk))
    app.include_router(unlink_pages(database, desk))
    app.include_router(mark_pages(database, desk, letters_waiting))
    if extras is not None:
        app.include_router(web_router(database, settings.data_dir, notices.texts, received=received))
        app.include_router(demo_router(extras.mailboxes, extras.mail_server, settings, shop, load_examples()))
    return app


def _engines(settings: Settings, actions_token: str) -> tuple[OwnEngines | None, Engines]:
    """Rasa as it is set up, or children of ours."""
    if settings.rasa_url:
        return None, Engines({_name(url): RasaClient(url, settings.rasa_token) for url in settings.rasa_url.split(",")})
    engines = Engines()
    trackers = place_of_trackers(settings) or settings.data_dir / "trackers.db"
    own = OwnEngines(
        engines,
        ModelStore(settings.data_dir, MODEL),
        ModelCheck(DATA / "sure.yml", lambda sender_id: delete_conversations(trackers, [sender_id])),
        count=settings.engines,
        environment={
            "ACTIONS_URL": f"{settings.own_url}/actions/webhook",
            "ACTIONS_TOKEN": actions_token,
            "SHOP_FILE": str(settings.shop_file.resolve()),
            "TRACKER_DB": for_rasa(trackers),
            "REDIS_URL": settings.redis_url,
            "LOG_FORMAT": settings.log_format,
        },
        log_file=settings.data_dir / "engine.log",
    )
    return own, engines


def _name(url: str) -> str:
    """An engine's name in the log: its address without a password."""
    parts = urlsplit(url)
    return parts.netloc.rpartition("@")[2] + parts.path


def _demo(settings: Settings, database: Database, desk: Desk) -> Demo:
    mailboxes = Mailboxes(settings.data_dir / "demo-mail")

    def deliver(raw: bytes, recipients: list[str]) -> None:
        with database.session_scope() as session:
            take_in(session, raw, recipients, desk, datetime.now(UTC))

    server = DemoMailServer(mailboxes, settings.support_address, deliver)
    server.start()
    return Demo(server, mailboxes)


async def _run(
    database: Database, presence: Presence, loops: list[Loop], engine_loops: list[Loop], *, demo: bool
) -> None:
    """Wait for the database, then keep every loop running; all of them end at the same time."""

    async def with_database() -> None:
        await _prepared(database, demo=demo)
        async with presence.kept():
            await _all_running(loops)

    # The engines need longest to start and no database of ours: they start at once.
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_all_running(engine_loops))
        tasks.create_task(with_database())


def _ended(app: FastAPI, running: asyncio.Task[None]) -> None:
    """End the process if it cannot go on: one that only serves pages would look well; `problem` says why."""
    if running.cancelled() or (problem := running.exception()) is None:
        return
    while isinstance(problem, BaseExceptionGroup):
        problem = problem.exceptions[0]
    log.critical("the service ends: %s", problem, exc_info=None if isinstance(problem, HandoffError) else problem)
    app.state.problem = problem
    signal.raise_signal(signal.SIGINT)


async def _all_running(loops: list[Loop]) -> None:
    async with asyncio.TaskGroup() as tasks:
        for name, loop in loops:
            tasks.create_task(_kept_running(name, loop))


async def _prepared(database: Database, *, demo: bool) -> None:
    """The tables in their newest shape, with the example customers in the demo; waits while the database is away.

    Raises:
        TablesUnknown: another version made them.
    """
    while True:
        try:
            await asyncio.to_thread(database.migrate)
            if demo:
                await database.run(import_csv, CUSTOMERS_FILE, ORDERS_FILE)
            return
        except SQLAlchemyError as problem:
            log.warning("the database is away, trying again in %.0f s: %s", DATABASE_RETRY_S, problem)
            await asyncio.sleep(DATABASE_RETRY_S)


async def _kept_running(name: str, loop: Callable[[], Awaitable[None]]) -> None:
    """Start a loop again when it breaks: a database that went away must not end the service."""
    while True:
        try:
            await loop()
            return
        except Exception:  # logged, and the loop goes on from what the database says
            log.exception("%s broke, starting it again in %.0f s", name, RESTART_AFTER_S)
            await asyncio.sleep(RESTART_AFTER_S)
