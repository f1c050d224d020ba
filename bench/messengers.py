"""Measures the way of a message between messenger and engine, with fake messengers that keep to the real limits.

    python -m bench.messengers

Two figures: what the gateway adds to an answer at five messages a second (the engine is a stand-in that answers at
once), and how long it takes until everybody is answered when 200 customers, half on each messenger, write within a
second (the real engine).
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bot.engine_process import free_port
from tests.bot.fake_rasa import TOKEN, FakeRasa
from tests.messengers.fake_telegram import FakeTelegram
from tests.messengers.fake_vk import FakeVk
from tests.system.running import Running, wait_for

#: Messages a second that Telegram takes (its documentation); VK's limit is of calls, each of up to 25 messages.
TELEGRAM_LIMIT = 30

STEADY_MESSAGES, STEADY_PER_S = 100, 5
BURST = 100
PATIENCE_S = 120.0

QUESTIONS = ("Как снять мерки?", "How do I wash them?", "А если не подойдут?", "Сколько стоит доставка?")


class Scene:
    """The service between both messengers; `engine` is a stand-in, or None for the real one; `more` are settings."""

    def __init__(self, folder: Path, engine: FakeRasa | None, **more: str) -> None:
        self._stack = ExitStack()
        self.telegram = self._stack.enter_context(FakeTelegram(strict_limits=True))
        self.vk = self._stack.enter_context(FakeVk(strict_rate=True))
        settings = {
            "TELEGRAM_TOKEN": self.telegram.token,
            "TELEGRAM_API_BASE": self.telegram.api_base,
            "TELEGRAM_FILE_BASE": self.telegram.file_base,
            **self.vk.environment,
            **more,
        }
        if engine is not None:
            settings |= {"RASA_URL": engine.url, "RASA_TOKEN": TOKEN}
        self.service = Running(folder, "run", **settings)

    def __enter__(self) -> Scene:
        self.service.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.service.clean_up()
        self._stack.close()

    def people(self, count: int) -> list[Any]:
        """As many customers of each messenger, one beside the other."""
        pairs = ((self.telegram.customer(), self.vk.customer()) for _ in range(count))
        return [person for pair in pairs for person in pair]


def steady() -> dict[str, float]:
    """Milliseconds from a customer's "send" to the answer on his screen, less than 1 ms of them the stand-in's."""
    engine = FakeRasa(free_port())
    engine.start()
    try:
        with tempfile.TemporaryDirectory() as folder, Scene(Path(folder), engine) as scene:
            people = scene.people(STEADY_MESSAGES // 2)
            for person in people[:4]:  # connections are made, tables are read
                person.says("warming up")
                person.wait_for(1, PATIENCE_S)
            times = []
            for person in people:
                begun = time.monotonic()
                heard = len(person.received)
                person.says("hello")
                times.append(person.wait_for(heard + 1, PATIENCE_S)[-1].at - begun)
                time.sleep(max(0.0, 1 / STEADY_PER_S - (time.monotonic() - begun)))
    finally:
        engine.stop()
    return {"gateway_added_p50_ms": 1000 * statistics.median(times), "gateway_added_p95_ms": 1000 * _p95(times)}


def burst() -> dict[str, float]:
    """Seconds until all of 200 customers are answered, beside what the limits allow; refusals by rate."""
    with tempfile.TemporaryDirectory() as folder, Scene(Path(folder), None) as scene:
        people = scene.people(BURST)
        for person in people[:2]:
            person.says("Как снять мерки?")
            person.wait_for(1, PATIENCE_S)
        heard = {id(person): len(person.received) for person in people}
        refused_before = scene.telegram.refused + scene.vk.refused
        begun = time.monotonic()
        with ThreadPoolExecutor(16) as crowd:
            for number, person in enumerate(people):
                crowd.submit(person.says, QUESTIONS[number % len(QUESTIONS)])
        written_s = time.monotonic() - begun
        wait_for(lambda: all(len(p.received) > heard[id(p)] for p in people), "all answers", PATIENCE_S, 0.1)
        ends = {}
        for name, group in (("telegram", people[::2]), ("vk", people[1::2])):
            ends[name] = max(person.received[heard[id(person)]].at for person in group) - begun
        refused = scene.telegram.refused + scene.vk.refused - refused_before
        return {
            "burst_written_s": written_s,
            "burst_telegram_s": ends["telegram"],
            "burst_telegram_allowed_s": BURST / TELEGRAM_LIMIT,
            "burst_vk_s": ends["vk"],
            "burst_refused_share": refused / (2 * BURST),
            "burst_violations": len(scene.telegram.violations) + len(scene.vk.violations),
        }


def measure() -> dict[str, float]:
    """Both figures, rounded."""
    return {name: round(value, 3) for name, value in (steady() | burst()).items()}


def _p95(times: list[float]) -> float:
    return statistics.quantiles(times, n=20)[-1]


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))  # noqa: T201
