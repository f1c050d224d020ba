"""Engines that the service starts itself: a model is swapped while they answer, and a bad one never serves."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

import bot.engine_process
import bot.model_check
import bot.own_engines
from bot.engine_process import EngineNotInstalled
from bot.engines import Engines
from bot.model_check import ModelCheck
from bot.model_report import follow, lines
from bot.model_store import DeploymentUnderWay, ModelStore, NoSuchModel, Wanted
from bot.own_engines import Child, OwnEngines
from bot.rasa import EngineAway

from .fake_engine import SURE, make_model

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An environment in which the engine is `fake_engine`, and a trained model."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nshift 2\nPYTHONPATH={ROOT} exec {sys.executable} -m tests.bot.fake_engine "$@"\n')
    python.chmod(0o700)
    monkeypatch.setattr(bot.engine_process, "PYTHON", python)
    monkeypatch.setattr(bot.engine_process, "FIRST_WAIT_S", 0.01)
    for module in (bot.own_engines, bot.model_check):
        for name in ("LOOKED_EVERY_S", "ASKED_EVERY_S"):
            monkeypatch.setattr(module, name, 0.02, raising=False)
    (tmp_path / "heard").touch()
    make_model(tmp_path / "support.tar.gz")
    return tmp_path


@pytest.fixture
def store(folder):
    return ModelStore(folder / "var", folder / "support.tar.gz")


@pytest.fixture
def own(folder, store, running, eventually):
    """Starts a service's engines; gives them once they answer."""
    forgotten = []

    @asynccontextmanager
    async def start(count=1):
        engines = Engines()
        children = OwnEngines(
            engines,
            store,
            ModelCheck(ROOT / "data" / "sure.yml", forgotten.append),
            count=count,
            environment={"HEARD": str(folder / "heard")},
            log_file=folder / "engine.log",
        )
        try:
            async with running(children.run), running(engines.run):
                await eventually(lambda: len(engines._places) == count)
                await eventually(lambda: all(place.ready for place in engines._places.values()))
                yield engines
        finally:
            await engines.close()
        # What a check says in a conversation of its own is forgotten, and nothing else is.
        heard = [line.split()[1] for line in (folder / "heard").read_text().splitlines()]
        assert forgotten == [sender_id for sender_id in heard if sender_id.startswith("check:")]

    return start


async def model_of(engines, sender_id="web:a"):
    """Which model answers a conversation."""
    answer = await engines.say(sender_id, "hello", "web", {"key": os.urandom(8).hex()})
    return answer.text.partition(".tar.gz")[0]


async def swap(store, model, *, proved=False):
    """What `support model deploy` does, or `rollback` with a name; what it tells and whether it succeeded."""
    name = model if isinstance(model, str) else store.keep(model, datetime.now(UTC))
    wanted, told = Wanted(name, proved), []
    with store.deploying():
        store.want(wanted)
        done = await asyncio.to_thread(follow, store, wanted, told.append)
    return name, done, told


async def test_a_new_model_takes_over_without_a_gap_and_the_next_start_has_it(own, store, folder):
    async with own(count=2) as engines:
        first = await model_of(engines)
        talking, answered = True, []

        async def talk(sender_id):
            while talking:
                answered.append(await model_of(engines, sender_id))

        crowd = [asyncio.create_task(talk(f"web:{number}")) for number in range(6)]
        name, done, told = await swap(store, make_model(folder / "new.tar.gz"))
        talking = False
        await asyncio.gather(*crowd)

        assert done, told
        assert {await model_of(engines, f"web:{number}") for number in range(6)} == {name}
        assert set(answered) == {first, name}
    async with own() as engines:
        assert await model_of(engines) == name
    assert first != name


async def test_a_model_that_takes_sure_messages_for_something_else_is_refused(own, store, folder):
    """The old one goes on, also after a restart; the operator reads what was wrong."""
    text, mistaken = next(iter(SURE)), "oos"
    bad = make_model(folder / "bad.tar.gz", **{text: mistaken})
    async with own() as engines:
        first = await model_of(engines)

        name, done, told = await swap(store, bad)

        assert not done
        assert f"“{text}” is oos, not {SURE[text]}" in told[-1]
        assert await model_of(engines) == first
        assert f"refused {name}" in "\n".join(lines(store))
    async with own() as engines:
        assert await model_of(engines) == first
        assert store.wanted() is None


