"""Writes to SQLite for everybody, one after the other, and waits for the disk once for all who wait.

SQLite takes one writer at a time, and each commit waits for the disk. Here the writers stand in one queue, and whoever
is in it when the disk is free is committed together with the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextvars import copy_context
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from handoff.metrics import WRITE_GROUP

Work = Callable[[Session], Any]
Waiting = tuple[Callable[[Connection], Any], Future[Any]]

#: Written in one transaction at most: others who write, such as a command, get their turn.
MOST_AT_ONCE = 64


class Writer:
    """A thread that runs pieces of work, each all or nothing, and reports each when it is stored."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._queue: SimpleQueue[Waiting | None] = SimpleQueue()
        self._thread: Thread | None = None

    def put(self, work: Work) -> Future[Any]:
        """Run `work(session)` in its turn; the future holds what it returns, once it is committed."""
        if self._thread is None:
            self._thread = Thread(target=self._run, name="database-writer", daemon=True)
            self._thread.start()
        stored: Future[Any] = Future()
        # The thread serves everybody: what it logs for us must name our message.
        ours = copy_context()
        self._queue.put((lambda connection: ours.run(_worked, work, connection), stored))
        return stored

    def close(self) -> None:
        """Finish what waits."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while (first := self._queue.get()) is not None:
            waiting = [first, *self._more()]
            last = waiting[-1] is None
            self._store([each for each in waiting if each is not None])
            if last:
                return

    def _more(self) -> Iterator[Waiting | None]:
        """Who has come meanwhile, up to the end if that is among them."""
        for _ in range(MOST_AT_ONCE - 1):
            try:
                each = self._queue.get_nowait()
            except Empty:
                return
            yield each
            if each is None:
                return

    def _store(self, waiting: list[Waiting]) -> None:
        waiting = [(work, stored) for work, stored in waiting if stored.set_running_or_notify_cancel()]
        results: list[tuple[Future[Any], Any]] = []
        try:
            with self._engine.begin() as connection:
                for work, stored in waiting:
                    try:
                        results.append((stored, work(connection)))
                    except OperationalError:
                        raise  # a full or broken disk: SQLite may have given up the transaction of all of them
                    except Exception as problem:  # noqa: BLE001 - only its own work is undone; its owner hears of it
                        stored.set_exception(problem)
        except Exception as problem:  # noqa: BLE001 - nothing was stored; each owner hears of it
            for _, stored in waiting:
                if not stored.done():
                    stored.set_exception(problem)
        else:
            WRITE_GROUP.observe(len(results))
            for stored, result in results:
                stored.set_result(result)


def _worked(work: Work, connection: Connection) -> Any:
    """The work's result; what it did is undone when it raises."""
    session = Session(connection, join_transaction_mode="create_savepoint", expire_on_commit=False)
    with session, session.begin():
        return work(session)
