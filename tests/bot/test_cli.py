"""The command line: what operators and outside programs read there, and what it says when something is wrong."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import sqlite3
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from pathlib import Path

import pytest
from sqlalchemy import select
from typer.testing import CliRunner

import bot.cli.classify
import bot.cli.customers
import bot.cli.service
import bot.engine_process
from bot import outbox
from bot.cli import app
from bot.model_store import ModelStore
from bot.models import InboxItem, KnowledgeGap, OutboxItem
from handoff.database import Database
from handoff.models import CrmAddress, CrmCustomer, CrmOrder, LetterIn, LetterOut, Link, Ticket
from handoff.settings import Settings

from ..fake_crm import FakeRetailCrm
from ..messengers.fake_telegram import FakeTelegram
from .fake_engine import make_model

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 11, 20, 12, 20, tzinfo=UTC)

#: Stands for the engine: answers each line in order, and ends with an error if it is shown an address.
CLASSIFIER = """#!{python}
import json, sys
for line in sys.stdin:
    text = json.loads(line)
    if "masha" in text or text.startswith("/"):
        sys.exit("shown " + text)
    found = dict(language="en", route="oos" if text == "?" else "faq", topic=text[:9], confidence=0.5)
    print(json.dumps(found))
"""


@pytest.fixture
def support(tmp_path, monkeypatch):
    """Runs `support ...` in an empty folder with nothing in the environment but these settings."""
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)

    def run(*arguments, stdin=None, **settings):
        own = {"DATA_DIR": str(tmp_path / "var"), "SHOP_FILE": str(ROOT / "shop.yml")}
        return CliRunner().invoke(app, list(arguments), input=stdin, env=own | settings)

    return run


@pytest.fixture
def filled(database, tmp_path):
    """Settings of a database that holds one of everything an operator looks at."""
    with database.session_scope() as session:
        session.add(CrmCustomer(customer_id="c-1", name="Maria", language="en"))
        session.flush()
        session.add(CrmAddress(address="maria@mail.example", customer_id="c-1"))
        ticket = Ticket(
            topic="case/delay",
            topic_title="A late order",
            language="en",
            channel="web",
            sender_id="web:a",
            opening_key="k1",
            display_name="",
            claimed_order="GW-48213",
            agent_names={"ru": "Анна", "en": "Anna"},
            snapshot={},
            opened_at=NOW,
            answer_by=NOW + timedelta(hours=1),
        )
        item = InboxItem(
            key="k1",
            sender_id="web:a",
            channel="web",
            kind="text",
            text="secret words",
            received_at=NOW,
            not_before=NOW,
            state="stuck",
            last_error="Rasa gave no answer",
        )
        session.add_all([ticket, item])
        outbox.put(session, purpose="answer:1", sender_id="web:b", channel="web", text="x", now=NOW)
        session.flush()
        answer = session.query(OutboxItem).one()
        answer.state, answer.last_error = "stuck", "the bot was blocked"
        for asked, fact in enumerate(("care", "price", "price")):
            other = InboxItem(
                key=f"g{asked}", sender_id="web:c", channel="web", kind="text", text="?", received_at=NOW,
                not_before=NOW, state="answered",
            )  # fmt: skip
            session.add(other)
            session.flush()
            session.add(KnowledgeGap(inbox_id=other.id, fact=fact, asked_at=NOW))
        session.add(
            LetterOut(
                purpose="opened:1001:agents",
                ticket_number=ticket.number,
                audience="agents",
                message_id="<1@jeans.example>",
                to_address="agents@jeans.example",
                template="ticket",
                raw=b"",
                state="stuck",
                last_error="550 no such mailbox",
                not_before=NOW,
                created_at=NOW,
            )
        )
        session.add(
            LetterIn(
                dedupe_key="d1",
                message_id="<2@mail.example>",
                received_at=NOW,
                outcome="quarantined",
                reason="no requester yet",
                ticket_number=ticket.number,
                author="agent",
                from_address="agents@jeans.example",
                raw=b"",
                text="Ваши джинсы",
                attachments=2,
            )
        )
    return {"DATABASE_URL": database.url}


@pytest.mark.parametrize("command", ["run", "demo", "tickets", "stuck"])
@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"HTTP_PORT": "eighty"}, "HTTP_PORT"),
        ({"DEMO_PORT": "70000"}, "DEMO_PORT"),
        ({"HANDOFF_MODE": "pigeon"}, "HANDOFF_MODE"),
        ({"DATABASE_URL": "postgresql+psycopg://shop@localhost/shop"}, "SECRET_KEY"),
    ],
)
def test_a_wrong_setting_is_named(support, command, settings, named):
    """One line that says which setting and what is wrong with it; no traceback."""
    result = support(command, **settings)

    assert result.exit_code == 1
    assert named in result.stderr
    assert result.stderr.startswith("support: ")
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("command", ["run", "tickets"])
@pytest.mark.parametrize("url", ["shop.db", "oracle9://x"])
def test_an_address_that_is_no_database_is_named(support, command, url):
    result = support(command, DATABASE_URL=url)

    assert result.exit_code == 1
    assert result.stderr.startswith("support: ")


def test_a_database_that_is_away_is_said_so(support):
    result = support("tickets", DATABASE_URL="postgresql+psycopg://shop:pw@127.0.0.1:1/shop", SECRET_KEY="k")

    assert result.exit_code == 1
    assert result.stderr.startswith("support: the database is away")
    assert "pw" not in result.stderr


def test_the_real_service_does_not_start_among_the_demos_customers(support, tmp_path):
    """Example addresses would be written to, and example orders would identify people."""
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / bot.cli.service.DEMO_MARK).touch()

    result = support("run")

    assert result.exit_code == 1
    assert "DATA_DIR" in result.stderr


def test_a_wrong_shop_file_is_named_with_its_place(support, tmp_path):
    shop = tmp_path / "my shop.yml"
    shop.write_text((ROOT / "shop.yml").read_text().replace("timezone: Europe/Moscow", "timezone: Moscow"))

    result = support("run", SHOP_FILE=str(shop))

    assert result.exit_code == 1
    assert "my shop.yml: timezone" in result.stderr


@pytest.mark.parametrize("name", ["SMTP_URL", "IMAP_URL", "LMTP_LISTEN"])
def test_a_wrong_mail_server_is_named(support, name):
    result = support("run", **{name: "mail.jeans.example"}, RASA_URL="http://127.0.0.1:1", RASA_TOKEN="secret")

    assert result.exit_code == 1
    assert name in result.stderr


def test_a_missing_engine_says_which_command_makes_it(support, tmp_path, monkeypatch):
    monkeypatch.setattr(bot.engine_process, "PYTHON", tmp_path / "nothing")

    result = support("run")

    assert result.exit_code == 1
    assert "make setup" in result.stderr


@pytest.mark.parametrize("missing", ["PYTHON", "MODEL"])
def test_classify_without_a_model_says_which_command_makes_it(support, tmp_path, monkeypatch, missing):
    monkeypatch.setattr(bot.cli.classify, missing, tmp_path / "nothing")

    result = support("classify", stdin='{"text": "hi"}\n')

    assert result.exit_code == 1
    assert "make train" in result.stderr


def test_classify_answers_in_order_and_shows_the_engine_what_the_gateway_would(support, tmp_path, monkeypatch):
    """The same preparation as a real message: addresses masked, no commands."""
    python = tmp_path / "python"
    python.write_text(CLASSIFIER.format(python=sys.executable))
    python.chmod(0o700)
    monkeypatch.setattr(bot.cli.classify, "PYTHON", python)
    monkeypatch.setattr(bot.cli.classify, "MODEL", python)
    texts = ["how long", "я masha.k@mail.example", "/stop", "", "два\nряда"]

    result = support("classify", stdin="".join(json.dumps({"text": text}) + "\n\n" for text in texts))

    assert result.exit_code == 0, result.output
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["text"] for line in found] == texts
    assert [set(line) for line in found] == [{"text", "language", "route", "topic", "confidence"}] * len(texts)
    assert [line["topic"] for line in found] == ["how long", "я m…k@mai", "stop", "?", "два\nряда"]


@pytest.mark.parametrize("line", ["not json", '{"msg": "x"}', '["x"]', '{"text": null}', "7"])
def test_classify_says_which_line_it_cannot_read(support, line):
    result = support("classify", stdin=f'{{"text": "hi"}}\n{line}\n')

    assert result.exit_code == 1
    assert result.stderr.startswith('support: line 2: write {"text": "..."}'), result.stderr


def test_classify_reads_what_a_windows_editor_saved(support, tmp_path, monkeypatch):
    """And half a character, which is valid JSON."""
    python = tmp_path / "python"
    python.write_text(CLASSIFIER.format(python=sys.executable))
    python.chmod(0o700)
    monkeypatch.setattr(bot.cli.classify, "PYTHON", python)
    monkeypatch.setattr(bot.cli.classify, "MODEL", python)

    result = support("classify", stdin='\ufeff{"text": "hi"}\r\n{"text": "\\ud800x"}\r\n')

    assert result.exit_code == 0, result.output
    assert [json.loads(line)["text"] for line in result.stdout.splitlines()] == ["hi", "?x"]


def test_an_import_says_what_changed_and_what_was_refused(support, tmp_path):
    """Run again it says that nothing changed: an operator can repeat it after correcting a row."""
    customers, orders = tmp_path / "customers.csv", tmp_path / "orders.csv"
    customers.write_text("customer_id,email,name,language\nc-1,maria@mail.example,Мария,ru\nc-2,not an address,X,en\n")
    orders.write_text(
        "number,customer_id,status,item,sum,address,promised_on,placed_on\nGW-48213,c-1,,,,,,\n777,c-9,,,,,,\n"
    )
    command = ("crm", "import", "--customers", str(customers), "--orders", str(orders))

    first, second = support(*command), support(*command)

    assert first.stdout.splitlines() == [
        "customers: 1 added, 0 changed, 0 unchanged",
        "orders: 1 added, 0 changed, 0 unchanged",
    ]
    assert [line.split(":")[1].strip() for line in first.stderr.splitlines()] == [
        "customers.csv, line 3",
        "orders.csv, line 3",
    ]
    assert second.stdout.splitlines()[0] == "customers: 0 added, 0 changed, 1 unchanged"
    assert (first.exit_code, second.exit_code) == (1, 1)


def test_a_dry_run_reports_the_same_and_changes_nothing(support, tmp_path, filled, database):
    """An operator looks before he leaps: what a run would add, change, leave and refuse."""
    customers, orders = tmp_path / "customers.csv", tmp_path / "orders.csv"
    customers.write_text(
        "customer_id;email;name\nc-1;new@mail.example;Мария Ковалёва\nc-2;two@mail.example;Пётр\nc-3;broken;X\n",
        encoding="cp1251",
    )
    orders.write_text("number,customer_id\nGW-48213,c-2\n777,c-9\n")
    command = ("crm", "import", "--customers", str(customers), "--orders", str(orders))

    def crm():
        with database.session_scope() as session:
            return [
                [tuple(row) for row in session.execute(select(table.__table__))]
                for table in (CrmCustomer, CrmAddress, CrmOrder)
            ]

    before = crm()
    dry = support(*command, "--dry-run", **filled)
    assert crm() == before

    real = support(*command, **filled)
    assert crm() != before
    assert dry.stdout == real.stdout
    assert dry.stdout.splitlines() == [
        "customers: 1 added, 1 changed, 0 unchanged",
        "orders: 1 added, 0 changed, 0 unchanged",
    ]
    assert dry.stderr == f"{real.stderr}dry run: nothing was changed\n"
    assert (dry.exit_code, real.exit_code) == (1, 1)


def test_an_import_without_refusals_succeeds(support, tmp_path):
    customers, orders = ROOT / "bot" / "demo" / "customers.csv", ROOT / "bot" / "demo" / "orders.csv"

    result = support("crm", "import", "--customers", str(customers), "--orders", str(orders))

    assert (result.exit_code, result.stderr) == (0, "")
    assert (tmp_path / "var" / "support.db").exists()


def test_an_import_of_a_file_that_is_not_there_names_it(support):
    result = support("crm", "import", "--customers", "nothing.csv", "--orders", "nothing.csv")

    assert result.exit_code == 2
    assert "nothing.csv" in result.stderr


def test_tickets_are_one_json_object_a_line(support, filled):
    """contract.md: outside programs read exactly these names."""
    result = support("tickets", "--json", **filled)

    assert [json.loads(line) for line in result.stdout.splitlines()] == [
        {
            "number": 1001,
            "state": "open",
            "topic": "case/delay",
            "order": "GW-48213",
            "requester": None,
            "verified": False,
            "channel": "web",
            "opened_at": "2026-11-20T12:20:00+00:00",
        }
    ]


def test_letters_are_one_json_object_a_line(support, filled):
    """contract.md again; Cyrillic is written as such."""
    result = support("letters", "--json", **filled)

    assert "Ваши джинсы" in result.stdout
    assert [json.loads(line) for line in result.stdout.splitlines()] == [
        {
            "message_id": "<2@mail.example>",
            "received_at": "2026-11-20T12:20:00+00:00",
            "outcome": "quarantined",
            "reason": "no requester yet",
            "ticket": 1001,
            "author": "agent",
            "from": "agents@jeans.example",
            "text": "Ваши джинсы",
            "attachments": 2,
        }
    ]


def test_without_json_a_person_can_read_it(support, filled):
    result = support("tickets", **filled)

    assert "{" not in result.stdout
    assert "1001" in result.stdout
    assert "GW-48213" in result.stdout


def test_everything_that_was_given_up_is_listed_with_its_reason(support, filled):
    """Each of the four is somebody who waits; what he wrote is not shown."""
    result = support("stuck", **filled)

    lines = result.stdout.splitlines()
    assert len(lines) == 4
    for line, reason in zip(
        lines, ["Rasa gave no answer", "the bot was blocked", "550 no such mailbox", "no requester yet"], strict=True
    ):
        assert line.endswith(reason)
    assert "secret words" not in result.stdout


def test_the_queue_names_the_command_for_each_letter(support, filled):
    """Whoever reads it need not look anything up."""
    result = support("letters", "--queue", **filled)

    assert result.stdout.splitlines() == [
        "1  2026-11-20 12:20  agents@jeans.example: no requester yet",
        "    support letters place 1 1001 --as agent",
    ]


def test_a_quarantined_letter_is_dismissed_once(support, filled):
    """It is kept, with what it waited for; a slip says what to do."""
    assert support("letters", "dismiss", "1", **filled).exit_code == 0

    assert support("letters", "--queue", **filled).output == ""
    [letter] = [json.loads(line) for line in support("letters", "--json", **filled).stdout.splitlines()]
    assert letter["outcome"] == "ignored"
    assert letter["reason"].endswith("no requester yet")
    again = support("letters", "dismiss", "1", **filled)
    assert (again.exit_code, "support letters --queue" in again.stderr) == (1, True)


def test_a_letter_that_cannot_be_placed_stays_in_the_queue(support, filled):
    """The ticket has nobody to send it to; the refusal names the command that changes this."""
    result = support("letters", "place", "1", "1001", "--as", "agent", **filled)

    assert result.exit_code == 1
    assert "support assign 1001" in result.stderr
    assert len(support("letters", "--queue", **filled).stdout.splitlines()) == 2


@pytest.mark.parametrize("kind", ["message", "answer", "letter"])
def test_what_is_stuck_goes_again_once(support, filled, kind):
    """As if for the first time; afterwards there is nothing to decide about."""
    assert support("stuck", "retry", kind, "1", **filled).exit_code == 0
    assert not any(line.startswith(f"{kind} 1") for line in support("stuck", **filled).stdout.splitlines())
    again = support("stuck", "dismiss", kind, "1", **filled)
    assert (again.exit_code, "support stuck" in again.stderr) == (1, True)


@pytest.mark.parametrize("kind", ["message", "answer", "letter"])
def test_what_is_dismissed_leaves_the_list(support, filled, kind):
    assert support("stuck", "dismiss", kind, "1", **filled).exit_code == 0

    assert not any(line.startswith(f"{kind} 1") for line in support("stuck", **filled).stdout.splitlines())
    assert len(support("stuck", **filled).stdout.splitlines()) == 3


def test_missing_facts_are_counted_most_asked_first(support, filled):
    """The shop learns what to write into shop.yml next."""
    result = support("gaps", **filled)

    assert [line.split() for line in result.stdout.splitlines()] == [["2", "price"], ["1", "care"]]


def test_an_empty_database_lists_nothing(support):
    for command in ("tickets", "letters", "stuck", "gaps"):
        result = support(command)
        assert (result.exit_code, result.output) == (0, "")


def test_an_unverified_ticket_is_given_to_a_customer(support, filled):
    result = support("assign", "1001", "c-1", **filled)

    assert result.exit_code == 0, result.output
    database = Database(filled["DATABASE_URL"])
    with database.session_scope() as session:
        assert session.get_one(Ticket, 1001).requester == "maria@mail.example"
    database.close()


def test_another_desk_hears_whose_ticket_it_is(support, filled):
    """The command runs beside the service, so it has to know the mode as well."""
    result = support("assign", "1001", "c-1", HANDOFF_MODE="external", AGENTS_ADDRESS="desk@other.example", **filled)

    assert result.exit_code == 0, result.output
    database = Database(filled["DATABASE_URL"])
    with database.session_scope() as session:
        raw = session.scalars(select(LetterOut.raw).where(LetterOut.template == "assigned")).one()
    database.close()
    assert message_from_bytes(raw)["Reply-To"] == "maria@mail.example"


@pytest.fixture
def retail(filled):
    """RetailCRM with Maria's order 48213, and the settings that lead there."""
    with closing(FakeRetailCrm()) as server:
        server.orders[0]["number"] = "48213"
        settings = {"CRM_URL": server.url, "CRM_TOKEN": server.KEY, "CRM_MAPPING": "retailcrm"}
        yield server, filled | settings


