"""No address, token or key in the log: of a whole case at its most talkative, and of errors that quote them."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import re
from datetime import UTC, datetime
from email.message import EmailMessage

import httpx
import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from telegram.error import InvalidToken

from actions.services import Services
from bot.gateway import Gateway
from bot.logs import TALKATIVE, secrets_of
from bot.models import InboxItem
from bot.rasa import EngineAway, RasaClient
from handoff.case import Case, Line
from handoff.crm.sql import SqlCrm
from handoff.identity import identify
from handoff.links import bind, make_links
from handoff.log_lines import DiscreetFormatter, follow
from handoff.mail.inbound import take_in
from handoff.mail.outgoing import LetterSender
from handoff.models import CrmAddress, CrmCustomer, CrmOrder, LetterOut
from handoff.ownership import dispute_ticket
from handoff.settings import Settings
from handoff.tickets import open_ticket

from .fake_rasa import TOKEN

NOW = datetime(2026, 11, 20, 12, 20, tzinfo=UTC)
MARIA = "maria.sokolova@mail.example"
BOT_TOKEN = "110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"

SETTINGS = Settings(
    _env_file=None,
    telegram_token=BOT_TOKEN,
    vk_token="vk1.a.secret-of-vk",
    vk_group_id=1,
    secret_key="signing-key-0123456789",
    smtp_url="smtp://support:smtp%2Fpassword@mail.example:587",
    imap_url="imaps://support:imap-password@mail.example/INBOX",
    database_url="postgresql+psycopg://shop:db-password@db/shop",
    rasa_url="http://127.0.0.1:5005",
    rasa_token=TOKEN,
)
SECRETS = (
    BOT_TOKEN, "vk1.a.secret-of-vk", "signing-key-0123456789", "smtp/password", "smtp%2Fpassword", "imap-password",
    "db-password", TOKEN,
)  # fmt: skip


@pytest.fixture(params=["text", "json"])
def written(request, caplog):
    """Everything that is logged meanwhile at the lowest level, as it is written in each form."""
    output, root = io.StringIO(), logging.getLogger()
    handler = logging.StreamHandler(output)
    handler.setFormatter(DiscreetFormatter(secrets_of(SETTINGS), as_json=request.param == "json"))
    root.addHandler(handler)
    for name in (None, *TALKATIVE):  # pytest puts the levels back
        caplog.set_level(logging.DEBUG, name)
    yield output.getvalue
    root.removeHandler(handler)


@pytest.fixture
def crm(database):
    with database.session_scope() as session:
        session.add(CrmCustomer(customer_id="c-1", name="Мария Соколова", language="ru"))
        session.flush()
        session.add(CrmAddress(address=MARIA, customer_id="c-1"))
        session.add(CrmOrder(number="47655", customer_id="c-1", shown_number="47655"))
    return SqlCrm(database)


def letter(sender, to, text):
    made = EmailMessage()
    made["From"], made["To"], made["Message-ID"] = sender, to, f"<{text}@mail.example>"
    made.set_content(text)
    return made.as_bytes()


async def test_a_whole_case_leaves_no_trace_of_anybody_in_the_log(
    database, crm, desk, client, rasa, notices, running, eventually, arrived, caplog, written
):
    """Ours name ids, and so we check ours unmasked; the formatter is for what others write."""
    services = Services(database, crm, desk, {}, now=lambda: NOW)
    gateway = Gateway(database, client, notices, {}, desk, answered=lambda: None)
    item = arrived(f"47655 {MARIA}", key="web:a:1")
    arrived("code 482913", key="web:a:2")
    async with running(gateway.run):
        await eventually(lambda: all_answered(database))
    assert await identify(services.database, crm, "web:a", "47655", "nobody@mail.example", NOW) is None
    requester = await identify(services.database, crm, "web:a", "47655", MARIA, NOW)
    words = Line("customer", item.text, NOW)
    case = Case("k", "web:a", "web", "ru", "Маша", "case/delay", "Задержка", (words,), "anger", "47655", MARIA, "47655")
    with database.session_scope() as session:
        [token] = make_links(session, ["c-1"], NOW)
        number = open_ticket(session, case, requester, desk, NOW).number
        reply_to = re.findall(rb"Reply-To: (\S+)", session.scalars(select(LetterOut.raw)).first())[0].decode()
        take_in(session, letter("olga@jeans.example", reply_to, "answer"), [], desk, NOW)
        take_in(session, letter(MARIA, "support@jeans.example", "lost"), [], desk, NOW)
        take_in(session, b"Content-Type: multipart/mixed; boundary=\xff\r\nFrom: " + MARIA.encode(), [], desk, NOW)
    assert await bind(database, crm, desk, token, "web:b", "web", NOW)
    with database.session_scope() as session:
        dispute_ticket(session, number, desk, NOW)
    sender = LetterSender(database, "smtp://support:smtp%2Fpassword@127.0.0.1:9?starttls=off")
    with pytest.raises(Exception, match=r"127\.0\.0\.1"):
        await sender.send_due(NOW)

    ours = "\n".join(
        record.getMessage() + str(record.exc_text or "")
        for record in caplog.records
        if record.name.startswith(("bot", "actions", "handoff"))
    )
    assert "belongs to customer c-1" in ours
    for kept in (MARIA, "nobody@", token, "482913", "Соколова", reply_to, desk.signing_key.decode(), *SECRETS):
        assert kept not in ours, kept
        assert kept not in written(), kept


def all_answered(database):
    with database.session_scope() as session:
        return set(session.scalars(select(InboxItem.state))) == {"answered"}


@pytest.mark.parametrize(
    "error",
    [
        InvalidToken(f"The token `{BOT_TOKEN}` was rejected by the server."),
        httpx.ConnectError(f"GET https://api.telegram.org/bot{BOT_TOKEN}/getMe"),
        ConnectionError("https://lp.vk.ru/wh1?act=a_check&key=0a1b2c3d4e&ts=1"),
        OSError("postgresql+psycopg://shop:db-password@db/shop"),
        ConnectionError("redis://:redis-password@cache:6379/0 refused"),
        RuntimeError(f"550 5.1.1 <{MARIA}>: no such user"),
        RuntimeError(f"DETAIL:  Key (address)=({MARIA}) already exists."),
        RuntimeError("login support smtp/password failed; imap-password; vk1.a.secret-of-vk"),
    ],
)
def test_errors_of_others_are_written_without_what_they_quote(written, error):
    """In the message and in the traceback."""
    try:
        raise error
    except Exception as caught:
        logging.getLogger("bot.messengers").exception("telegram: %s; asking again", caught)

    log = written()
    assert "asking again" in log
    assert "Traceback" in log
    for secret in (*SECRETS, MARIA, "0a1b2c3d4e", "redis-password"):
        assert secret not in log


def test_our_own_message_ids_stay(written):
    """By them an operator finds a letter in the mail server's log."""
    name = "<" + "a2" * 13 + "@jeans.example>"
    logging.getLogger("handoff.mail.outgoing").warning("letter %s waits", name)

    assert name in written()


