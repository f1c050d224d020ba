"""Running systems for the tests: one for all that leave it in order, fresh ones for those that break it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bot.demo.examples import CUSTOMERS_FILE, ORDERS_FILE

from ..messengers.fake_telegram import FakeTelegram
from .running import Running


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A demo that tests share; each uses orders and conversations of its own."""
    running = Running(tmp_path_factory.mktemp("demo"))
    try:
        running.start()
        yield running
    finally:
        running.clean_up()


@pytest.fixture
def rested_demo(demo: Running) -> Running:
    """The shared demo, as if the tests before had run two days ago: no limit of handoff/identity.py is used up."""
    demo.write(
        ("UPDATE claim SET at = datetime(at, '-2 days')",),
        ("UPDATE letter_out SET created_at = datetime(created_at, '-2 days')",),
    )
    return demo


@pytest.fixture
def own_demo(tmp_path: Path) -> Iterator[Running]:
    """A demo to kill, not started yet."""
    running = Running(tmp_path)
    try:
        yield running
    finally:
        running.clean_up()


@pytest.fixture(scope="module")
def restarted_demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A demo that the tests of a module end and start again; they use it as `up`."""
    running = Running(tmp_path_factory.mktemp("restarted"))
    try:
        yield running
    finally:
        running.clean_up()


@pytest.fixture
def service(tmp_path: Path, telegram: FakeTelegram) -> Iterator[Running]:
    """The real service on that Telegram, with the example customers and orders, its log for programs."""
    service = Running(
        tmp_path, "run", LOG_FORMAT="json",
        TELEGRAM_TOKEN=telegram.token, TELEGRAM_API_BASE=telegram.api_base, TELEGRAM_FILE_BASE=telegram.file_base,
    )  # fmt: skip
    try:
        service.start()
        service.command("crm", "import", "--customers", CUSTOMERS_FILE, "--orders", ORDERS_FILE)
        yield service
    finally:
        service.clean_up()