def test_a_ticket_is_given_to_a_customer_of_another_crm(support, retail, database):
    """The embedded CRM has no c-1 with this order; RetailCRM's customer 501 has."""
    _, settings = retail
    wrong, right = (support("assign", "1001", who, "--order", "№48213", **settings) for who in ("502", "501"))

    assert (wrong.exit_code, right.exit_code) == (1, 0)
    assert wrong.stderr == "support: order '№48213' is not one of customer '502'\n"
    with database.session_scope() as session:
        ticket = session.get_one(Ticket, 1001)
        assert (ticket.requester, ticket.order_number) == ("Maria@Example.com", "48213")


def test_an_operator_sees_what_the_crm_answers(support, retail):
    """How a mapping is tried out; addresses are masked like everywhere."""
    _, settings = retail
    result = support("crm", "find", "№ 48 213", **settings)

    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        "number: 48213",
        "customer_id: 501",
        "shown_number: 48213",
        "status: delivering",
        "item: Джинсы 32/34, Ремень",
        "sum: 7900.5 RUB",
        "address: Москва, Тверская, д. 1",
        "promised_on: 2026-11-18",
        "placed_on: 2026-11-02",
        "customer 501: Мария Ковалёва, letters in 'ru'",
        "addresses: M…a@Example.com",
        "newest orders: 48213",
    ]