async def test_a_model_that_does_not_load_is_refused(own, store, folder):
    async with own() as engines:
        first = await model_of(engines)

        _, done, told = await swap(store, make_model(folder / "bad.tar.gz", broken=True))

        assert not done
        assert "could not load it" in told[-1]
        assert await model_of(engines) == first
    assert store.serving() == first


async def test_a_model_of_another_kind_is_refused_and_disturbs_nobody(own, store, folder):
    """Whatever it says: the engine that answers is not even started again."""
    async with own() as engines:
        first, answering = await model_of(engines), _children(folder)

        _, done, _ = await swap(store, make_model(folder / "other.tar.gz", strange=True))

        assert not done
        assert await model_of(engines) == first
        assert _children(folder) == answering


async def test_an_engine_that_dies_with_the_model_refuses_it(own, store, folder):
    async with own() as engines:
        first = await model_of(engines)
        bad = store.path(store.keep(make_model(folder / "bad.tar.gz"), datetime.now(UTC)))
        bad.write_bytes(b"half of a file")

        _, done, told = await swap(store, bad.name.removesuffix(".tar.gz"))

        assert not done
        assert "ended while it loaded" in told[-1]
        assert await model_of(engines) == first


async def test_a_model_is_tried_again_when_it_was_not_to_blame(own, store, folder, eventually, monkeypatch):
    """A folder that cannot be written for a moment, trackers that are away; the engine that answers goes on."""
    monkeypatch.setattr(bot.own_engines, "RETRY_S", 0.3)
    async with own() as engines:
        first, answering = await model_of(engines), _children(folder)
        name, serving = (
            store.keep(make_model(folder / "new.tar.gz"), datetime.now(UTC)),
            folder / "var" / "models" / "serving",
        )
        serving.unlink()
        serving.mkdir()
        store.want(Wanted(name))

        await eventually(lambda: any("IsADirectoryError" in doing.state for doing in store.services()))
        assert await model_of(engines) == first
        assert set(answering) <= set(_children(folder))
        serving.rmdir()
        await eventually(lambda: store.serving() == name)
        await eventually(lambda: len(_children(folder)) == 1)
        assert await model_of(engines) == name
    assert store.refused() == ""


async def test_what_goes_wrong_beside_the_engines_does_not_end_them(own, store, folder, eventually, monkeypatch):
    monkeypatch.setattr(bot.own_engines, "RETRY_S", 0.02)
    async with own():
        answering, wanted = _children(folder), folder / "var" / "models" / "wanted"
        wanted.write_text("{")  # half a file, by somebody's hand
        await asyncio.sleep(0.3)
        wanted.unlink()
        _, done, told = await swap(store, store.serving())

        assert done, told
        assert _children(folder) == answering


def test_what_goes_while_it_is_looked_at_is_gone(store, monkeypatch):
    """A command writes and removes these files while services read them."""
    monkeypatch.setattr(Path, "exists", lambda self: True)

    assert store.refused() == ""


async def test_going_back_needs_no_examples_and_can_be_repeated(own, store, folder):
    """An older model may not know a newer topic; it has served before, and somebody is in a hurry."""
    text = next(iter(SURE))
    make_model(folder / "support.tar.gz", **{text: "oos"})
    async with own() as engines:
        first = await model_of(engines)
        second, *_ = await swap(store, make_model(folder / "second.tar.gz"))
        third, *_ = await swap(store, make_model(folder / "third.tar.gz"))
        assert await model_of(engines) == third

        for earlier in (second, first):
            name, done, told = await swap(store, store.before(), proved=True)
            assert (name, done) == (earlier, True), told
            assert await model_of(engines) == earlier
        with pytest.raises(NoSuchModel, match="no earlier model"):
            store.before()


async def test_an_engine_that_is_being_stopped_when_the_service_stops_leaves_no_connection(rasa, client):
    """A process needs a while to end, and the service may not wait for the one that has just been replaced."""
    assert await client.ready()

    async def ends_slowly():
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.2)

    child = Child("model", None, client, asyncio.create_task(ends_slowly()))
    await asyncio.sleep(0)
    stopping = asyncio.create_task(child.stop())
    await asyncio.sleep(0.05)

    stopping.cancel()
    await asyncio.wait({stopping, child.task})

    assert client._http.closed


async def test_without_a_service_the_next_start_tries_the_model(own, store, folder):
    """It begins with the old one, and so answers whatever becomes of the new one."""
    async with own() as engines:
        first = await model_of(engines)

    name, done, told = await swap(store, make_model(folder / "new.tar.gz"))
    assert done
    assert "next start" in told[-1]
    assert store.serving() == first

    async with own() as engines:
        assert await asyncio.to_thread(follow, store, Wanted(name), told.append)
        assert await model_of(engines) == name


