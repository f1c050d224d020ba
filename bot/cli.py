"""The command line: `support run`, `support demo`, `support classify`, and what operators look at."""

from __future__ import annotations

import asyncio
import csv
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import httpx
import typer
import uvicorn
from pydantic import ValidationError
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from actions.topics import TopicFileInvalid
from bot.app import create_app
from bot.channels.links import MessengerAway, link_makers
from bot.engine.serve import QUIET
from bot.engine_process import MODEL, PYTHON, ROOT, EngineNotInstalled
from bot.erase import StillAnswering, erase_subject
from bot.inbox import plain_words
from bot.logs import set_up_logs
from bot.model_report import follow, lines
from bot.model_store import ModelStore, Wanted
from bot.models import InboxItem, KnowledgeGap
from bot.notices import ConversationNotices, NoticeFileInvalid, NoticeTexts
from bot.stuck import Kind, stuck_lines
from bot.stuck import dismiss as dismiss_stuck
from bot.stuck import retry as retry_stuck
from handoff.crm.connect import connect
from handoff.crm.csv_import import import_csv
from handoff.crm.port import CrmPort
from handoff.database import Database, TablesUnknown
from handoff.desk import Desk
from handoff.erase import is_conversation
from handoff.errors import HandoffError
from handoff.identifiers import ADDRESS, mask_address, normalise_order_number
from handoff.links import make_links
from handoff.mail.modes import mode_named
from handoff.mail.queue import dismiss_letter, place_letter, quarantined
from handoff.matching import assign as assign_ticket
from handoff.models import CrmAddress
from handoff.reports import letters_as_json, tickets_as_json
from handoff.settings import Settings
from handoff.shop import ShopFileInvalid, load_shop

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
crm = typer.Typer(no_args_is_help=True, help="Customers and orders of the embedded CRM.")
app.add_typer(crm, name="crm")
letters = typer.Typer()
app.add_typer(letters, name="letters")
model = typer.Typer(no_args_is_help=True, help="The language model: swapped while customers are answered.")
app.add_typer(model, name="model")
stuck = typer.Typer()
app.add_typer(stuck, name="stuck")

#: In a folder where the demo ran; the real service refuses to start there.
DEMO_MARK = "demo"

#: How long the demo's page may take to answer before the user is told where to look.
DEMO_PATIENCE_S = 120


#: Channels that a link can lead to, with the names that people know them by.
MESSENGERS = {"telegram": "Telegram", "vk": "VK"}

#: Customers whose links are made in one transaction.
LINKS_AT_ONCE = 500

#: Messages of this topic are kept for the shop to read.
FEEDBACK_TOPIC = "smalltalk/feedback"


class Refused(typer.Exit):
    """Ends the command with a sentence that says what to do."""

    def __init__(self, message: str) -> None:
        typer.echo(f"support: {message}", err=True)
        super().__init__(1)


@app.command()
def run() -> None:
    """Run the service with the settings of the environment and `.env`."""
    settings = _settings()
    if (settings.data_dir / DEMO_MARK).exists():
        raise Refused(
            f"{settings.data_dir} holds the demo's example customers; set another DATA_DIR or delete the folder"
        )
    _serve(settings, demo=False)


@app.command()
def demo() -> None:
    """Run everything with example data on one page: chat, agents' mailbox, customers' mailboxes."""
    try:
        own = Settings()
    except ValidationError as error:
        raise Refused(_explained(error)) from None
    # No account anywhere: of the settings only the folder, the shop and the port count.
    settings = own.model_copy(
        update={
            "http_host": "127.0.0.1",
            "http_port": own.demo_port,
            "database_url": "",
            "public_url": "",
            "smtp_url": "",
            "imap_url": "",
            "lmtp_listen": "",
            "auth_results_id": "",
            "rasa_url": "",
            "engines": 1,
            "redis_url": "",
            "telegram_token": "",
            "vk_token": "",
            "crm_url": "",
            "support_address": "support@jeans.example",
            "agents_address": "agents@jeans.example",
            "handoff_mode": "desk",
        }
    )
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    (settings.data_dir / DEMO_MARK).touch()
    threading.Thread(target=_say_when_ready, args=(settings.base_url,), daemon=True).start()
    _serve(settings, demo=True)


