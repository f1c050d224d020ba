"""`HANDOFF_MODE=external`: another desk gets the case from the real service, in a letter that it would take in."""

from __future__ import annotations

from email import message_from_bytes, policy
from email.message import EmailMessage

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from bot.demo.examples import CUSTOMERS_FILE, ORDERS_FILE

from ..messengers.fake_telegram import FakeTelegram
from .running import Running, lasting_port, wait_for

pytestmark = pytest.mark.engine

DESK = "desk@other.example"
MARIA = "maria.sokolova@mail.example"


class OtherDesk:
    """A mail server with a helpdesk behind it, as strict as those are: it refuses forgeries and automatic letters."""

    def __init__(self) -> None:
        self.letters: list[EmailMessage] = []
        self.confirmations: list[EmailMessage] = []

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        letter = message_from_bytes(envelope.content or b"", policy=policy.default)
        if letter["From"].addresses[0].addr_spec != "support@jeans.example":
            return "550 5.7.1 the sender is not aligned with its domain"
        if envelope.rcpt_tos != [DESK]:
            self.confirmations.append(letter)  # type: ignore[arg-type]
            return "250 OK"
        if any(name in letter for name in ("Auto-Submitted", "Precedence", "X-Auto-Response-Suppress")):
            return "550 5.7.1 automatic letters open no tickets"
        self.letters.append(letter)  # type: ignore[arg-type]
        return "250 OK"


def test_a_case_reaches_another_desk_as_the_customers(tmp_path):
    """The requester is the registered address; what the chat brings later lands in the same thread."""
    desk = OtherDesk()
    server = Controller(desk, hostname="127.0.0.1", port=lasting_port())
    server.start()
    with FakeTelegram() as telegram:
        service = Running(
            tmp_path, "run", HANDOFF_MODE="external", AGENTS_ADDRESS=DESK,
            SMTP_URL=f"smtp://127.0.0.1:{server.port}?starttls=off",
            TELEGRAM_TOKEN=telegram.token, TELEGRAM_API_BASE=telegram.api_base, TELEGRAM_FILE_BASE=telegram.file_base,
        )  # fmt: skip
        try:
            service.start()
            service.command("crm", "import", "--customers", CUSTOMERS_FILE, "--orders", ORDERS_FILE)
            maria = telegram.customer(first_name="Мария")
            maria.says(f"Где мой заказ 48213? Обещали привезти, почта {MARIA}")
            maria.wait_for(1, timeout=30)
            maria.presses("Всё верно")
            first = wait_for(lambda: desk.letters, "the case at the desk")[0]
            maria.sends_photo(b"\xff\xd8\xff\xe0" + b"0" * 200)
            _, photo = wait_for(lambda: len(desk.letters) > 1 and desk.letters, "the photo at the desk")
        finally:
            service.clean_up()
            server.stop()

    assert first["Reply-To"] == MARIA
    assert first["X-Handoff-Requester"] == MARIA
    assert "48213" in first["Subject"]
    assert (photo["Reply-To"], photo["In-Reply-To"]) == (MARIA, first["Message-ID"])
    assert photo["Subject"] == f"Re: {first['Subject']}"
    assert [file.get_filename() for file in photo.iter_attachments()] == ["photo-48213-1.jpg"]
    assert [letter["To"] for letter in desk.confirmations] == [MARIA]
