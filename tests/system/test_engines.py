"""Several engines of one service: they share conversations, die alone, and change their model one after the other."""

from __future__ import annotations

import asyncio
import os
import signal
import tarfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from bot.engine_process import MODEL
from bot.rasa import RasaClient
from handoff.database import Database

from ..postgresql import is_installed, own_server
from ..redis_server import PASSWORD, redis_server
from .crowd import Crowd
from .running import END_S, START_S, Running, lasting_port, own_engine, wait_for

pytestmark = pytest.mark.engine

CUSTOMERS = 12


@pytest.fixture
def several(tmp_path: Path) -> Iterator[tuple[Running, list[RasaClient]]]:
    """A service with two engines of their own on PostgreSQL and Redis, as on other machines."""
    if not is_installed():
        pytest.skip("PostgreSQL's initdb and pg_ctl are not installed")
    with ExitStack() as at_end:
        # The server asks for no password, but whoever connects has one that must not be seen.
        database = at_end.enter_context(own_server()).replace("shop@", f"shop:{PASSWORD}@")
        redis_url, _ = at_end.enter_context(redis_server())
        trackers = database.replace("+psycopg", "")
        port = lasting_port()
        engines = []
        for number in (1, 2):
            (folder := tmp_path / str(number)).mkdir()
            engine = own_engine(folder, port, tracker_db=trackers, redis_url=redis_url)
            engines.append(at_end.enter_context(engine))
        urls = ",".join(engine["RASA_URL"] for engine in engines)
        settings = engines[0] | {"RASA_URL": urls, "DATABASE_URL": database, "SECRET_KEY": "s" * 32}
        running = Running(tmp_path, "run", port=port, IMAP_URL="", SMTP_URL="", **settings)
        at_end.callback(running.clean_up)
        running.start()
        yield running, [RasaClient(engine["RASA_URL"], engine["RASA_TOKEN"]) for engine in engines]


@pytest.fixture
def database(several) -> Iterator[Database]:
    database = Database(several[0].settings["DATABASE_URL"])
    yield database
    database.close()


def test_engines_on_postgresql_share_conversations_and_one_may_die(several, database, tmp_path):
    """The warm tracker of one is not believed once another has played a turn; nothing is lost with either."""
    service, clients = several
    for client in clients:
        wait_for(lambda client=client: _is_ready(client), "an engine", START_S)
    asyncio.run(_alternating(clients))

    crowd = Crowd(database, CUSTOMERS)
    crowd.write(6)
    crowd.wait(CUSTOMERS)
    _kill_listener(clients[0].base_url)
    crowd.write(2)
    crowd.wait()

    waited = crowd.check_answers()
    print(f"{len(waited)} messages; the longest wait was {max(waited.values()):.2f} s")  # noqa: T201
    crowd.check_trackers(database)
    assert service.ready()
    assert service.command("stuck") == ""
    for log in tmp_path.rglob("*.log"):
        assert PASSWORD not in log.read_text(), log


async def _alternating(clients: list[RasaClient]) -> None:
    """One conversation, each turn in the other engine; then both know all of it."""
    sender, answers = "web:alternating", []
    for turn in range(6):
        answer = await clients[turn % 2].say(sender, "How do I measure myself?", "web", {"key": f"k{turn}"})
        answers.append(answer.text)
    trackers = [await client._call("GET", f"/conversations/{sender}/tracker") for client in clients]
    for client in clients:
        await client.close()
    for tracker in trackers:
        users = [event for event in tracker["events"] if event["event"] == "user"]
        assert [event["metadata"]["key"] for event in users] == [f"k{turn}" for turn in range(6)]
    assert trackers[0]["events"] == trackers[1]["events"]
    # Who asks the same again hears other words: each engine knew what the other had said.
    assert answers[0] != answers[1] != answers[2]


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Running]:
    """A service that starts two engines itself, on one SQLite file."""
    running = Running(tmp_path, "run", ENGINES="2", RASA_URL="", IMAP_URL="", SMTP_URL="", REDIS_URL="")
    try:
        running.start()
        wait_for(lambda: len(running.engines()) == 2, "two engines")
        yield running
    finally:
        running.clean_up()


def test_a_model_is_swapped_under_traffic_and_a_broken_one_refused(own, tmp_path):
    """No turn meets an engine that is away, nothing is lost; and the end comes in time in the middle of going back."""
    database = Database(f"sqlite:///{own.data_dir / 'support.db'}")
    crowd, swapped = Crowd(database, CUSTOMERS), threading.Event()
    before = set(own.engines())

    def keep_writing() -> None:
        while not swapped.wait(1.0):
            crowd.write()

    writing = threading.Thread(target=keep_writing)
    writing.start()
    try:
        told = own.command("model", "deploy", MODEL)
    finally:
        swapped.set()
        writing.join()
    crowd.wait()

    assert "serving" in told
    assert len(own.engines()) == 2
    assert not before & set(own.engines())
    waited = crowd.check_answers()
    assert _turns(own) == {"answered": len(waited)}  # each was played once: between the engines there was no gap
    crowd.check_trackers(Database(f"sqlite:///{own.data_dir / 'trackers.db'}"))
    assert own.command("stuck") == ""
    print(f"{len(waited)} messages during the swap; the longest wait was {max(waited.values()):.2f} s")  # noqa: T201

    broken = tmp_path / "broken.tar.gz"
    with tarfile.open(MODEL) as model, tarfile.open(broken, "w:gz") as archive:
        member = model.getmember("metadata.json")
        archive.addfile(member, model.extractfile(member))
    assert "could not load it" in own.command("model", "deploy", broken, code=1)
    assert own.ready()

    going_back = threading.Thread(target=own.command, args=("model", "rollback"), kwargs={"code": 1})
    going_back.start()
    wait_for(lambda: len(own.engines()) == 3, "the engine that is tried")
    took_s = own.end()
    going_back.join()
    assert took_s <= END_S
    database.close()


def _turns(service: Running) -> dict[str, int]:
    """How many turns ended how, as Prometheus is told."""
    families = text_string_to_metric_families(service.http.get("/metrics").text)
    samples = [sample for family in families for sample in family.samples if sample.name == "support_turns_total"]
    return {sample.labels["outcome"]: int(sample.value) for sample in samples if sample.value}


def _is_ready(client: RasaClient) -> bool:
    try:
        return httpx.get(f"{client.base_url}/status", params={"token": client.token}, timeout=3).status_code == 200
    except httpx.HTTPError:
        return False


def _kill_listener(url: str) -> None:
    """Kill the engine at an address, however it was started."""
    port = url.rpartition(":")[2]
    for place in Path("/proc").glob("[0-9]*"):
        try:
            words = (place / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        assert PASSWORD not in " ".join(words)
        if "bot.engine.serve" in words and port in words:
            os.kill(int(place.name), signal.SIGKILL)
            return
    raise AssertionError(f"no engine listens at {url}")
