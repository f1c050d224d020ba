"""The system as a person starts it: a process group on a port and a folder of its own."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any, TypeVar, cast

import httpx

from bot.demo.mailboxes import Mailboxes
from bot.engine.serve import QUIET
from bot.engine_process import MODEL, PYTHON

ROOT = Path(__file__).parents[2]
SUPPORT = Path(sys.prefix) / "bin" / "support"
AGENTS = "agents@jeans.example"

#: A start takes about 20 s on two free cores, four times as long on busy ones.
START_S = 240.0

#: `SIGTERM` ends every process within this time (contract.md).
END_S = 10.0

#: Ports that Linux never gives out by itself (ip_local_port_range begins at 32768): one of those could be taken by
#: somebody else's connection while the service is down.
PORTS = range(20_000, 32_000)

T = TypeVar("T")


def wait_for(found: Callable[[], T | None], what: str, within_s: float = 30.0, every_s: float = 0.05) -> T:
    """Ask until something is found; the first answer that is neither None, False nor empty."""
    deadline = time.monotonic() + within_s
    while not (answer := found()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {within_s:.0f} s")
        time.sleep(every_s)
    return answer


def lasting_port() -> int:
    """A port on loopback that stays ours while nobody listens on it."""
    for port in random.sample(PORTS, 100):
        with closing(socket.socket()) as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port
    raise AssertionError("no free port")


@contextmanager
def own_engine(
    folder: Path, service_port: int, *, tracker_db: str = "", redis_url: str = ""
) -> Iterator[dict[str, str]]:
    """An engine that outlives the service, as on another machine; gives the settings that lead the service to it."""
    port, token = lasting_port(), "a-token-of-both"
    environment = os.environ | QUIET | {
        "RASA_TOKEN": token, "ACTIONS_TOKEN": token, "SHOP_FILE": str(ROOT / "shop.yml"),
        "ACTIONS_URL": f"http://127.0.0.1:{service_port}/actions/webhook", "REDIS_URL": redis_url,
        "TRACKER_DB": tracker_db or str(folder / "trackers.db"),
    }  # fmt: skip
    with (folder / "engine.log").open("ab") as output, subprocess.Popen(
        [str(PYTHON), "-m", "bot.engine.serve", "--port", str(port), "--model", str(MODEL)],
        cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=output, stderr=output,
    ) as engine:  # fmt: skip
        try:
            yield {"RASA_URL": f"http://127.0.0.1:{port}", "RASA_TOKEN": token}
        finally:
            engine.kill()


class Running:
    """`support demo` or `support run`; what it prints goes to `log`."""

    def __init__(self, folder: Path, command: str = "demo", *, port: int | None = None, **settings: str) -> None:
        self.data_dir = folder / "data"
        self.log = folder / "service.log"
        self.port = port or lasting_port()
        self.url = f"http://127.0.0.1:{self.port}"
        # Connections are not kept: one to a service that was killed meanwhile would fail the next request.
        self.http = httpx.Client(base_url=self.url, timeout=60, limits=httpx.Limits(max_keepalive_connections=0))
        self._folder = folder
        self._command = command
        self.settings = settings
        own = {"DATA_DIR": str(self.data_dir), "SHOP_FILE": str(ROOT / "shop.yml")}
        ports = {"DEMO_PORT": str(self.port), "HTTP_PORT": str(self.port)}
        self._environment = os.environ | own | ports | settings
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> float:
        """Start and wait until a message would be answered; how long that took, in seconds."""
        began = time.monotonic()
        self.spawn()
        wait_for(self._came_up, "a service that is ready", START_S, every_s=0.5)
        return time.monotonic() - began

    def spawn(self) -> None:
        """Start and do not wait."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as output:
            # In a folder of the test's own: a developer's .env must not count.
            self._process = subprocess.Popen(
                [SUPPORT, self._command], stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                cwd=self._folder, env=self._environment, start_new_session=True,
            )  # fmt: skip

    def _came_up(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"the service ended by itself:\n{self.log.read_text()[-3000:]}"
        return self.ready()

    def ready(self) -> bool:
        """Whether it says that a message would be answered."""
        try:
            return self.http.get("/readyz", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """End the whole group at once, as a power cut does."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(END_S)
        wait_for(lambda: not self.processes(), "an end of all processes", END_S, every_s=0.01)

    def end(self) -> float:
        """Ask the service to end, as an operator does; how long it took until nothing was left, in seconds."""
        assert self._process is not None
        began = time.monotonic()
        self._process.terminate()
        wait_for(
            lambda: self._process.poll() is not None and not self.processes(), "an end of all processes", 3 * END_S
        )
        return time.monotonic() - began

    def clean_up(self) -> None:
        """Leave nothing behind, whatever state a test left it in."""
        self.http.close()
        if self._process is not None and self.processes():
            self.kill()

    def processes(self) -> dict[int, str]:
        """Command lines of the group's living processes."""
        assert self._process is not None
        return {pid: command for pid, group, command in _all_processes() if group == self._process.pid}

    def engine(self) -> int | None:
        """The process id of Rasa."""
        return next(iter(self.engines()), None)

    def engines(self) -> dict[int, str]:
        """Command lines of all engines that the service has started."""
        return {pid: command for pid, command in self.processes().items() if "bot.engine.serve" in command}

    def command(self, *arguments: str | Path, code: int = 0) -> str:
        """What `support ...` prints when it works on the same folder."""
        done = subprocess.run(
            [SUPPORT, *arguments], capture_output=True, text=True, cwd=self._folder, env=self._environment, check=False
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def tickets(self) -> list[dict[str, Any]]:
        """All tickets as outside programs see them."""
        return [json.loads(line) for line in self.command("tickets", "--json").splitlines()]

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Rows of the service's database, read beside it."""
        path = self.data_dir / "support.db"
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=20)) as database:
            return database.execute(query, values).fetchall()

    def write(self, *changes: tuple[object, ...]) -> None:
        """Change the service's database in one transaction; each change is a statement and its values."""
        with closing(sqlite3.connect(self.data_dir / "support.db", timeout=20)) as database, database:
            for statement, *values in changes:
                database.execute(str(statement), values)

    def letters(self, address: str) -> list[EmailMessage]:
        """The letters in a mailbox of the demo, the oldest first."""
        stored = Mailboxes(self.data_dir / "demo-mail").letters(address)
        return [cast(EmailMessage, message_from_bytes(letter.raw, policy=default)) for letter in reversed(stored)]


def _all_processes() -> Iterator[tuple[int, int, str]]:
    for place in Path("/proc").glob("[0-9]*"):
        try:
            state, _, group = (place / "stat").read_text().rpartition(")")[2].split()[:3]
            command = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if state not in "ZX":
            yield int(place.name), int(group), command
