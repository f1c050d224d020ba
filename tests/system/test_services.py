"""Two services on one PostgreSQL, killed at random moments: everybody is answered once, in order, within the limits."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from bot.engine_process import free_port
from handoff.database import Database

from ..bot.fake_rasa import TOKEN, FakeRasa, Message, said
from ..messengers.fake_telegram import FakeTelegram
from ..messengers.fake_vk import FakeVk
from ..messengers.telegram_customer import Customer as TelegramCustomer
from ..messengers.vk_customer import Customer as VkCustomer
from .running import END_S, Running, lasting_port, wait_for

pytestmark = [pytest.mark.crash, pytest.mark.engine]

Customer = TelegramCustomer | VkCustomer

CONVERSATIONS = 30
KILLS = 5

#: When everybody writes in a round, twice, and when a service is killed, all in seconds from the round's beginning.
FIRST_S, KILL_S, SECOND_S = (0.0, 1.0), (0.2, 1.2), (1.0, 2.5)
#: How long a turn takes, and how long the rest may take in the end.
TURN_S, PATIENCE_S = 0.05, 60.0


class Pair:
    """Two services with the same settings, both messengers, and the engine they share.

    The engine is a stand-in that objects when it hears a message twice, or one in the middle of another's turn.
    """

    def __init__(self, folder: Path, database: Database) -> None:
        self._stack = ExitStack()
        self.database = database
        self.telegram = self._stack.enter_context(FakeTelegram(strict_limits=True))
        self.vk = self._stack.enter_context(FakeVk(strict_rate=True))
        self.rasa = FakeRasa(free_port())
        self.rasa.answer = _slowly
        settings = {
            "DATABASE_URL": database.url,
            "SECRET_KEY": "shared-by-both",
            "RASA_URL": self.rasa.url,
            "RASA_TOKEN": TOKEN,
            "TELEGRAM_TOKEN": self.telegram.token,
            "TELEGRAM_API_BASE": self.telegram.api_base,
            "TELEGRAM_FILE_BASE": self.telegram.file_base,
            **self.vk.environment,
        }
        self.services = [Running(folder, "run", port=lasting_port(), **settings) for _ in range(2)]

    def __enter__(self) -> Pair:
        self.rasa.start()
        with ThreadPoolExecutor() as both:
            list(both.map(Running.start, self.services))
        return self

    def __exit__(self, *_: object) -> None:
        for service in self.services:
            service.clean_up()
        self.rasa.stop()
        self._stack.close()

    def people(self, count: int) -> list[Customer]:
        """As many customers, every other one on Telegram."""
        return [self.vk.customer() if number % 2 else self.telegram.customer() for number in range(count)]

    def rows(self, query: str, **values: object) -> list[tuple[Any, ...]]:
        """Rows of the database."""
        with self.database.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(query), values)]

    def holders(self) -> dict[str, str]:
        """Which process has which lease."""
        return {str(name): str(holder) for name, holder in self.rows("SELECT name, holder FROM lease ORDER BY name")}


@pytest.fixture
def pair(tmp_path: Path, empty_postgresql: Database) -> Iterator[Pair]:
    with Pair(tmp_path, empty_postgresql) as pair:
        yield pair


def _slowly(request: Message) -> list[Message]:
    time.sleep(TURN_S)
    return said(f"About {request['message']}")


def _sender(person: Customer) -> str:
    return f"vk:{person.user_id}" if isinstance(person, VkCustomer) else f"telegram:{person.chat_id}"


def test_whichever_service_dies_everybody_is_answered_once_and_in_order(pair: Pair):
    """On Telegram an answer whose sending was cut off may come twice, right after itself; nobody knows better there."""
    chance = random.Random(20261122)
    people = pair.people(CONVERSATIONS)
    wanted = [f"About {number}" for number in range(2 * KILLS)]

    def write(person: Customer, number: int, moments: tuple[float, float]) -> None:
        for place, moment in enumerate(moments):
            time.sleep(moment)
            person.says(str(2 * number + place))

    with ThreadPoolExecutor(CONVERSATIONS) as crowd:
        for number in range(KILLS):
            first = [chance.uniform(*FIRST_S) for _ in people]
            moments = [(moment, chance.uniform(*SECOND_S) - moment) for moment in first]
            writing = [crowd.submit(write, *each) for each in zip(people, [number] * len(people), moments, strict=True)]
            victim = chance.choice(pair.services)
            time.sleep(chance.uniform(*KILL_S))
            victim.kill()
            victim.start()
            for walk in writing:
                walk.result(PATIENCE_S)

    open_ones = "SELECT (SELECT count(*) FROM inbox WHERE state = 'waiting') + "
    open_ones += "(SELECT count(*) FROM outbox WHERE state = 'waiting')"
    wait_for(lambda: pair.rows(open_ones) == [(0,)], "an end of all queues", PATIENCE_S, 0.2)
    doubled = 0
    for person in people:
        heard = [message.text for message in person.received if message.text.startswith("About")]
        once = [words for place, words in enumerate(heard) if place == 0 or heard[place - 1] != words]
        assert once == wanted, _sender(person)
        doubled += len(heard) - len(once)
        assert isinstance(person, TelegramCustomer) or heard == wanted
    assert doubled <= KILLS
    assert pair.rasa.objections == []
    assert (pair.telegram.violations, pair.vk.violations) == ([], [])
    assert (pair.telegram.refused, pair.vk.refused) == (0, 0)
    answered_by = {holder for (holder,) in pair.rows("SELECT DISTINCT claimed_by FROM inbox")}
    assert len(answered_by) > 2, "both took part, before and after a kill"


def test_both_answer_and_one_sends_and_either_ends_in_time(pair: Pair):
    """What one takes in the other answers; both say how the messengers are; who ends leaves his part to the other."""
    people = pair.people(8)
    for person in people:
        person.says("hello")
    for person in people:
        person.wait_for(1, PATIENCE_S)

    [holder] = set(pair.holders().values())
    for service in pair.services:
        health = wait_for(lambda: _healthy(service), "a service that knows when the messengers answered")  # noqa: B023
        assert (health["engine"], health["database"]) == ("ready", "ready")
    [first] = [service for service in pair.services if holder.split(":")[1] in map(str, service.processes())]
    assert first.end() < END_S
    for person in people:
        person.says("still there?")
    for person in people:
        person.wait_for(2, PATIENCE_S)
    assert set(pair.holders().values()).isdisjoint({holder})


def _healthy(service: Running) -> dict[str, Any] | None:
    health: dict[str, Any] = service.http.get("/healthz").json()
    ages = [channel["last_poll_age_s"] for channel in health["channels"].values()]
    return health if len(ages) == 2 and None not in ages else None
