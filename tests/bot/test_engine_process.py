"""Rasa as a child process: what it is given, that it comes back, and what is said when it cannot be started."""

from __future__ import annotations

import asyncio
import json
import sys

import pytest

import bot.engine_process
from bot.engine_process import EngineNotInstalled, EngineProcess

#: Stands for the engine: notes how it was started, then runs until its standard input ends, or not at all.
CHILD = """#!{python}
import json, os, sys
names = ("RASA_TOKEN", "ACTIONS_URL", "ACTIONS_TOKEN", "SHOP_FILE", "TRACKER_DB", "LOG_FORMAT")
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
        python, model = tmp_path / "python", tmp_path / "support.tar.gz"
        python.write_text(CHILD.format(python=sys.executable, notes=str(tmp_path / "notes"), lives=lives))
        python.chmod(0o700)
        model.touch()
        monkeypatch.setattr(bot.engine_process, "PYTHON", python)
        monkeypatch.setattr(bot.engine_process, "MODEL", model)
        return python, model

    return put


@pytest.fixture
def engine(tmp_path):
    return lambda: EngineProcess(
        port=4711,
        token="rasa token",
        actions_url="http://127.0.0.1:8000/actions/webhook",
        actions_token="actions token",
        shop_file=tmp_path / "shop.yml",
        data_dir=tmp_path,
    )


async def answers():
    return True


def starts(tmp_path):
    notes = tmp_path / "notes"
    return [json.loads(line) for line in notes.read_text().splitlines()] if notes.exists() else []


def test_a_missing_environment_says_which_command_makes_it(install, engine):
    python, _ = install()
    python.unlink()

    with pytest.raises(EngineNotInstalled, match="make setup"):
        engine()


def test_a_missing_model_says_which_command_makes_it(install, engine):
    _, model = install()
    model.unlink()

    with pytest.raises(EngineNotInstalled, match="make train"):
        engine()


async def test_the_child_gets_what_its_configuration_names_and_ends_with_us(
    install, engine, running, eventually, tmp_path
):
    """endpoints.yml reads these variables; secrets are in the environment, not on the command line."""
    _, model = install()
    child = engine()

    async with running(lambda: child.run(answers)):
        await eventually(lambda: bool(starts(tmp_path)))

    [(arguments, folder, environment)] = starts(tmp_path)
    assert arguments == ["-m", "bot.engine.serve", "--port", "4711", "--model", str(model)]
    assert folder == str(bot.engine_process.ROOT)
    assert environment == {
        "RASA_TOKEN": "rasa token",
        "ACTIONS_URL": "http://127.0.0.1:8000/actions/webhook",
        "ACTIONS_TOKEN": "actions token",
        "SHOP_FILE": str(tmp_path / "shop.yml"),
        "TRACKER_DB": str(tmp_path / "trackers.db"),
        "LOG_FORMAT": "text",
    }
    assert child.url == "http://127.0.0.1:4711"
    assert child._child.returncode is not None


async def test_a_child_that_ended_is_started_again(install, engine, running, eventually, tmp_path, monkeypatch):
    """Out of memory, killed by hand: customers wait some seconds, nobody has to come. What it said is kept."""
    monkeypatch.setattr(bot.engine_process, "FIRST_WAIT_S", 0.01)
    install(lives=False)

    async with running(lambda: engine().run(answers)):
        await eventually(lambda: len(starts(tmp_path)) > 1)

    assert (tmp_path / "engine.log").read_text().startswith("loading the model\nloading the model\n")


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
