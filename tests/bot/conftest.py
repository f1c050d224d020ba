"""What the tests of the customers' side share: notices, a stand-in for Rasa, messages that have come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bot.engine_process import free_port
from bot.inbox import Incoming, receive
from bot.models import InboxItem
from bot.notices import ConversationNotices, NoticeTexts
from bot.rasa import RasaClient
from handoff.database import Database
from handoff.desk import Desk
from handoff.shop import Shop, load_shop

from .fake_rasa import TOKEN, FakeRasa

ROOT = Path(__file__).parents[2]

#: Bounded polling: far longer than anything takes on a busy machine.
PATIENCE_S = 10.0

Eventually = Callable[[Callable[[], bool]], Awaitable[None]]
Running = Callable[[Callable[[], Awaitable[None]]], AbstractAsyncContextManager[None]]
Arrived = Callable[..., InboxItem]


@pytest.fixture
def shop() -> Shop:
    return load_shop(ROOT / "shop.yml")


@pytest.fixture
def texts() -> NoticeTexts:
    return NoticeTexts(ROOT / "data" / "notices.yml")


@pytest.fixture
def notices(texts: NoticeTexts, shop: Shop) -> ConversationNotices:
    return ConversationNotices(texts, shop)


@pytest.fixture
def desk(shop: Shop, notices: ConversationNotices, tmp_path: Path) -> Desk:
    return Desk(
        shop=shop,
        support_address="support@jeans.example",
        agents_address="agents@jeans.example",
        base_url="https://jeans.example",
        data_dir=tmp_path,
        signing_key=b"test key",
        notices=notices,
    )


@pytest.fixture
def rasa_away() -> Iterator[FakeRasa]:
    """Rasa before it has started; whatever it was sent in the end had to be in order."""
    rasa = FakeRasa(free_port())
    yield rasa
    rasa.stop()
    assert rasa.objections == []


@pytest.fixture
def rasa(rasa_away: FakeRasa) -> FakeRasa:
    rasa_away.start()
    return rasa_away


@pytest.fixture
async def client(rasa_away: FakeRasa) -> AsyncIterator[RasaClient]:
    client = RasaClient(rasa_away.url, TOKEN)
    yield client
    await client.close()


@pytest.fixture
def arrived(database: Database) -> Arrived:
    """Puts a message into the inbox."""

    def arrive(text: str, sender_id: str = "web:a", *, ago: timedelta = timedelta(0), **fields: object) -> InboxItem:
        given = {"key": f"{sender_id}:{text}", "kind": "text", "language": "en", "channel": "web", **fields}
        attempts = int(str(given.pop("attempts", 0)))
        message = Incoming(sender_id=sender_id, text=text, **given)  # type: ignore[arg-type]
        with database.session_scope() as session:
            assert receive(session, message, datetime.now(UTC) - ago)
            item = session.query(InboxItem).filter_by(key=message.key).one()
            item.attempts = attempts
        return item

    return arrive


@pytest.fixture
def eventually() -> Eventually:
    """Waits until something is true."""

    async def wait(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, "it did not happen"
            await asyncio.sleep(0.02)

    return wait


@pytest.fixture
def running() -> Running:
    """Keeps a loop running inside a block; one that breaks, or does not end afterwards, fails the test."""

    @asynccontextmanager
    async def run(loop: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
        task = asyncio.ensure_future(loop())
        try:
            yield
            assert not task.done(), "the loop ended"
        finally:
            task.cancel()
            await asyncio.wait({task}, timeout=PATIENCE_S)
        assert task.cancelled(), "the loop did not end when it was told to"

    return run