def test_an_operator_sees_why_the_crm_does_not_answer(support, retail):
    server, settings = retail
    server.customers.clear()
    results = [support("crm", "find", number, **settings) for number in ("404404", "48213")]
    results.append(support("crm", "find", "48213", **settings | {"CRM_TOKEN": "wrong"}))

    assert [result.exit_code for result in results] == [1, 1, 1]
    for result, said in zip(results, ["no order '404404'", "no customer '501'", "refused (403)"], strict=True):
        assert result.stderr.startswith("support: ")
        assert said in result.stderr


@pytest.mark.parametrize("command", ["run", "tickets"])
def test_a_crm_that_is_half_set_up_is_named(support, command):
    result = support(command, CRM_URL="https://shop.retailcrm.ru")

    assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)
    assert "CRM_MAPPING" in result.stderr


@pytest.mark.parametrize(("mapping", "said"), [("retailcmr", "CRM_MAPPING"), ("own.yml", "own.yml: customer: Field")])
def test_the_service_does_not_start_with_a_mapping_that_cannot_be_used(support, tmp_path, mapping, said):
    """Not the first customer finds it, but whoever sets it up."""
    (tmp_path / "own.yml").write_text("order: {path: '/o/{number}', facts: {number: n, customer_id: c}}\n")
    engine = {"RASA_URL": "http://127.0.0.1:1", "RASA_TOKEN": "secret"}

    result = support("run", CRM_URL="https://x.example", CRM_TOKEN="k", CRM_MAPPING=mapping, **engine)

    assert result.exit_code == 1
    assert result.stderr.startswith("support: ")
    assert said in result.stderr