def test_json_holds_one_object_a_line_and_no_secret_that_json_writes_otherwise():
    """A quotation mark in a password would look different in JSON; a traceback has many lines."""
    try:
        raise OSError('login of "support" with pass"word failed')
    except OSError as problem:
        broken = (OSError, problem, problem.__traceback__)
    record = logging.LogRecord("bot", logging.ERROR, "", 0, "the mailbox: %s", (f'pass"word, {MARIA}',), broken)

    line = DiscreetFormatter(['pass"word'], as_json=True).format(record)

    assert "\n" not in line
    said = json.loads(line)
    assert (said["level"], said["process"], said["logger"]) == ("ERROR", "service", "bot")
    assert said["message"] == "the mailbox: ***, m…a@mail.example"
    assert said["traceback"].startswith("Traceback")
    assert "word" not in line
    assert datetime.fromisoformat(said["time"]).tzinfo is not None


async def test_a_line_names_the_message_that_its_task_follows(database, written):
    """Also where the database's thread works for several messages at once, or the request's task for an action."""

    async def at_work(key):
        follow(key=key)
        await database.run(lambda session: logging.getLogger("handoff").info("stored for %s", key))
        await database.read(lambda session: logging.getLogger("handoff").info("read for %s", key))
        follow(key=None)
        logging.getLogger("bot").info("%s is over", key)

    await asyncio.gather(*(at_work(f"telegram:7:{n}") for n in range(20)))

    lines = [re.findall(r"telegram:7:\d+|over", line) for line in written().splitlines() if "telegram:7" in line]
    assert len(lines) == 3 * 20
    for first, second in lines:
        assert second in ("over", first)


def test_without_secrets_nothing_is_hidden(tmp_path, monkeypatch):
    """An empty setting is no secret that every line holds; the key made for it is one."""
    monkeypatch.chdir(tmp_path)
    empty = Settings(_env_file=None, data_dir=tmp_path)
    record = logging.LogRecord("bot", logging.INFO, "", 0, "the engine is ready", None, None)

    assert DiscreetFormatter(secrets_of(empty)).format(record).endswith("bot: the engine is ready")
    assert secrets_of(empty) == {(tmp_path / "secret_key").read_text()}


def test_the_databases_errors_hold_no_values(database, crm):
    """SQLAlchemy would print the row that could not be written."""
    with pytest.raises(IntegrityError) as refused, database.session_scope() as session:
        session.add(CrmAddress(address=MARIA, customer_id="nobody"))

    assert MARIA not in str(refused.value)


async def test_an_engine_that_refuses_us_is_told_of_without_its_token(rasa):
    """httpx puts the whole address into its error."""
    wrong = RasaClient(rasa.url, "a-wrong-token")
    with pytest.raises(EngineAway) as refused:
        await wrong.say("web:a", "hello", "web", {})
    await wrong.close()
    assert len(rasa.objections) == 1
    rasa.objections.clear()

    assert "a-wrong-token" not in f"{refused.value!r} {refused.value.__cause__!r}"
