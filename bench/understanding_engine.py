"""Trains one pipeline, or reads messages with it, on Rasa's Python: the child of `bench.understanding`.

One job a process, so that times and memory are this pipeline's own. The job comes as JSON on standard input; the result
goes to the file that the job names, because Rasa writes to standard output itself.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

#: Read before the clock runs: the first messages load what later ones find loaded.
WARM_UP = [f"warm-up, message {number}" for number in range(20)]


def main() -> None:
    """Do the job and write its result."""
    from bot.engine.light import leave_tensorflow_out

    job = json.load(sys.stdin)
    leave_tensorflow_out()
    if find_spec("tensorflow"):
        from rasa.utils.tensorflow.environment import setup_tf_environment

        setup_tf_environment()
    result = read(job["model"], job["texts"]) if "texts" in job else train(job["config"], job["nlu"], job["model"])
    Path(job["result"]).write_text(json.dumps(result, default=float), encoding="utf-8")


def train(config: str, nlu: str, model: str) -> dict[str, float]:
    """Train as `rasa train nlu` does; `train_s` counts from reading the data to the packed model, without imports."""
    from rasa.model_training import train_nlu

    begun = time.perf_counter()
    train_nlu(config, nlu, str(Path(model).parent), fixed_model_name=Path(model).name.removesuffix(".tar.gz"))
    return {"train_s": time.perf_counter() - begun}


def read(model: str, texts: list[str]) -> dict[str, Any]:
    """What each text is parsed to, one after the other, with its milliseconds; the memory after all of them."""
    from rasa.core.agent import Agent

    agent = Agent.load(model)

    async def parse_all() -> tuple[list[dict[str, Any]], list[float]]:
        for text in WARM_UP:
            await agent.parse_message(text)
        parsed, times = [], []
        for text in texts:
            begun = time.perf_counter()
            parsed.append(await agent.parse_message(text))
            times.append((time.perf_counter() - begun) * 1000)
        return parsed, times

    parsed, times = asyncio.run(parse_all())
    return {"parsed": parsed, "ms": times, "rss_mb": memory_mb()}


def memory_mb() -> int | None:
    """Resident memory of this process, None where there is no /proc."""
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    return next(int(line.split()[1]) // 1024 for line in status.read_text().splitlines() if line.startswith("VmRSS"))


if __name__ == "__main__":
    main()
