"""Parts that the service needs go away and come back; the customer only notices that something takes longer."""

from __future__ import annotations

import os
import re
import secrets
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from email import message_from_bytes
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from sqlalchemy import select

from bot.demo.examples import CUSTOMERS_FILE, ORDERS_FILE
from bot.inbox import Incoming, receive
from bot.models import Button, InboxItem, OutboxItem
from handoff.database import Database

from .chat import Chat
from .running import AGENTS, END_S, Running, lasting_port, wait_for

pytestmark = pytest.mark.engine

#: A message that waits so long brings the notice (bot.gateway.SILENCE), at its next attempt.
SILENCE_S = 20.0
ATTEMPT_S = 10.0

#: The engine's start on a busy machine, and the pauses between attempts.
RECOVERY_S = 300.0


class MailServer:
    """The far end of SMTP: takes only what a mail server would and remembers every delivery."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, str]] = []

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if not re.fullmatch(r"[\w.]+@(jeans|mail|post)\.example", address):
            return "550 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        assert isinstance(envelope.content, bytes)
        assert envelope.mail_from == "support@jeans.example"
        letter = message_from_bytes(envelope.content)
        assert letter["To"] == envelope.rcpt_tos[0]
        self.taken.extend((address, letter["Message-ID"]) for address in envelope.rcpt_tos)
        return "250 OK"


class Conversation:
    """A customer without a page: writes into the inbox as a channel does, reads what the outbox has sent."""

    def __init__(self, database: Database) -> None:
        self.sender_id = f"web:{secrets.token_urlsafe(18)}"
        self._database = database

    def say(self, text: str, payload: str | None = None) -> OutboxItem:
        """One message and its answer."""
        key = f"{self.sender_id}:{secrets.token_hex(8)}"
        kind = "button" if payload else "text"
        message = Incoming(key, self.sender_id, "web", kind, text, payload, language="en")
        with self._database.session_scope() as session:
            receive(session, message, datetime.now(UTC))
        return wait_for(lambda: self._answer(key), "an answer")

    def press(self, item: OutboxItem) -> OutboxItem:
        """The first button of an answer."""
        with self._database.session_scope() as session:
            button = session.get_one(Button, item.buttons[0]["key"])
        return self.say(button.title, button.payload)

    def _answer(self, key: str) -> OutboxItem | None:
        with self._database.session_scope() as session:
            message = session.scalar(select(InboxItem).where(InboxItem.key == key))
            assert message is not None
            return session.scalar(
                select(OutboxItem).where(OutboxItem.purpose == f"answer:{message.id}", OutboxItem.state == "sent")
            )


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Running]:
    """The real service with customers and orders, and a mail server that is away."""
    smtp_url = f"smtp://127.0.0.1:{lasting_port()}?starttls=off"
    running = Running(tmp_path, "run", SMTP_URL=smtp_url, RASA_URL="", IMAP_URL="")
    running.command("crm", "import", "--customers", CUSTOMERS_FILE, "--orders", ORDERS_FILE)
    try:
        running.start()
        yield running
    finally:
        running.clean_up()


@pytest.fixture
def up(restarted_demo: Running) -> Running:
    """The demo of this module, running."""
    if not restarted_demo.is_running:
        restarted_demo.start()
    return restarted_demo


def test_letters_wait_for_a_mail_server_that_is_away_and_go_out_once(service: Running):
    """The customer's case is registered whatever becomes of the mail server; each letter leaves once it is back."""
    database = Database(f"sqlite:///{service.data_dir / 'support.db'}")
    conversation = Conversation(database)
    asks = conversation.say("The zip of my jeans broke, order 47988, daniel.novak@mail.example")

    promise = conversation.press(asks)
    wait_for(lambda: service.rows("SELECT 1 FROM letter_out WHERE last_error != ''"), "a failed attempt")

    [ticket] = service.tickets()
    assert str(ticket["number"]) in promise.text
    assert service.rows("SELECT DISTINCT state FROM letter_out") == [("waiting",)]
    assert service.ready()

    server = MailServer()
    port = int(re.search(r":(\d+)\?", service.settings["SMTP_URL"])[1])
    controller = Controller(server, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        wait_for(lambda: service.rows("SELECT DISTINCT state FROM letter_out") == [("sent",)], "letters sent", 60)
        # Something more to send: whatever the sender would double has left before it.
        conversation.say("It is the left pocket's zip, order 47988")
        wait_for(lambda: len(server.taken) >= 3, "the follow-up", 60)
    finally:
        controller.stop()
        database.close()

    assert sorted(address for address, _ in server.taken) == [AGENTS, AGENTS, "daniel.novak@mail.example"]
    assert len({message_id for _, message_id in server.taken}) == 3


def test_a_message_survives_the_engines_death_and_the_customer_is_told_once_that_it_takes_longer(up: Running):
    """The engine is started again by itself; no message is lost, answered twice or left without a word."""
    chat = Chat(up, "en")
    asks = chat.say("The zip of my jeans broke")
    _kill_engine(up)

    # It dies again and again while it starts, so that the silence surely becomes long.
    waiting = chat.send(text="47988")
    began = time.monotonic()
    while time.monotonic() - began < SILENCE_S:
        _kill_engine(up)
    said = chat.answer_to(waiting)

    assert "e-mail" in said.text
    assert asks.text != said.text
    assert len(chat.notices("takes_longer")) == 1
    assert len(chat.answers()) == 2
    assert wait_for(up.ready, "a service that is ready", RECOVERY_S)


def test_one_death_of_the_engine_brings_the_notice_only_to_those_who_wait_long(up: Running):
    """A word within a minute is the promise; who is answered sooner is not bothered."""
    chat = Chat(up, "ru")
    chat.begin()
    _kill_engine(up)
    began = time.monotonic()

    said = chat.say("Хочу отменить заказ")
    took_s = time.monotonic() - began

    assert said.buttons
    assert len(chat.answers()) == 2
    if took_s < SILENCE_S:
        assert chat.notices("takes_longer") == []
    if took_s > SILENCE_S + ATTEMPT_S:
        assert len(chat.notices("takes_longer")) == 1
    print(f"answered {took_s:.1f} s after the engine's death")  # noqa: T201


def test_the_service_ends_within_ten_seconds_and_answers_again_after_the_next_start(up: Running):
    """SIGTERM in the middle of a turn: no process stays behind, and the message is answered after the start."""
    chat = Chat(up, "en")
    chat.begin()
    waiting = chat.send(text="How do I measure myself?")

    took_s = up.end()
    started_s = up.start()
    said = chat.answer_to(waiting)

    assert took_s <= END_S
    assert said.text
    assert len(chat.answers()) == 2
    print(f"ended within {took_s:.1f} s, ready again after {started_s:.1f} s")  # noqa: T201


def _kill_engine(running: Running) -> None:
    engine = wait_for(running.engine, "an engine", RECOVERY_S)
    os.kill(engine, signal.SIGKILL)
    wait_for(lambda: running.engine() != engine, "the engine's end", END_S)
