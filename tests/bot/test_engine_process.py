"""Rasa as a child process: what it is given, that it comes back, and what is said when it cannot be started."""

from __future__ import annotations

import asyncio
import json
import sys

import pytest

import bot.engine_process
from bot.engine_process import EngineProcess

#: Stands for the engine: notes how it was started, then runs until its standard input ends, or not at all.
CHILD = """#!{python}
import json, os, sys
names = ("RASA_TOKEN", "ACTIONS_URL")
with open({notes!r}, "a") as notes:
    notes.write(json.dumps([sys.argv[1:], os.getcwd(), {{name: os.environ[name] for name in names}}]) + "\\n")
print("loading the model", flush=True)
if {lives!r}:
    sys.stdin.read()
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Puts an engine into place; `lives` says whether it stays."""

    def put(*, lives=True):
        python = tmp_path / "python"
        python.write_text(CHILD.format(python=sys.executable, notes=str(tmp_path / "notes"), lives=lives))
        python.chmod(0o700)
        monkeypatch.setattr(bot.engine_process, "PYTHON", python)

    return put


@pytest.fixture
def engine(tmp_path):
    return lambda: EngineProcess(
        port=4711,
        model=tmp_path / "support.tar.gz",
        environment={"RASA_TOKEN": "rasa token", "ACTIONS_URL": "http://127.0.0.1:8000/actions/webhook"},
        log_file=tmp_path / "engine.log",
    )


def _log(tmp_path):
    log = tmp_path / "engine.log"
    return log.read_text() if log.exists() else ""


async def answers():
    return True


def starts(tmp_path):
    notes = tmp_path / "notes"
    return [json.loads(line) for line in notes.read_text().splitlines()] if notes.exists() else []


async def test_the_child_gets_what_its_configuration_names_and_ends_with_us(
    install, engine, running, eventually, tmp_path
):
    """Secrets are in the environment, not on the command line, which everybody on the machine can read."""
    install()
    child = engine()

    async with running(lambda: child.run(answers)):
        await eventually(lambda: bool(starts(tmp_path)))

    [(arguments, folder, environment)] = starts(tmp_path)
    assert arguments == ["-m", "bot.engine.serve", "--port", "4711", "--model", str(tmp_path / "support.tar.gz")]
    assert folder == str(bot.engine_process.ROOT)
    assert environment == {
        "RASA_TOKEN": "rasa token",
        "ACTIONS_URL": "http://127.0.0.1:8000/actions/webhook",
    }
    assert child._child.returncode is not None


async def test_a_child_that_ended_is_started_again(install, engine, running, eventually, tmp_path, monkeypatch):
    """Out of memory, killed by hand: customers wait some seconds, nobody has to come. What it said is kept."""
    monkeypatch.setattr(bot.engine_process, "FIRST_WAIT_S", 0.01)
    install(lives=False)

    async with running(lambda: engine().run(answers)):
        await eventually(lambda: _log(tmp_path).startswith("loading the model\nloading the model\n"))


async def test_a_child_that_cannot_be_started_is_tried_again(
    install, engine, running, eventually, tmp_path, monkeypatch
):
    """No memory or no processes for a moment: it must not end the other engines. It does not count as a start."""
    monkeypatch.setattr(bot.engine_process, "FIRST_WAIT_S", 0.01)
    install()
    (tmp_path / "python").rename(tmp_path / "elsewhere")
    child = engine()

    async with running(lambda: child.run(answers)):
        await eventually(lambda: (tmp_path / "engine.log").exists())
        await asyncio.sleep(0.1)
        assert child.starts == 0
        (tmp_path / "elsewhere").rename(tmp_path / "python")
        await eventually(lambda: bool(starts(tmp_path)))
        assert child.starts == 1


async def test_a_child_that_lives_but_does_not_answer_is_started_again(
    install, engine, running, eventually, tmp_path, monkeypatch
):
    """Rasa stays up without a model when loading it failed. Each child gets more time than the one before."""
    monkeypatch.setattr(bot.engine_process, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(bot.engine_process, "ASKED_EVERY_S", 0.01)
    monkeypatch.setattr(bot.engine_process, "PATIENCE_S", 0.1)
    install()
    child = engine()

    async def third_answers():
        return len(starts(tmp_path)) > 2

    async with running(lambda: child.run(third_answers)):
        await eventually(lambda: len(starts(tmp_path)) > 2 and child._patience_s == 0.1)
        await asyncio.sleep(0.3)

    assert len(starts(tmp_path)) == 3