@app.command()
def classify() -> None:
    """Read JSON lines {"text": ...} and write language, route, topic and confidence of each, in the same order."""
    messages = [json.loads(line) for line in sys.stdin if line.strip()]
    if not PYTHON.exists() or not MODEL.exists():
        raise Refused("the engine or its model is missing: run `make train`")
    # What the gateway would do to a text before Rasa sees it; no address is kept here.
    words = [plain_words(ADDRESS.sub(lambda m: f"{mask_address(m.group())}#0", str(m["text"]))) for m in messages]
    child = subprocess.run(  # noqa: S603 - our own engine
        [str(PYTHON), "-m", "bot.engine.classify", str(MODEL)],
        input="\n".join(json.dumps(text) for text in words),
        env=os.environ | QUIET,
        text=True,
        capture_output=True,
        cwd=ROOT,
        check=False,
    )
    if child.returncode:
        raise Refused(f"the engine could not read the model:\n{child.stderr[-2000:]}")
    for message, found in zip(messages, child.stdout.splitlines(), strict=True):
        typer.echo(json.dumps({"text": message["text"], **json.loads(found)}, ensure_ascii=False))


@crm.command("import")
def crm_import(
    customers: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="customer_id,email,name,language")],
    orders: Annotated[
        Path,
        typer.Option(
            exists=True, dir_okay=False, help="number,customer_id,status,item,sum,address,promised_on,placed_on"
        ),
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would happen and change nothing")] = False,
) -> None:
    """Add and change customers and orders; prints what changed and what was refused."""
    database = _database()
    with database.session_scope() as session:
        report = import_csv(session, customers, orders)
        if dry_run:
            session.rollback()
    for name, counts in (("customers", report.customers), ("orders", report.orders)):
        typer.echo(f"{name}: {counts.added} added, {counts.changed} changed, {counts.unchanged} unchanged")
    for refusal in report.refused:
        typer.echo(f"refused: {refusal.file}, line {refusal.line}: {refusal.reason}", err=True)
    if dry_run:
        typer.echo("dry run: nothing was changed", err=True)
    if report.refused:
        raise typer.Exit(1)


@crm.command("find")
def crm_find(number: Annotated[str, typer.Argument(help="an order number, as a customer types it")]) -> None:
    """Show what the CRM answers about an order and its customer: to try out CRM_URL and a mapping."""
    database = _database()
    try:
        source = _crm(database)
        order = asyncio.run(source.order(normalise_order_number(number)))
        customer = asyncio.run(source.customer(order.customer_id if order else ""))
        orders = asyncio.run(source.orders_of(customer.customer_id)) if customer else []
    except HandoffError as error:
        raise Refused(str(error)) from None
    if order is None:
        raise Refused(f"the CRM has no order {number!r}")
    for name, value in asdict(order).items():
        typer.echo(f"{name}: {value or 'nothing'}")
    if customer is None:
        raise Refused(f"the CRM has no customer {order.customer_id!r}, so nobody can be identified by this order")
    typer.echo(f"customer {customer.customer_id}: {customer.name or 'no name'}, letters in {customer.language!r}")
    typer.echo(
        f"addresses: {', '.join(map(mask_address, sorted(customer.addresses))) or 'none that can be written to'}"
    )
    typer.echo(f"newest orders: {', '.join(one.shown_number for one in orders) or 'none'}")


@app.command()
def tickets(as_json: Annotated[bool, typer.Option("--json", help="one JSON object a line")] = False) -> None:
    """List the tickets."""
    with _database().session_scope() as session:
        _print(tickets_as_json(session), as_json)