@pytest.fixture
def messengers():
    """Settings of both messengers, Telegram's a fake that says what the bot is called."""
    with FakeTelegram() as telegram:
        yield {
            "TELEGRAM_TOKEN": telegram.token,
            "TELEGRAM_API_BASE": telegram.api_base,
            "VK_TOKEN": "vk1.a.secret",
            "VK_GROUP_ID": "77",
        }


TELEGRAM_LINK = r"https://t\.me/getwear_bot\?start=([\w-]{22})"
VK_LINK = r"https://vk\.me/club77\?ref=([\w-]{22})"


def test_links_are_made_for_a_customer(support, filled, messengers, database):
    """Each messenger gets a token of its own, of which only a hash is kept."""
    result = support("link", "c-1", **filled, **messengers)

    found = re.fullmatch(rf"Telegram: {TELEGRAM_LINK}\nVK: {VK_LINK}\n", result.stdout)
    assert found, result.output
    assert found[1] != found[2]
    with database.session_scope() as session:
        kept = {(row.token_hash, row.customer_id) for row in session.scalars(select(Link))}
    assert kept == {(hashlib.sha256(token.encode()).hexdigest(), "c-1") for token in found.groups()}


def test_links_are_made_for_customers_of_another_crm(support, retail, messengers):
    """One by one: a REST API does not list them all."""
    _, settings = retail
    known, unknown, everybody = (support("link", who, **settings, **messengers) for who in ("501", "c-1", "--all"))

    assert known.exit_code == 0, known.output
    assert "the CRM has no customer 'c-1'" in unknown.stderr
    assert "only the embedded CRM can list" in everybody.stderr
    assert unknown.stdout == everybody.stdout == ""


