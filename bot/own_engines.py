"""Runs the engines that the service starts itself, and swaps their model while customers are answered."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bot import engine_process
from bot.engine_process import EngineNotInstalled, EngineProcess, free_port
from bot.engines import Engines
from bot.model_check import LOADING_PATIENCE_S, ModelCheck, ModelRefused
from bot.model_store import SERVING, Announcement, ModelStore, Wanted
from bot.rasa import TURN_TIMEOUT_S, RasaClient

log = logging.getLogger(__name__)

#: How often it is looked whether another model is wanted, and whether a new engine is ready.
LOOKED_EVERY_S = 0.3
#: Before a model is tried again that was not to blame: the machine was short of something, the database away.
RETRY_S = 5.0


@dataclass(frozen=True)
class Child:
    """A running engine and its client."""

    model: str
    process: EngineProcess
    client: RasaClient
    task: asyncio.Task[None]

    async def stop(self) -> None:
        """End it; whoever still waits for an answer of it gets none."""
        self.task.cancel()
        try:
            await asyncio.wait({self.task})
        finally:  # also when the service stops meanwhile
            await self.client.close()


class OwnEngines:
    """Children on loopback, named "1", "2" and so on among `Engines`."""

    def __init__(
        self, engines: Engines, store: ModelStore, check: ModelCheck, *,
        count: int, environment: Mapping[str, str], log_file: Path,
    ) -> None:  # fmt: skip
        """The engines' `environment` is what endpoints.yml names; each gets a token of its own besides.

        Raises:
            EngineNotInstalled: Rasa's environment or the model is missing.
            NoSuchModel: the trained model cannot be read.
        """
        if not engine_process.PYTHON.exists():
            raise EngineNotInstalled("Rasa's environment is missing: run `make setup`")
        first = store.first()
        if first is None:
            raise EngineNotInstalled("there is no trained model: run `make train`")
        self._engines, self._store, self._check = engines, store, check
        self._names = [str(number + 1) for number in range(count)]
        self._environment, self._log_file = environment, log_file
        self._first = first

    async def run(self) -> None:
        """Keep the engines running, with the model that is wanted, until cancelled."""
        model = self._store.serving() or self._first
        log.info("the model is %s", self._store.path(model))
        with self._store.announced() as announcement:
            async with asyncio.TaskGroup() as tasks:
                children = {name: self._start(tasks, model) for name in self._names}
                for name, child in children.items():
                    self._engines.put(name, child.client)
                while True:
                    try:
                        await self._look(tasks, children, announcement)
                    except Exception:  # whatever it is, such as a full disk: the engines that answer must go on
                        log.exception("the models cannot be looked after, trying again in %.0f s", RETRY_S)
                        await asyncio.sleep(RETRY_S)

    async def _look(self, tasks: asyncio.TaskGroup, children: dict[str, Child], announcement: Announcement) -> None:
        """Give one engine the model that is wanted, if it has another."""
        wanted = self._store.wanted()
        behind = [name for name, child in children.items() if wanted and child.model != wanted.name]
        if wanted and behind:
            await self._move(tasks, children, behind, wanted, announcement)
        else:
            model = children[self._names[0]].model
            announcement.say(model, model, SERVING)
            await asyncio.sleep(LOOKED_EVERY_S)

    async def _move(
        self, tasks: asyncio.TaskGroup, children: dict[str, Child], behind: list[str], wanted: Wanted,
        announcement: Announcement,
    ) -> None:  # fmt: skip
        """Start one engine beside an old one, try it and put it in its place; the old one ends what it began."""
        name, first = behind[0], len(behind) == len(children)
        serving = children[name].model if first else wanted.name
        announcement.say(serving, wanted.name, f"starting and trying engine {name} of {len(children)}")
        try:
            child = await self._tried(tasks, wanted)
        except Exception as problem:  # noqa: BLE001 - whatever it is, the engines that answer must go on
            reason = str(problem) if isinstance(problem, ModelRefused) else repr(problem)
            log.error("engine %s with the model %s: %s", name, wanted.name, reason)
            announcement.say(serving, wanted.name, f"engine {name}: {reason}")
            if first and isinstance(problem, ModelRefused):
                self._store.refuse(wanted.name, reason)
            else:  # the model has proved itself, or was not to blame
                await asyncio.sleep(RETRY_S)
            return
        if child is None:
            return
        before, children[name] = children[name], child
        await self._replace(name, child, before, announcement)
        log.info("engine %s has the model %s", name, self._store.path(wanted.name))

    async def _tried(self, tasks: asyncio.TaskGroup, wanted: Wanted) -> Child | None:
        """An engine whose model has proved itself and serves from now on; None if another one is wanted by then."""
        child = self._start(tasks, wanted.name, LOADING_PATIENCE_S)
        try:
            await self._check.loaded(child.client, lambda: child.process.starts)
            await self._check.passed(child.client, proved=wanted.proved)
            if self._store.wanted() == wanted:
                self._store.serve(wanted.name)
                return child
        except BaseException:
            await child.stop()
            raise
        await child.stop()
        return None

    async def _replace(self, name: str, child: Child, before: Child, announcement: Announcement) -> None:
        place = self._engines.put(name, child.client, ready=True)
        try:
            announcement.say(child.model, child.model, f"engine {name} takes over")
            if place is not None:
                await place.wait_idle(TURN_TIMEOUT_S)
        finally:
            await before.stop()

    def _start(self, tasks: asyncio.TaskGroup, model: str, patience_s: float | None = None) -> Child:
        port, token = free_port(), secrets.token_urlsafe(24)
        process = EngineProcess(
            port=port,
            model=self._store.path(model),
            environment={**self._environment, "RASA_TOKEN": token},
            log_file=self._log_file,
            patience_s=patience_s,
        )
        client = RasaClient(f"http://127.0.0.1:{port}", token)
        return Child(model, process, client, tasks.create_task(process.run(client.ready)))
