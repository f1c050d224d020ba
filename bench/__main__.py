"""Runs all parts, one after the other, and writes bench/results.json; a figure that was not measured is null.

    make bench
    python -m bench [--seconds 60] [--only turns,forms] [--write-docs]

Each part is a module that measures alone as well (`python -m bench.turns`) and runs in a process of its own: its memory
and time are not those of another. A part that breaks leaves its figures null, says why, and the others go on. With
`--only` the other parts keep the figures of the run before.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime

from bench import page
from bench.figures import RESULTS, ROOT, Figures, read_results, show, tell
from bench.processes import machine
from bench.sustained import SECONDS

#: The figures that outside programs rely on.
PROMISED = (
    "turn_p50_ratio", "turn_throughput_ratio", "turn_p50_ms", "form_turn_p50_ms", "long_conversation_ratio",
    "sustained_msgs_per_s", "sustained_p95_s", "lost", "doubled", "engine_rss_mb", "cold_start_s", "train_s",
    "gateway_added_p95_ms",
)  # fmt: skip

#: In this order. What shares nothing with the load comes first, while the machine is still cool.
PARTS = (
    "turns", "forms", "long_conversation", "starting", "sustained", "messengers", "letters", "letters_out", "training"
)  # fmt: skip

#: No part but the load takes as long, even where the stock's environment has to be made.
WITHIN_S = 1800.0
#: What the parts say while they run.
LOGS = ROOT / ".make"
#: A part that is told to end takes its services with it.
END_S = 60.0


class PartBroke(Exception):
    """A part ended without figures; the message is the last that it said."""


def main() -> None:
    """Run the parts and write the results; the page if it is wanted."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="how long the sustained load lasts")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, separated by commas")
    parser.add_argument("--write-docs", action="store_true", help="measure nothing, write docs/performance.md")
    options = parser.parse_args()
    if options.write_docs:
        page.write(read_results())
        return
    wanted = options.only.split(",")
    if unknown := set(wanted) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")

    results: Figures = dict.fromkeys(PROMISED) | (read_results() if set(wanted) < set(PARTS) else {})
    problems = {part: why for part, why in results.get("problems", {}).items() if part not in wanted}
    measured = results.setdefault("measured", {})  # names of figures by part, so that a later run can take them back
    results |= {"machine": machine(), "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"}
    results["command"] = " ".join(["python -m bench", *sys.argv[1:]])
    LOGS.mkdir(exist_ok=True)
    for part in wanted:
        arguments = [f"--seconds={options.seconds}"] if part == "sustained" else []
        sys.stderr.write(f"bench.{part} ...\n")
        begun = time.monotonic()
        results |= dict.fromkeys(measured.pop(part, ()))
        try:
            figures = run(part, arguments, WITHIN_S + options.seconds)
            results |= figures
            measured[part] = list(figures)
        except PartBroke as problem:
            problems[part] = str(problem)
            tell(f"bench.{part} broke: {problem}")
        tell(f"{time.monotonic() - begun:.0f} s")
        # After each part: what is measured is kept, whatever becomes of the rest.
        RESULTS.write_text(json.dumps(results | {"problems": problems}, indent=2) + "\n", encoding="utf-8")
    if results.get("stock_missing"):
        tell(f"no comparison with the stock: {results['stock_missing']}")
    show({name: results[name] for name in PROMISED} | {"problems": problems})


def run(part: str, arguments: list[str], within_s: float) -> Figures:
    """The figures of one part.

    Raises:
        PartBroke: it has none.
    """
    command = [sys.executable, "-m", f"bench.{part}", *arguments]
    with (
        (LOGS / f"bench-{part}.log").open("w+", encoding="utf-8") as log,
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True) as child,  # noqa: S603
    ):
        try:
            printed, _ = child.communicate(timeout=within_s)
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGINT)
            try:
                child.communicate(timeout=END_S)
            except subprocess.TimeoutExpired:
                child.kill()
            raise PartBroke(f"not within {within_s:.0f} s") from None
        log.seek(0)
        said = log.read().strip().splitlines() or ["no word"]
    if child.returncode:
        raise PartBroke(f"{said[-1][:500]} ({log.name})")
    figures: Figures = json.loads(printed)
    return figures


if __name__ == "__main__":
    main()