def test_a_messenger_that_is_not_set_up_is_said_so(support, filled, messengers):
    del messengers["TELEGRAM_TOKEN"]

    result = support("link", "c-1", **filled, **messengers)

    assert re.fullmatch(rf"VK: {VK_LINK}\n", result.stdout)
    assert result.stderr == "Telegram is not set up: TELEGRAM_TOKEN\n"


def test_links_for_all_customers_come_as_a_table(support, filled, messengers, database, monkeypatch):
    """For the shop's own letters; who has no address cannot be told that he was bound, and gets none."""
    monkeypatch.setattr(bot.cli.customers, "LINKS_AT_ONCE", 2)
    with database.session_scope() as session:
        session.add_all(CrmCustomer(customer_id=f"c-{n}", name="", language="en") for n in range(2, 6))
        session.flush()
        session.add_all(CrmAddress(address=f"{n}@mail.example", customer_id=f"c-{n}") for n in range(2, 5))

    result = support("link", "--all", **filled, **messengers)

    head, *rows = csv.reader(result.stdout.splitlines())
    assert head == ["customer_id", "telegram", "vk"]
    assert [row[0] for row in rows] == ["c-1", "c-2", "c-3", "c-4"]
    assert all(re.fullmatch(TELEGRAM_LINK, row[1]) and re.fullmatch(VK_LINK, row[2]) for row in rows)
    assert len({address for row in rows for address in row[1:]}) == 8


