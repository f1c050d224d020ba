"""Two engines to be compared: ours as the service runs it, and what `rasa init` sets up on a stock `rasa run`."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from ruamel.yaml import YAML

from bench.figures import ROOT, tell
from tests.system.running import Running, lasting_port, own_engine

ENGINE_ENV = ROOT / "rasa-env" / ".venv"
#: The stock needs TensorFlow; where our own environment has none, the benchmark makes one of its own.
STOCK_ENV = ROOT / ".make" / "stock" / ".venv"
#: The fresh project, trained when it is made and kept for the next run.
STOCK_PROJECT = ROOT / ".make" / "stock" / "project"
LOCKS = (ROOT / "rasa-env" / "full.lock", ROOT / "rasa-env" / "requirements.lock")

#: Only what keeps Rasa quiet: nothing that changes how it works.
STOCK_QUIET = {
    "RASA_TELEMETRY_ENABLED": "false",
    "SQLALCHEMY_SILENCE_UBER_WARNING": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "PYTHONWARNINGS": "ignore",
}

#: The default trains for a minute and starts for half of one on two free cores.
INIT_S, START_S = 900, 600.0

#: One conversation of the default's own examples, each answered by one text: its stories and rules in a row.
STOCK_INTENTS = ("greet", "mood_great", "bot_challenge", "goodbye", "bot_challenge")


class StockMissing(Exception):
    """There is nothing to compare with; the message says why."""


@dataclass(frozen=True)
class Engine:
    """A running engine: its REST channel and its process."""

    url: str
    pid: int


@dataclass(frozen=True)
class OurEngine(Engine):
    """With the service that holds its actions."""

    service: Running


@contextmanager
def our_engine() -> Iterator[OurEngine]:
    """Our engine with the trained model and durable trackers; its actions are those of a real service beside it."""
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), lasting_port()
        with own_engine(folder, port) as settings:
            service = Running(folder, "run", port=port, **settings)
            try:
                service.start()
                url = f"{settings['RASA_URL']}/webhooks/rest/webhook?token={settings['RASA_TOKEN']}"
                yield OurEngine(url, _pid_of("bot.engine.serve", settings["RASA_URL"]), service)
            finally:
                service.clean_up()


@contextmanager
def stock_engine() -> Iterator[Engine]:
    """A fresh default project, trained once, on its own server with all defaults.

    Raises:
        StockMissing: its environment, its training or its server failed.
    """
    python = _stock_python()
    if not any(STOCK_PROJECT.glob("models/*.tar.gz")):
        tell("training what `rasa init` sets up, about a minute")
        shutil.rmtree(STOCK_PROJECT, ignore_errors=True)
        STOCK_PROJECT.mkdir(parents=True)
        _run([str(python), "-m", "rasa", "init", "--no-prompt", "--init-dir", str(STOCK_PROJECT)], ROOT, INIT_S)
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), lasting_port()
        command = [str(python), "-m", "rasa", "run", "--interface", "127.0.0.1", "--port", str(port)]
        with (folder / "server.log").open("wb") as log, subprocess.Popen(  # noqa: S603 - our own command
            command, cwd=STOCK_PROJECT, env=os.environ | STOCK_QUIET, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        ) as server:  # fmt: skip
            try:
                url = f"http://127.0.0.1:{port}"
                deadline = time.monotonic() + START_S
                while not _answers(url):
                    if server.poll() is not None or time.monotonic() > deadline:
                        said = (folder / "server.log").read_text()[-500:]
                        raise StockMissing(f"the stock engine does not answer: {said}")
                    time.sleep(0.2)
                yield Engine(f"{url}/webhooks/rest/webhook", server.pid)
            finally:
                server.kill()


def stock_conversations() -> Iterator[list[str]]:
    """Conversations that the default understands, for ever: the examples that it was trained on, in turn."""
    data = YAML(typ="safe").load(STOCK_PROJECT / "data" / "nlu.yml")
    examples = {
        block["intent"]: [line.removeprefix("- ") for line in block["examples"].splitlines()] for block in data["nlu"]
    }
    number = 0
    while True:
        yield [examples[intent][(number + place) % len(examples[intent])] for place, intent in enumerate(STOCK_INTENTS)]
        number += 1


def has_tensorflow(environment: Path) -> bool:
    """Whether TensorFlow is installed there."""
    return any((environment / "lib").glob("python*/site-packages/tensorflow/__init__.py"))


def _stock_python() -> Path:
    """The Python of an environment that the default runs in, made if there is none."""
    if has_tensorflow(ENGINE_ENV):
        return ENGINE_ENV / "bin" / "python"
    python, made = STOCK_ENV / "bin" / "python", STOCK_ENV / ".installed"
    if made.exists():
        return python
    uv = ROOT / ".uv" / "bin" / "uv"
    found = str(uv) if uv.exists() else shutil.which("uv")
    lock = next((lock for lock in LOCKS if lock.exists()), None)
    if found is None or lock is None:
        raise StockMissing("no environment with TensorFlow, and no uv or lock file to make one: run `make setup`")
    tell(f"making an environment with TensorFlow for the comparison, 2.5 GB, in {STOCK_ENV.relative_to(ROOT)}")
    # In the folder whose .python-version names Rasa's Python.
    _run([found, "venv", "--quiet", "--clear", str(STOCK_ENV)], ROOT / "rasa-env", INIT_S)
    install = [found, "pip", "sync", "--quiet", "--compile-bytecode", "--python", str(python), "--require-hashes"]
    _run([*install, str(lock)], ROOT, INIT_S)
    made.touch()
    return python


def _run(command: list[str], folder: Path, within_s: float) -> None:
    try:
        done = subprocess.run(  # noqa: S603 - our own commands
            command, cwd=folder, env=os.environ | STOCK_QUIET, capture_output=True, text=True, timeout=within_s,
            stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise StockMissing(f"not within {within_s:.0f} s: {' '.join(command[:4])}") from None
    if done.returncode:
        raise StockMissing(f"{' '.join(command[:4])} failed: {(done.stderr or done.stdout).strip()[-500:]}")


def _answers(url: str) -> bool:
    """Whether the default's model is loaded: its REST channel answers with words."""
    try:
        said = httpx.post(f"{url}/webhooks/rest/webhook", json={"sender": "ready", "message": "hello"}, timeout=60)
    except httpx.HTTPError:
        return False
    return said.status_code == 200 and bool(said.json())


def _pid_of(*words: str) -> int:
    port = words[-1].rpartition(":")[2]
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = place.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if words[0] in command and port in command:
            return int(place.parent.name)
    return 0
