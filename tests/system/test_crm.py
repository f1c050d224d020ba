"""The real service with RetailCRM behind it: the CRM goes away, the service is killed, the case ends as it should."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from actions.form import CONFIRMED, TOPIC
from bot.engine_process import free_port
from handoff.database import Database
from handoff.identity import keep_address

from ..actions.conversations import as_sent, user
from ..bot.fake_rasa import TOKEN, FakeRasa
from ..fake_crm import FakeRetailCrm
from .running import Running, lasting_port, wait_for

pytestmark = pytest.mark.crash

SENDER = "telegram:7"


class Mailboxes:
    """The far end of SMTP: (recipient, ticket) of every letter."""

    def __init__(self) -> None:
        self.letters: list[tuple[str, str]] = []
        self.url = ""

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        assert isinstance(envelope.content, bytes)
        letter = message_from_bytes(envelope.content)
        assert envelope.rcpt_tos == [letter["To"]]
        self.letters.append((letter["To"], letter["X-Handoff-Ticket"]))
        return "250 OK"


@pytest.fixture
def crm() -> Iterator[FakeRetailCrm]:
    with closing(FakeRetailCrm()) as server:
        server.orders[0]["number"] = "48213"
        yield server


@pytest.fixture
def mail() -> Iterator[Mailboxes]:
    mailboxes = Mailboxes()
    server = Controller(mailboxes, hostname="127.0.0.1", port=lasting_port())
    server.start()
    mailboxes.url = f"smtp://127.0.0.1:{server.port}?starttls=off"
    yield mailboxes
    server.stop()


@pytest.fixture
def service(tmp_path: Path, crm: FakeRetailCrm, mail: Mailboxes) -> Iterator[Running]:
    rasa = FakeRasa(free_port())
    rasa.start()
    running = Running(
        tmp_path, "run", RASA_URL=rasa.url, RASA_TOKEN=TOKEN, SMTP_URL=mail.url, IMAP_URL="", CRM_URL=crm.url,
        CRM_TOKEN=crm.KEY, CRM_MAPPING="retailcrm",
    )  # fmt: skip
    try:
        running.start()
        yield running
    finally:
        running.clean_up()
        rasa.stop()


def leave_a_case(service: Running, key: str) -> str:
    """Maria confirms number and address in Telegram; what she is told."""
    with (
        closing(Database(f"sqlite:///{service.data_dir / 'support.db'}")) as database,
        database.session_scope() as session,
    ):
        reference = keep_address(session, SENDER, "maria@example.com", datetime.now(UTC))
    said = user("yes", key, topic="affirm")
    slots = {"order_number": "48213", "address": reference, CONFIRMED: True, TOPIC: "case/delay"}
    call = {"next_action": "action_open_ticket", "sender_id": SENDER, "version": "3.6.21"}
    tracker = as_sent(said, sender_id=SENDER, **slots) | {"latest_input_channel": "telegram"}
    answer = service.http.post("/actions/webhook", params={"token": TOKEN}, json=call | {"tracker": tracker})
    assert answer.status_code == 200, answer.text
    [response] = answer.json()["responses"]
    return str(response["response"])


def test_a_case_left_during_an_outage_is_matched_once_though_the_service_is_killed(
    service: Running, crm: FakeRetailCrm, mail: Mailboxes
) -> None:
    """Killed while the CRM is answering: after the start the customer gets one confirmation, the agents two letters."""
    crm.fault = 503
    assert leave_a_case(service, "k1") == "utter_ticket_waiting"
    [(number,)] = service.rows("SELECT number FROM ticket")
    wait_for(lambda: mail.letters == [("agents@jeans.example", str(number))], "the agents' letter")

    asked_about_maria, killed, find = threading.Event(), threading.Event(), crm.find

    def find_slowly(path: str, query: Any, headers: Any) -> tuple[int, Any]:
        if path.endswith("customers"):
            asked_about_maria.set()
            killed.wait(30)
        return find(path, query, headers)

    crm.find, crm.fault = find_slowly, None  # type: ignore[method-assign]
    assert asked_about_maria.wait(60)
    service.kill()
    killed.set()
    assert service.rows("SELECT requester FROM ticket") == [(None,)]
    service.write(("UPDATE ticket SET match_at = opened_at",))  # or it would be asked about in twenty seconds
    service.start()

    expected = [("Maria@Example.com", str(number)), ("agents@jeans.example", str(number))]
    wait_for(lambda: len(mail.letters) == 3, "confirmation and letter to the agents")
    assert sorted(mail.letters[1:]) == expected
    assert service.rows("SELECT requester, order_number, match_at FROM ticket") == [
        ("Maria@Example.com", "48213", None)
    ]
    assert service.rows("SELECT count(*) FROM outbox WHERE purpose LIKE 'pair_matched:%'") == [(1,)]
    assert "the CRM is no help: look-up order: answered 503" in service.log.read_text()


def test_with_the_crm_there_the_pair_is_known_at_once_and_a_wrong_one_asked_for_again(
    service: Running, crm: FakeRetailCrm, mail: Mailboxes
) -> None:
    """The same action, the same service, no outage."""
    assert leave_a_case(service, "k1") == "utter_ticket_opened"

    crm.customers[0]["email"] = "somebody@example.com"
    assert leave_a_case(service, "k2") == "utter_mismatch"
    wait_for(lambda: len(mail.letters) == 2, "both letters")
    assert [path for path, _ in crm.asked] == ["/api/v5/orders", "/api/v5/customers"] * 2