@pytest.mark.parametrize("arguments", [["nobody"], [], ["c-1", "--all"]])
def test_a_link_for_nobody_in_particular_is_refused(support, filled, messengers, arguments):
    result = support("link", *arguments, **filled, **messengers)

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("support: ")


def test_without_a_messenger_there_are_no_links(support, filled):
    result = support("link", "c-1", **filled)

    assert (result.exit_code, result.stdout) == (1, "")
    assert len(result.stderr.splitlines()) == 2


def test_telegram_that_is_away_is_said_so(support, filled, messengers):
    """In one line, without the bot's token."""
    messengers["TELEGRAM_API_BASE"] = "http://127.0.0.1:1"

    result = support("link", "c-1", **filled, **messengers)

    assert result.exit_code == 1
    assert result.stderr.startswith("support: Telegram does not say what the bot is called")
    assert messengers["TELEGRAM_TOKEN"] not in result.output


@pytest.mark.parametrize(("ticket", "customer"), [("1002", "c-1"), ("1001", "nobody")])
def test_what_cannot_be_assigned_is_said_so(support, filled, ticket, customer):
    result = support("assign", ticket, customer, **filled)

    assert result.exit_code == 1
    assert result.stderr.startswith("support: ")


@pytest.fixture
def erasable(database, tmp_path, filled):
    """Settings of a service that is not running, whose engine has kept a conversation."""
    (tmp_path / "var").mkdir()
    with sqlite3.connect(tmp_path / "var" / "trackers.db") as rasa:
        rasa.execute("CREATE TABLE events (id INTEGER PRIMARY KEY, sender_id, type_name, timestamp, data)")
        rasa.execute("INSERT INTO events (sender_id, data) VALUES ('web:a', 'secret words')")
    rasa.close()
    return filled | {"HTTP_PORT": str(bot.engine_process.free_port())}


