"""Runs Rasa as a child process and starts it again whenever it ends or no longer answers."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

from bot.engine.serve import QUIET
from handoff.errors import HandoffError

log = logging.getLogger(__name__)

ROOT = Path(__file__).parent.parent
PYTHON = ROOT / "rasa-env" / ".venv" / "bin" / "python"
MODEL = ROOT / "models" / "support.tar.gz"

#: How long a child may take to end by itself; the whole service has ten seconds.
STOP_TIMEOUT_S = 4.0
FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 10.0
#: A child that lived this long had started well; its end is not part of a row of failures.
LONG_LIFE_S = 60.0
#: A child that lives and says for this long that it is not ready is ended: Rasa goes on without a model when loading
#: one failed. A start takes 10 s; the time doubles with each such end, so that a very slow machine gets there too.
PATIENCE_S = 60.0
ASKED_EVERY_S = 1.0


class EngineNotInstalled(HandoffError):
    """Rasa's environment or the model is missing; the message says which command makes it."""


def free_port() -> int:
    """A port on loopback that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class EngineProcess:
    """The child `python -m bot.engine.serve`, on its own Python."""

    def __init__(
        self, *, port: int, model: Path, environment: dict[str, str], log_file: Path, patience_s: float | None = None
    ) -> None:
        """`environment` holds what endpoints.yml names, secrets among it; the first start may take `patience_s`."""
        self._command = [str(PYTHON), "-m", "bot.engine.serve", "--port", str(port), "--model", str(model)]
        self._environment = os.environ | QUIET | environment
        self._log_file = log_file
        #: How often a child was started; one that does not last is started again.
        self.starts = 0
        self._child: asyncio.subprocess.Process | None = None
        self._patience_s = patience_s or PATIENCE_S

    async def run(self, ready: Callable[[], Awaitable[bool]]) -> None:
        """Keep a child running until cancelled; `ready` asks it whether it would answer."""
        wait = FIRST_WAIT_S
        try:
            while True:
                started = asyncio.get_running_loop().time()
                try:
                    self._child = await self._started()
                except OSError as problem:  # memory, processes or files are short; the other engines go on
                    log.error("the engine cannot be started, trying again in %.0f s: %s", wait, problem)
                else:
                    code = await self._ended(self._child, ready)
                    if asyncio.get_running_loop().time() - started > LONG_LIFE_S:
                        wait = FIRST_WAIT_S
                    log.error(
                        "the engine ended with code %s; see %s; starting it again in %.0f s", code, self._log_file, wait
                    )
                await asyncio.sleep(wait)
                wait = min(wait * 2, LONGEST_WAIT_S)
        finally:
            await self._stop()

    async def _started(self) -> asyncio.subprocess.Process:
        with self._log_file.open("ab") as output:
            child = await asyncio.create_subprocess_exec(
                *self._command, stdin=asyncio.subprocess.PIPE, stdout=output, stderr=output,
                cwd=ROOT, env=self._environment,
            )  # fmt: skip
        self.starts += 1
        return child

    async def _ended(self, child: asyncio.subprocess.Process, ready: Callable[[], Awaitable[bool]]) -> int:
        watch = asyncio.create_task(self._watch(child, ready))
        try:
            return await child.wait()
        finally:
            watch.cancel()

    async def _watch(self, child: asyncio.subprocess.Process, ready: Callable[[], Awaitable[bool]]) -> None:
        """End a child that has been running without being ready for too long."""
        now = asyncio.get_running_loop().time
        last_ready = now()
        while now() - last_ready < self._patience_s:
            await asyncio.sleep(ASKED_EVERY_S)
            if await ready():
                last_ready = now()
                self._patience_s = PATIENCE_S
        log.error("the engine was not ready for %.0f s; ending it", self._patience_s)
        self._patience_s *= 2
        child.kill()

    async def _stop(self) -> None:
        child = self._child
        if child is None or child.returncode is not None:
            return
        child.terminate()
        try:
            await asyncio.wait_for(child.wait(), STOP_TIMEOUT_S)
        except TimeoutError:
            child.kill()
            await child.wait()
