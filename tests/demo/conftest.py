"""What the tests of the demo share: mailboxes on disk, a letter, the real mail server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path

import pytest

from bot.demo.mail_server import DemoMailServer
from bot.demo.mailboxes import Mailboxes

AGENTS = "agents@jeans.example"
SUPPORT = "support@jeans.example"
MARIA = "maria.sokolova@mail.example"


class TakenIn:
    """Stands for the shop's side: remembers the letters it was given, or refuses them for now."""

    def __init__(self) -> None:
        self.letters: list[tuple[bytes, list[str]]] = []
        self.failing = False

    def __call__(self, raw: bytes, recipients: list[str]) -> None:
        if self.failing:
            raise OSError("the database is away")
        self.letters.append((raw, recipients))


def write_letter(
    subject: str = "Your jeans", text: str = "Hello", html: str = "", headers: dict[str, str] | None = None
) -> EmailMessage:
    letter = EmailMessage(policy=SMTP)
    fields = {
        "From": f"Getwear <{SUPPORT}>",
        "To": MARIA,
        "Subject": subject,
        "Date": "Fri, 20 Nov 2026 12:30:00 +0300",
        "Message-ID": "<one@jeans.example>",
    }
    for name, value in (fields | (headers or {})).items():
        letter[name] = value
    letter.set_content(text)
    if html:
        letter.add_alternative(html, subtype="html")
    return letter


@pytest.fixture
def letter() -> Callable[..., EmailMessage]:
    return write_letter


@pytest.fixture
def mailboxes(tmp_path: Path) -> Mailboxes:
    boxes = Mailboxes(tmp_path / "demo-mail")
    for address in (AGENTS, MARIA):
        boxes.create(address)
    return boxes


@pytest.fixture
def taken_in() -> TakenIn:
    return TakenIn()


@pytest.fixture
def mail_server(mailboxes: Mailboxes, taken_in: TakenIn) -> Iterator[DemoMailServer]:
    server = DemoMailServer(mailboxes, SUPPORT, taken_in)
    server.start()
    yield server
    server.stop()