def test_erase_asks_first_and_says_what_it_did_and_what_it_cannot_do(support, erasable):
    """It cannot be undone, and mailboxes are not ours: an operator must know both."""
    refused = support("erase", "web:a", stdin="n\n", **erasable)
    assert refused.exit_code == 1
    assert "to be erased: 1 tickets" in refused.stdout
    assert "web:a" in support("stuck", **erasable).stdout

    done = support("erase", "web:a", stdin="y\n", ESCALATION_ADDRESS="boss@jeans.example", **erasable)

    assert done.exit_code == 0
    for said in (
        "erased: 1 tickets",
        "erased: 1 messages in",
        "erased: 1 tracker events",
        "letters already sent to agents@jeans.example, boss@jeans.example, the customer",
        "CRM",
    ):
        assert said in done.stdout
    assert "web:a" not in support("stuck", **erasable).stdout
    assert "nothing is kept" in support("erase", "web:a", "--yes", **erasable).stdout


def test_erase_can_only_look(support, erasable):
    """A dry run asks nothing, because it does nothing."""
    looked = support("erase", "c-1", "--dry-run", "--crm", **erasable)

    assert looked.exit_code == 0
    assert "to be erased: 1 customers in the CRM" in looked.stdout
    assert looked.stdout == support("erase", "c-1", "--dry-run", "--crm", **erasable).stdout


