"""The lock in Redis, on the engine's own Python: two engines never play one conversation at once."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bot.engine_process import PYTHON, ROOT

from .redis_server import PASSWORD, redis_server
from .test_engine import ENVIRONMENT

pytestmark = pytest.mark.engine

#: An engine: plays `turns` turns of a conversation, each so long, and notes when it begins and ends one.
ENGINE = """
import asyncio, logging, os, sys
from types import SimpleNamespace
from bot.engine import locks

logging.basicConfig(level=logging.ERROR)
locks.LASTS_S = 0.6
url, notes, name, turns, lasts_s = sys.argv[1:]

async def main():
    store = locks.ConversationLocks(SimpleNamespace(url=url))
    print("ready", flush=True)
    sys.stdin.readline()
    file = os.open(notes, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for turn in range(int(turns)):
        async with store.lock("web:a"):
            os.write(file, f"{name} begins\\n".encode())
            await asyncio.sleep(float(lasts_s))
            os.write(file, f"{name} ends\\n".encode())

asyncio.run(main())
"""


class Engine:
    """A process that waits for `go`."""

    def __init__(self, url: str, notes: Path, name: str, turns: int, lasts_s: float) -> None:
        self.process = subprocess.Popen(
            [PYTHON, "-c", ENGINE, url, notes, name, str(turns), str(lasts_s)],
            cwd=ROOT, env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def go(self) -> None:
        assert self.process.stdout.readline() == "ready\n", self.process.stderr.read()
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def end(self) -> str:
        """Wait for its end; what it logged."""
        _, logged = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, logged
        return logged


@pytest.fixture
def redis() -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    with redis_server() as server:
        yield server


def test_turns_of_two_engines_never_overlap(redis, tmp_path):
    """The lock is renewed: a turn may take longer than it lasts."""
    notes = tmp_path / "notes"
    engines = [Engine(redis[0], notes, name, turns, s) for name, turns, s in (("a", 40, 0.002), ("b", 1, 1.5))]
    for engine in engines:
        engine.go()
    assert [engine.end() for engine in engines] == ["", ""]

    lines = notes.read_text().splitlines()
    assert len(lines) == 82
    for begins, ends in zip(lines[::2], lines[1::2], strict=True):
        assert (begins, ends) in [("a begins", "a ends"), ("b begins", "b ends")]


def test_a_killed_engine_holds_its_conversation_up_for_a_moment_only(redis, tmp_path):
    """Rasa's own ticket would hold it up for a minute."""
    notes = tmp_path / "notes"
    killed, other = (Engine(redis[0], notes, name, 1, s) for name, s in (("a", 600), ("b", 0)))
    killed.go()
    while not notes.exists() or "a begins" not in notes.read_text():
        assert killed.process.poll() is None
    killed.process.kill()
    killed.process.communicate()

    other.go()
    other.end()

    assert notes.read_text().splitlines() == ["a begins", "b begins", "b ends"]


def test_without_redis_turns_go_on_and_the_log_says_so_without_the_password(redis, tmp_path):
    url, server = redis
    engine = Engine(url, tmp_path / "notes", "a", 2, 0)
    server.kill()
    server.wait()

    engine.go()
    logged = engine.end()

    assert "Redis is away" in logged
    assert PASSWORD not in logged
    assert (tmp_path / "notes").read_text().splitlines() == ["a begins", "a ends"] * 2


def test_no_address_means_rasas_own_lock(tmp_path):
    """endpoints.yml names the store in any case."""
    engine = Engine("", tmp_path / "notes", "a", 2, 0)
    engine.go()

    assert engine.end() == ""