@letters.callback(invoke_without_command=True)
def list_letters(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object a line")] = False,
    queue: Annotated[
        bool, typer.Option("--queue", help="only what waits for a person, and what to do about it")
    ] = False,
) -> None:
    """List the letters taken in; file a quarantined one or tick it off."""
    if context.invoked_subcommand is not None:
        return
    with _database().session_scope() as session:
        if not queue:
            _print(letters_as_json(session), as_json)
            return
        for letter in quarantined(session):
            typer.echo(f"{letter.id}  {letter.received_at:%F %R}  {letter.from_address}: {letter.reason}")
            where = letter.ticket_number or "TICKET"
            side = letter.author if letter.author in ("customer", "agent") else "customer"
            typer.echo(f"    support letters place {letter.id} {where} --as {side}")


@letters.command()
def place(
    letter: Annotated[int, typer.Argument(help="number of a quarantined letter")],
    ticket: Annotated[int, typer.Argument(help="number of the ticket it belongs to")],
    author: Annotated[Literal["customer", "agent"], typer.Option("--as", help="who wrote it")],
) -> None:
    """File a quarantined letter as if it had come right: the other side of the ticket gets it."""
    _decide(lambda session, now: place_letter(session, letter, ticket, author, _desk(), now))
    typer.echo(f"letter {letter} is filed in ticket {ticket}")


@letters.command("dismiss")
def dismiss_quarantined(letter: Annotated[int, typer.Argument(help="number of a quarantined letter")]) -> None:
    """Tick a quarantined letter off; it is kept."""
    _decide(lambda session, now: dismiss_letter(session, letter))
    typer.echo(f"letter {letter} is dismissed")


@app.command()
def assign(
    ticket: Annotated[int, typer.Argument(help="number of an unverified ticket")],
    customer: Annotated[str, typer.Argument(help="customer_id in the CRM")],
    order: Annotated[str | None, typer.Option(help="the order it is about")] = None,
) -> None:
    """Say whose an unverified ticket is: the customer gets the confirmation, answers that waited go out."""
    database = _database()
    try:
        asyncio.run(assign_ticket(database, _crm(database), ticket, customer, order, _desk(), datetime.now(UTC)))
    except (HandoffError, ShopFileInvalid) as error:
        raise Refused(str(error)) from None
    typer.echo(f"ticket {ticket} belongs to {customer}")


@app.command()
def link(
    customer: Annotated[str, typer.Argument(help="customer_id in the CRM")] = "",
    everybody: Annotated[bool, typer.Option("--all", help="all customers, as CSV: customer_id,telegram,vk")] = False,
) -> None:
    """Make personal links: the first tap within 30 days binds that messenger account to the customer."""
    if bool(customer) == everybody:
        raise Refused("name one customer, or write --all")
    database = _database()
    known = _customers(database) if everybody else []
    if customer and not _has_address(database, customer):
        raise Refused(f"the CRM has no customer {customer!r} with an address")
    try:
        makers = asyncio.run(link_makers(_settings()))
    except MessengerAway as error:
        raise Refused(str(error)) from None
    for channel, name in MESSENGERS.items():
        if channel not in makers:
            typer.echo(f"{name} is not set up: {channel.upper()}_TOKEN", err=True)
    if not makers:
        raise typer.Exit(1)
    if customer:
        [(_, *links)] = _links(database, makers, [customer])
        typer.echo("\n".join(f"{name}: {made}" for name, made in zip(MESSENGERS.values(), links, strict=True) if made))
        return
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(["customer_id", *MESSENGERS])
    # In small transactions: the service writes into the same database.
    for first in range(0, len(known), LINKS_AT_ONCE):
        table.writerows(_links(database, makers, known[first : first + LINKS_AT_ONCE]))