def test_erase_with_crm_needs_a_customer(support, erasable):
    """A conversation has no rows in the CRM; the customer must be named on purpose."""
    result = support("erase", "telegram:7", "--crm", **erasable)

    assert result.exit_code == 1
    assert "customer_id" in result.stderr


def test_erase_leaves_an_engine_alone_that_is_not_ours(support, erasable):
    """Its trackers may be anywhere; the operator is told what to do there."""
    result = support("erase", "web:a", "--yes", RASA_URL="http://127.0.0.1:9", RASA_TOKEN="t", **erasable)

    assert "RASA_URL" in result.stdout
    assert "tracker events" not in result.stdout


def test_a_model_is_deployed_listed_and_withdrawn_without_a_service(support, tmp_path):
    """The next start tries it; whoever changes his mind before goes back to what served."""
    for name in ("first", "second"):
        make_model(tmp_path / f"{name}.tar.gz")
    assert "nothing was put into service yet" in support("model", "list").stdout

    assert support("model", "deploy", str(tmp_path / "first.tar.gz")).exit_code == 0
    [first] = (tmp_path / "var" / "models").glob("*.tar.gz")
    ModelStore(tmp_path / "var", tmp_path / "none").serve(first.name.removesuffix(".tar.gz"))
    deployed = support("model", "deploy", str(tmp_path / "second.tar.gz"))

    assert deployed.exit_code == 0
    assert deployed.stdout.splitlines()[-1] == "no service is running: the next start tries it and puts it into service"
    listed = support("model", "list").stdout.splitlines()
    assert listed[0] == f"{first}  serves next"
    assert listed[1].endswith("  wanted")
    assert listed[2:] == ["no service is running"]
    assert support("model", "rollback").exit_code == 0
    assert "wanted" not in support("model", "list").stdout
    again = support("model", "rollback")
    assert (again.exit_code, again.stderr.split(";")[0]) == (1, "support: no earlier model is kept")


def test_what_is_no_model_is_not_deployed(support, tmp_path):
    (tmp_path / "shop.tar.gz").write_text("no archive")

    refused = support("model", "deploy", str(tmp_path / "shop.tar.gz"))
    missing = support("model", "deploy", str(tmp_path / "nothing.tar.gz"))

    assert (refused.exit_code, missing.exit_code) == (1, 2)
    assert "shop.tar.gz is no model" in refused.stderr
    assert not (tmp_path / "var" / "models" / "wanted").exists()


@pytest.mark.parametrize("command", [["deploy", "x.tar.gz"], ["rollback"], ["list"]])
def test_models_of_other_peoples_engines_are_theirs_to_swap(support, tmp_path, command):
    """The command says what to do there instead."""
    make_model(tmp_path / "x.tar.gz")

    result = support("model", *command, RASA_URL="http://10.0.0.5:5005, http://10.0.0.6:5005/", RASA_TOKEN="t")

    assert result.exit_code == 1
    assert "restart the service" in result.stderr


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("RASA_URL", "10.0.0.5:5005", "whole addresses"),
        ("RASA_URL", "http://a:1,http://a:1/", "twice"),
        ("REDIS_URL", "localhost:6379", "redis://"),
        ("ENGINES", "0", "greater than or equal to 1"),
    ],
)
def test_a_slip_in_the_settings_of_engines_is_named(support, name, value, said):
    result = support("tickets", **{"RASA_TOKEN": "t", name: value})

    assert result.exit_code == 1
    assert name in result.stderr
    assert said in result.stderr
