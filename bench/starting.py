"""Measures a start of the demo from installed environments, the memory of its processes, the disk of the environments.

    python -m bench.starting

Cold means that no process runs yet; the files may still be in the machine's memory, as they are after an installation.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

from bench.engines import ENGINE_ENV, STOCK_ENV
from bench.figures import ROOT, Figures, show
from bench.processes import sample
from tests.system.chat import Chat
from tests.system.running import Running, wait_for

STARTS = 3

#: The demo's page answers every few milliseconds while a start is timed.
ASKED_EVERY_S = 0.05


def measure() -> Figures:
    """Medians of a few starts; `cold_start_s` ends when the first message of a customer is answered."""
    ready, answered, memory = [], [], {}
    for _ in range(STARTS):
        with tempfile.TemporaryDirectory() as folder:
            demo = Running(Path(folder))
            try:
                begun = time.monotonic()
                demo.spawn()
                wait_for(demo.ready, "a demo that is ready", 240, ASKED_EVERY_S)
                ready.append(time.monotonic() - begun)
                Chat(demo, "en").say("do you exchange jeans that don't fit?")
                answered.append(time.monotonic() - begun)
                memory = _memory(demo)
            finally:
                demo.clean_up()
    return {
        "cold_start_s": round(statistics.median(answered), 1),
        "cold_start_ready_s": round(statistics.median(ready), 1),
        "memory_after_start_mb": memory,
        "disk_mb": {
            "service": _disk_mb(Path(sys.prefix)),
            "engine": _disk_mb(ENGINE_ENV),
            "model": _disk_mb(ROOT / "models"),
            "stock": _disk_mb(STOCK_ENV) if STOCK_ENV.exists() else None,
        },
    }


def _memory(demo: Running) -> dict[str, int]:
    found = {}
    for pid, command in demo.processes().items():
        if (now := sample(pid)) is not None:
            found["engine" if "bot.engine.serve" in command else "service"] = round(now.rss_mb)
    return found


def _disk_mb(folder: Path) -> int:
    """What its files take, each once however many names it has."""
    sizes = {}
    for path in folder.resolve().rglob("*"):
        if path.is_file() and not path.is_symlink():
            found = path.stat()
            sizes[found.st_dev, found.st_ino] = found.st_blocks * 512
    return round(sum(sizes.values()) / 1e6)


if __name__ == "__main__":
    show(measure())
