"""Several engines as one: who plays which conversation, and what happens to it while an engine is away."""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import ExitStack

import pytest

import bot.engines
import bot.rasa
from bot.engine_process import free_port
from bot.engines import Engines
from bot.rasa import EngineAway, RasaClient, TurnFailed

from .fake_rasa import TOKEN, FakeRasa, said

CROWD = [f"web:{number}" for number in range(40)]


@pytest.fixture
def rasas():
    """Three engines on one table of trackers, as all engines of a service are; none is running yet."""
    with ExitStack() as at_end:
        rasas = [FakeRasa(free_port()) for _ in range(3)]
        for rasa in rasas:
            rasa.trackers = rasas[0].trackers
            at_end.callback(rasa.stop)
        yield rasas
    assert [rasa.objections for rasa in rasas] == [[], [], []]


@pytest.fixture
def up(rasas):
    for rasa in rasas:
        rasa.start()
    return rasas


@pytest.fixture
async def engines(rasas, monkeypatch):
    monkeypatch.setattr(bot.engines, "ASKED_EVERY_S", 0.02)
    engines = Engines({str(number): RasaClient(rasa.url, TOKEN) for number, rasa in enumerate(rasas)})
    yield engines
    await engines.close()


async def all_ready(engines):
    """Wait until every engine is known to be ready."""
    await asyncio.gather(*(bot.engines._asked(place) for place in engines._places.values()))
    assert all(place.ready for place in engines._places.values())


async def talk(engines, turn, crowd=CROWD):
    """One message of each conversation, all at once."""
    await asyncio.gather(*(engines.say(who, f"{who} says {turn}", "web", {"key": f"{who}:{turn}"}) for who in crowd))


def homes(rasas):
    """Conversation to the engines that heard of it."""
    found = {}
    for number, rasa in enumerate(rasas):
        for request in rasa.requests:
            found.setdefault(request["sender"], set()).add(number)
    return found


async def test_a_conversation_stays_with_its_engine(up, engines):
    """Its tracker is warm there; and every engine has its share."""
    await all_ready(engines)

    for turn in range(3):
        await talk(engines, turn)

    assert {len(where) for where in homes(up).values()} == {1}
    assert all(len(rasa.requests) > len(CROWD) // 4 for rasa in up)


async def test_another_service_deals_conversations_out_alike(up, rasas, engines):
    """A conversation that another service takes over finds its tracker warm too."""
    other = Engines({str(number): RasaClient(rasa.url, TOKEN) for number, rasa in enumerate(rasas)})
    for each in (engines, other):
        await all_ready(each)
        await talk(each, id(each))
    await other.close()

    assert {len(where) for where in homes(up).values()} == {1}


async def test_only_the_conversations_of_an_engine_that_is_away_move_and_they_return(up, engines, running, eventually):
    async with running(engines.run):
        await eventually(lambda: all(place.ready for place in engines._places.values()))
        await talk(engines, 1)
        before = homes(up)
        up[0].stop()
        await talk(engines, 2)
        while_away = homes(up)
        up[0].start()
        await eventually(lambda: all(place.ready for place in engines._places.values()))
        for rasa in up:
            rasa.requests.clear()
        await talk(engines, 3)

    moved = {who for who in CROWD if while_away[who] != before[who]}
    assert moved == {who for who in CROWD if before[who] == {0}}
    assert homes(up) == before
    assert {tuple(up[0].keys(who)) for who in CROWD} == {(f"{who}:1", f"{who}:2", f"{who}:3") for who in CROWD}


async def test_a_turn_that_was_played_before_the_engine_died_is_undone_elsewhere(up, engines, monkeypatch):
    """The tracker holds it, the answer is lost: the other engine would hear the message a second time."""
    monkeypatch.setattr(bot.rasa, "TURN_TIMEOUT_S", 0.5)
    await all_ready(engines)
    await talk(engines, 1, ["web:a"])
    [home] = homes(up)["web:a"]
    answers, release = up[home].answer, threading.Event()
    up[home].answer = lambda request: [release.wait(2), answers(request)][1]  # played and never answered

    await talk(engines, 2, ["web:a"])
    release.set()

    assert len(homes(up)["web:a"]) == 2
    assert up[0].keys("web:a")[:2] == ["web:a:1", "web:a:2"]


async def test_ready_while_one_of_them_is(rasas, engines):
    assert not await engines.ready()
    with pytest.raises(EngineAway):
        await talk(engines, 1, ["web:a"])

    rasas[2].start()

    assert await engines.ready()
    await talk(engines, 1)
    assert {*map(tuple, homes(rasas).values())} == {(2,)}


async def test_ready_as_soon_as_one_of_them_says_so(rasas, monkeypatch):
    """An engine that hangs must not hold up what the others could play."""
    monkeypatch.setattr(bot.rasa, "READY_TIMEOUT_S", 60)
    rasas[0].start()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        urls = {"hangs": f"http://127.0.0.1:{silent.getsockname()[1]}", "answers": rasas[0].url}
        engines = Engines({name: RasaClient(url, TOKEN) for name, url in urls.items()})

        async with asyncio.timeout(10):
            assert await engines.ready()

        await engines.close()


async def test_an_answer_that_is_none_is_not_asked_for_elsewhere(up, engines):
    """Not the engine is away but the turn is broken: the gateway counts such failures."""
    for rasa in up:
        rasa.answer = lambda request: said("")
    assert await engines.ready()

    with pytest.raises(TurnFailed):
        await talk(engines, 1, ["web:a"])

    assert sum(len(rasa.requests) for rasa in up) == 1


async def test_no_engine_at_all_means_away():
    """While the service starts its own."""
    engines = Engines()

    assert not await engines.ready()
    with pytest.raises(EngineAway):
        await engines.undo_turn("web:a", "1")


async def test_an_engine_that_is_replaced_ends_what_it_began(up, engines, eventually):
    """A new one takes its conversations, with the next message of each."""
    await all_ready(engines)
    await talk(engines, 1)
    [home] = homes(up)["web:0"]
    released = up[home].held["web:0"] = threading.Event()
    began = asyncio.create_task(talk(engines, 2, ["web:0"]))
    await eventually(lambda: len(up[home].messages("web:0")) == 2)

    successor = up[(home + 1) % 3]
    before = engines.put(str(home), RasaClient(successor.url, TOKEN), ready=True)
    await talk(engines, 2, [who for who in CROWD if homes(up)[who] == {home} and who != "web:0"])
    waiting = asyncio.create_task(before.wait_idle(10))
    await asyncio.sleep(0)
    assert not waiting.done()
    released.set()
    await asyncio.gather(began, waiting)
    await talk(engines, 3, ["web:0"])
    await before.client.close()

    assert up[home].messages("web:0") == ["web:0 says 1", "web:0 says 2"]
    assert successor.messages("web:0") == ["web:0 says 3"]
    assert up[0].keys("web:0") == ["web:0:1", "web:0:2", "web:0:3"]