async def test_what_was_trained_after_a_deployment_comes_with_the_next_start(own, store, folder):
    """`make train` and `make demo` go on as if nothing had ever been deployed; and rollback leads back."""
    async with own() as engines:
        deployed, *_ = await swap(store, make_model(folder / "new.tar.gz"))
    later = make_model(folder / "support.tar.gz").stat().st_mtime + 60
    os.utime(folder / "support.tar.gz", (later, later))

    async with own() as engines:
        trained = await model_of(engines)
        assert trained not in (deployed, None)
        back, done, told = await swap(store, store.before(), proved=True)
        assert (back, done) == (deployed, True), told


async def test_an_engine_that_dies_comes_back_with_the_model_that_serves(own, store, folder, eventually):
    async with own() as engines:
        name, *_ = await swap(store, make_model(folder / "new.tar.gz"))
        [child] = _children(folder)
        os.kill(child, 9)
        with pytest.raises(EngineAway):
            await model_of(engines)
        await eventually(lambda: engines._places["1"].ready)
        assert await model_of(engines) == name


async def test_the_end_ends_all_engines_in_the_middle_of_a_deployment(own, store, folder, eventually, monkeypatch):
    """The one that is tried too; the next start goes on with the deployment."""
    monkeypatch.setattr(ModelCheck, "passed", lambda *_, **__: asyncio.sleep(60))
    async with own(count=2):
        name = store.keep(make_model(folder / "new.tar.gz"), datetime.now(UTC))
        store.want(Wanted(name))
        await eventually(lambda: len(_children(folder)) == 3)

    assert _children(folder) == []
    assert store.wanted() == Wanted(name)
    assert store.services() == []


async def test_one_command_at_a_time(store):
    with store.deploying(), pytest.raises(DeploymentUnderWay), store.deploying():
        pass


def test_only_the_last_models_are_kept(store, folder):
    model = make_model(folder / "new.tar.gz")
    kept = []
    for second in range(9):
        kept.append(store.keep(model, datetime(2026, 11, 22, 10, 0, second, tzinfo=UTC)))
        store.serve(kept[-1])

    assert store.names() == kept[-bot.model_store.KEPT :]


def test_trainings_do_not_fill_the_disk(store, folder):
    """Each start with a new model keeps a copy of it, also where nobody ever deploys one."""
    began = []
    for training in range(9):
        moment = 1_800_000_000 + training
        os.utime(folder / "support.tar.gz", (moment, moment))
        began.append(store.first())
        os.utime(folder / "var" / "models" / "serving", (moment, moment))

    assert store.names() == began[-bot.model_store.KEPT :]


def test_what_was_gone_back_from_is_not_gone_back_to(store, folder):
    """After a rollback the one that was left goes with the next deployment."""
    model = make_model(folder / "new.tar.gz")
    first, bad = (store.keep(model, datetime(2026, 11, 22, 10, 0, second, tzinfo=UTC)) for second in (1, 2))
    store.serve(first)

    third = store.keep(model, datetime(2026, 11, 22, 10, 0, 3, tzinfo=UTC))
    store.serve(third)

    assert store.before() == first
    assert bad not in store.names()


def test_a_file_that_is_no_model_is_not_deployed(store, folder):
    wrong = folder / "wrong.tar.gz"
    wrong.write_text("no archive")

    with pytest.raises(NoSuchModel, match=r"wrong\.tar\.gz"):
        store.keep(wrong, datetime.now(UTC))
    assert [*(folder / "var" / "models").glob("*")] == []


@pytest.mark.parametrize(("missing", "command"), [("python", "make setup"), ("support.tar.gz", "make train")])
def test_what_is_missing_is_said_with_the_command_that_makes_it(store, folder, missing, command):
    (folder / missing).unlink()

    with pytest.raises(EngineNotInstalled, match=command):
        OwnEngines(Engines(), store, None, count=1, environment={}, log_file=folder / "engine.log")


def _children(folder: Path) -> list[int]:
    """Running engines of this test."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            command = (place / "cmdline").read_bytes()
            alive = (place / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
        except (FileNotFoundError, ProcessLookupError):
            continue
        if alive and b"fake_engine" in command and str(folder).encode() in command:
            found.append(int(place.name))
    return found
