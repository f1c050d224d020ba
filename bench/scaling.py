"""Measures what a second service adds on one PostgreSQL: messages a second, and the CPU each process needs for one.

    python -m bench.scaling [--engine]

An inbox full of messages is answered: claimed, played with the engine, answered, marked as sent, durably. They are
messages of the web chat, because a messenger would not take more than 20 or 30 a second. The engine is a stand-in that
answers at once; with `--engine` each service has a real one of its own. Where two services do not answer twice as much,
`cores_busy` says whether there were cores left for them.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from bot.engine_process import free_port
from bot.inbox import Incoming, receive_all
from bot.models import OutboxItem
from handoff.database import Database
from tests.bot.fake_rasa import TOKEN, FakeRasa
from tests.postgresql import own_server
from tests.system.running import Running, lasting_port, wait_for

#: How much is answered in one measurement, by how many customers, and what is answered before it.
MESSAGES, CUSTOMERS, WARM_UP = 3000, 300, 200
PATIENCE_S = 600.0

QUESTIONS = ("Как снять мерки?", "How do I wash them?", "А если не подойдут?", "Сколько стоит доставка?")

#: Clock ticks in a second of /proc/<pid>/stat.
TICKS = os.sysconf("SC_CLK_TCK")


class Scene:
    """Some services on one database; a stand-in for the engine, or an engine for each of them."""

    def __init__(self, folder: Path, services: int, *, engine: bool) -> None:
        self._stack = ExitStack()
        url = self._stack.enter_context(own_server(durable=True))
        self.database = Database(url)
        self.database.migrate()
        with self.database.session_scope() as session:
            self._postmaster = _parent(session.scalars(select(func.pg_backend_pid())).one())
        settings = {"DATABASE_URL": url, "SECRET_KEY": "of-the-benchmark"}
        if not engine:
            self._stand_in = FakeRasa(free_port())
            self._stand_in.start()
            self._stack.callback(self._stand_in.stop)
            settings |= {"RASA_URL": self._stand_in.url, "RASA_TOKEN": TOKEN}
        self.services = [Running(folder, "run", port=lasting_port(), **settings) for _ in range(services)]
        for service in self.services:
            self._stack.callback(service.clean_up)

    def __enter__(self) -> Scene:
        with ThreadPoolExecutor() as all_of_them:
            list(all_of_them.map(Running.start, self.services))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def answer(self, messages: int, name: str) -> float:
        """Seconds until so many messages, which come at once, are answered and sent."""
        with self.database.session_scope() as session:
            before = _sent(self.database)
            receive_all(session, _crowd(messages, name), datetime.now(UTC))
        begun = time.monotonic()
        wait_for(lambda: _sent(self.database) - before >= messages, "all answers", PATIENCE_S, 0.2)
        return time.monotonic() - begun

    def cpu_s(self) -> dict[str, float]:
        """Seconds of CPU that each part has used."""
        used: Counter[str] = Counter({"stand-in and this benchmark": time.process_time()})
        for number, service in enumerate(self.services, 1):
            for pid, command in service.processes().items():
                part = "engine" if "bot.engine.serve" in command else "service"
                used[f"{part} {number}"] += _ticks(pid) / TICKS
        used["postgresql"] = sum(_ticks(pid) for pid in [self._postmaster, *_children(self._postmaster)]) / TICKS
        return dict(used)


def _crowd(messages: int, name: str) -> Iterator[Incoming]:
    for number in range(messages):
        customer = f"web:{name}-{number % CUSTOMERS}"
        words = QUESTIONS[number // CUSTOMERS % len(QUESTIONS)]
        yield Incoming(f"{customer}:{number}", customer, "web", "text", words, language="ru")


def _sent(database: Database) -> int:
    with database.session_scope() as session:
        return session.scalars(select(func.count()).where(OutboxItem.state == "sent")).one()


def _stat(pid: int) -> list[str]:
    """A process's fields after its name (proc(5)); zeros when it has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ["0"] * 50


def _ticks(pid: int) -> int:
    """User and system time of a process and of its children that have ended."""
    return sum(map(int, _stat(pid)[11:15]))


def _parent(pid: int) -> int:
    return int(_stat(pid)[1])


def _children(parent: int) -> list[int]:
    return [int(place.name) for place in Path("/proc").glob("[0-9]*") if _parent(int(place.name)) == parent]


@contextmanager
def _scene(services: int, *, engine: bool) -> Iterator[Scene]:
    with tempfile.TemporaryDirectory() as folder, Scene(Path(folder), services, engine=engine) as scene:
        scene.answer(WARM_UP, "early")
        yield scene


def measure_with(services: int, *, engine: bool) -> dict[str, Any]:
    """Messages a second with so many services, CPU milliseconds of each part for a message, and how many cores ran."""
    with _scene(services, engine=engine) as scene:
        before = scene.cpu_s()
        seconds = scene.answer(MESSAGES, "measured")
        after = scene.cpu_s()
    used = {part: after[part] - before.get(part, 0.0) for part in after}
    return {
        "services": services,
        "msgs_per_s": round(MESSAGES / seconds, 1),
        "cpu_ms_per_message": {part: round(1000 * spent / MESSAGES, 2) for part, spent in sorted(used.items())},
        "cores_busy": round(sum(used.values()) / seconds, 2),
        "cores": os.cpu_count(),
    }


def measure(*, engine: bool) -> Mapping[str, Any]:
    """One service, then two."""
    one, two = (measure_with(services, engine=engine) for services in (1, 2))
    ratio = round(two["msgs_per_s"] / one["msgs_per_s"], 2)
    return {"engine": "real" if engine else "stand-in", "one": one, "two": two, "two_services_ratio": ratio}


if __name__ == "__main__":
    print(json.dumps(measure(engine="--engine" in sys.argv[1:]), indent=2))  # noqa: T201
