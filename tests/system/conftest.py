"""Running systems for the tests: one for all that leave it in order, fresh ones for those that break it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .running import Running


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A demo that tests share; each uses orders and conversations of its own."""
    running = Running(tmp_path_factory.mktemp("demo"))
    try:
        running.start()
        yield running
    finally:
        running.clean_up()


@pytest.fixture
def rested_demo(demo: Running) -> Running:
    """The shared demo, as if the tests before had run two days ago: no limit of handoff/identity.py is used up."""
    demo.write(
        ("UPDATE claim SET at = datetime(at, '-2 days')",),
        ("UPDATE letter_out SET created_at = datetime(created_at, '-2 days')",),
    )
    return demo


@pytest.fixture
def own_demo(tmp_path: Path) -> Iterator[Running]:
    """A demo to kill, not started yet."""
    running = Running(tmp_path)
    try:
        yield running
    finally:
        running.clean_up()


@pytest.fixture(scope="module")
def restarted_demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A demo that the tests of a module end and start again; they use it as `up`."""
    running = Running(tmp_path_factory.mktemp("restarted"))
    try:
        yield running
    finally:
        running.clean_up()