@app.command()
def erase(
    whom: Annotated[str, typer.Argument(help="customer_id in the CRM, or one conversation: telegram:12345")],
    with_crm: Annotated[bool, typer.Option("--crm", help="the customer's rows in the embedded CRM as well")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what would be erased")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
) -> None:
    """Erase what is kept of a customer or a conversation, and say what lies outside our reach."""
    if with_crm and is_conversation(whom):
        raise Refused("--crm goes with a customer_id: the CRM knows no conversations")
    settings, database = _settings(), _database()
    look = partial(erase_subject, database, whom, settings, crm=with_crm)
    found = look(dry_run=True)
    typer.echo("\n".join(found.lines(done=False)))
    if dry_run or not found.anything():
        return
    if not yes:
        typer.confirm("Erase all this? It cannot be undone", abort=True)
    try:
        typer.echo("\n".join(look(dry_run=False).lines(done=True)))
    except StillAnswering:
        raise Refused(
            "a message of this conversation is still being answered; try again, or stop the service"
        ) from None


@stuck.callback(invoke_without_command=True)
def list_stuck(context: typer.Context) -> None:
    """List what was given up and waits for a person: messages, answers, letters; send it again or tick it off."""
    if context.invoked_subcommand is None:
        with _database().session_scope() as session:
            for line in stuck_lines(session):
                typer.echo(line)


@stuck.command()
def retry(kind: Kind, number: int) -> None:
    """Send it again, as if for the first time: `retry letter 31`."""
    _decide(lambda session, now: retry_stuck(session, kind, number, now))
    typer.echo(f"{kind} {number} waits")


@stuck.command("dismiss")
def dismiss_given_up(kind: Kind, number: int) -> None:
    """Tick it off; it is kept: `dismiss answer 7`."""
    _decide(lambda session, now: dismiss_stuck(session, kind, number))
    typer.echo(f"{kind} {number} is dismissed")


@model.command()
def deploy(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="what `make train` made")] = MODEL,
) -> None:
    """Try a model and put it into service; without a running service, the next start does."""
    _swap(lambda store: Wanted(store.keep(file, datetime.now(UTC))))


@model.command()
def rollback() -> None:
    """Go back to the model that served before."""
    _swap(lambda store: Wanted(store.before(), proved=True))


@model.command("list")
def list_models() -> None:
    """List the models that are kept, and what the running services are doing."""
    store = _models()
    typer.echo("\n".join(lines(store)))


@app.command()
def gaps() -> None:
    """Count the questions whose fact shop.yml does not set."""
    asked = select(KnowledgeGap.fact, func.count()).group_by(KnowledgeGap.fact).order_by(func.count().desc())
    with _database().session_scope() as session:
        for fact, times in session.execute(asked):
            typer.echo(f"{times:5} {fact}")


@app.command()
def feedback() -> None:
    """List the advice and wishes of customers, the newest last."""
    said = select(InboxItem).where(InboxItem.topic == FEEDBACK_TOPIC).order_by(InboxItem.id)
    with _database().session_scope() as session:
        for message in session.scalars(said):
            typer.echo(f"{message.received_at:%F %R}  {message.text}")


def _models() -> ModelStore:
    settings = _settings()
    if settings.rasa_url:
        raise Refused(
            "RASA_URL names engines that are not ours: start one with the new model beside each, write its address into"
            " RASA_URL in the old one's place, restart the service, then end the old ones"
        )
    return ModelStore(settings.data_dir, MODEL)


def _swap(choose: Callable[[ModelStore], Wanted]) -> None:
    store = _models()
    try:
        with store.deploying():
            wanted = choose(store)
            store.want(wanted)
            typer.echo(f"{store.path(wanted.name)} is wanted")
            done = follow(store, wanted, typer.echo)
    except HandoffError as error:
        raise Refused(str(error)) from None
    if not done:
        raise typer.Exit(1)


def _customers(database: Database) -> Sequence[str]:
    """All customers that can be written to."""
    if _settings().crm_url:
        raise Refused("only the embedded CRM can list its customers; make the links one by one: support link CUSTOMER")
    with database.session_scope() as session:
        return session.scalars(select(CrmAddress.customer_id).distinct().order_by(CrmAddress.customer_id)).all()


def _has_address(database: Database, customer_id: str) -> bool:
    try:
        customer = asyncio.run(_crm(database).customer(customer_id))
    except HandoffError as error:
        raise Refused(str(error)) from None
    return customer is not None and bool(customer.addresses)


def _decide(work: Callable[[Session, datetime], None]) -> None:
    """What a person decides, in one transaction."""
    database = _database()
    try:
        with database.session_scope() as session:
            work(session, datetime.now(UTC))
    except (HandoffError, ShopFileInvalid) as error:
        raise Refused(str(error)) from None


def _links(
    database: Database, makers: dict[str, Callable[[str], str]], customers: Sequence[str]
) -> list[tuple[str, ...]]:
    """Each customer with a fresh link for each of `MESSENGERS`, "" for one that is not set up."""
    now = datetime.now(UTC)
    with database.session_scope() as session:
        tokens = {channel: make_links(session, customers, now) for channel in makers}
    return [
        (customer, *(makers[channel](tokens[channel][row]) if channel in makers else "" for channel in MESSENGERS))
        for row, customer in enumerate(customers)
    ]


def _serve(settings: Settings, *, demo: bool) -> None:
    set_up_logs(settings)
    try:
        service = create_app(settings, demo=demo)
    except (ShopFileInvalid, NoticeFileInvalid, TopicFileInvalid, EngineNotInstalled, HandoffError) as error:
        raise Refused(str(error)) from None
    uvicorn.run(
        service, host=settings.http_host, port=settings.http_port, log_level="warning", access_log=False,
        log_config=None,
        timeout_graceful_shutdown=2,
    )  # fmt: skip
    if service.state.problem is not None:
        raise Refused(str(service.state.problem))


def _say_when_ready(address: str) -> None:
    """Tell the user where the demo is, once a message would be answered."""
    started = time.monotonic()
    typer.echo("starting: the language model takes some seconds ...")
    told = False
    while True:
        try:
            if httpx.get(f"{address}/readyz", timeout=3).status_code == 200:
                typer.echo(
                    f"\nThe demo is ready after {time.monotonic() - started:.0f} s: {address}\nCtrl+C ends it.\n"
                )
                return
        except httpx.HTTPError:
            pass
        if not told and time.monotonic() - started > DEMO_PATIENCE_S:
            typer.echo("this takes unusually long; the engine's log is engine.log in DATA_DIR", err=True)
            told = True
        time.sleep(0.3)


def _settings() -> Settings:
    try:
        return Settings()
    except ValidationError as error:
        raise Refused(_explained(error)) from None


def _explained(error: ValidationError) -> str:
    return "; ".join(f"{'_'.join(map(str, e['loc'])).upper() or 'settings'}: {e['msg']}" for e in error.errors())


def _database() -> Database:
    database = Database(_settings().database)
    try:
        database.migrate()
    except SQLAlchemyError as error:
        raise Refused(f"the database is away: {error}") from None
    except TablesUnknown as error:
        raise Refused(str(error)) from None
    return database


def _crm(database: Database) -> CrmPort:
    """The CRM that is set; what it logs for the service, a command prints as its error."""
    logging.getLogger("handoff.crm").addHandler(logging.NullHandler())
    return connect(_settings(), database)


def _desk() -> Desk:
    settings = _settings()
    shop = load_shop(settings.shop_file)
    return Desk(
        shop=shop,
        support_address=settings.support_address,
        agents_address=settings.agents_address,
        base_url=settings.base_url,
        data_dir=settings.data_dir,
        signing_key=settings.signing_key(),
        auth_results_id=settings.auth_results_id,
        notices=ConversationNotices(NoticeTexts(ROOT / "data" / "notices.yml"), shop),
        mode=mode_named(settings.handoff_mode),
    )


def _print(rows: Iterable[dict[str, Any]], as_json: bool) -> None:
    for row in rows:
        if as_json:
            typer.echo(json.dumps(row, ensure_ascii=False))
        else:
            typer.echo("  ".join(str(value) for value in row.values() if value not in (None, "")))
