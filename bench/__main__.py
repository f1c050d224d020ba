"""Measures the running system and writes bench/results.json; a figure that is not measured yet is null.

    make bench

Starts the demo in an empty folder, talks to it as the page does, and reads the engine's memory from /proc; then the
messengers' way (`bench.messengers`) and the intake of letters (`bench.letters`). Comparisons with a stock Rasa,
sustained load and long conversations are still to come; their figures are null, never guessed.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import httpx

from bench import letters, messengers

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "bench" / "results.json"

#: Conversations of each kind; enough for a stable median, short enough to run often.
CONVERSATIONS = 20
QUESTIONS = (
    "do you exchange jeans that don't fit?",
    "Как снять мерки?",
    "what if they look bad on me",
    "Сколько стоит доставка?",
)
FORM = ("my zip broke", "47731", "sophie.brown@post.example")


class Visitor:
    """One customer on the page."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http
        self._visitor = secrets.token_urlsafe(24)

    def say(self, text: str) -> float:
        """Seconds from posting a message until its answer can be read."""
        answers = self._answers()
        begun = time.perf_counter()
        posted = {"visitor": self._visitor, "id": str(uuid.uuid4()), "language": "en", "text": text}
        self._http.post("/web/messages", json=posted).raise_for_status()
        while self._answers() == answers:
            time.sleep(0.002)
        return time.perf_counter() - begun

    def _answers(self) -> int:
        shown = self._http.get("/web/messages", params={"visitor": self._visitor}).json()
        return sum(message["author"] == "bot" for message in shown["messages"])


def main() -> None:
    """Run everything and write the results."""
    results: dict[str, float | int | None] = dict.fromkeys(
        (
            "turn_p50_ratio", "turn_throughput_ratio", "turn_p50_ms", "form_turn_p50_ms", "long_conversation_ratio",
            "sustained_msgs_per_s", "sustained_p95_s", "lost", "doubled", "engine_rss_mb", "cold_start_s", "train_s",
            "gateway_added_p95_ms",
        )
    )  # fmt: skip
    port = 8000 + os.getpid() % 1000 + 100
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"DATA_DIR": folder, "DEMO_PORT": str(port)}
        begun = time.perf_counter()
        service = subprocess.Popen(  # noqa: S603 - our own command
            [str(Path(sys.executable).parent / "support"), "demo"],
            cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as http:
                _wait_until_ready(http)
                results["cold_start_s"] = round(time.perf_counter() - begun, 1)
                Visitor(http).say("hello")
                turns = [Visitor(http).say(QUESTIONS[n % len(QUESTIONS)]) for n in range(CONVERSATIONS)]
                results["turn_p50_ms"] = round(statistics.median(turns) * 1000, 1)
                forms = [seconds for _ in range(CONVERSATIONS) for seconds in _form_turns(http)]
                results["form_turn_p50_ms"] = round(statistics.median(forms) * 1000, 1)
                results["engine_rss_mb"] = _engine_memory_mb(service.pid)
        finally:
            os.killpg(service.pid, signal.SIGTERM)
            service.wait(timeout=15)
    results |= messengers.measure()
    results |= letters.measure()
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")
    sys.stdout.write(RESULTS.read_text())


def _form_turns(http: httpx.Client) -> list[float]:
    visitor = Visitor(http)
    return [visitor.say(text) for text in FORM]


def _wait_until_ready(http: httpx.Client) -> None:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        try:
            if http.get("/readyz").status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    raise TimeoutError("the demo did not get ready within three minutes; run `make demo` to see why")


def _engine_memory_mb(service: int) -> int | None:
    """Resident memory of the service's child, None where there is no /proc."""
    for status in Path("/proc").glob("[0-9]*/status"):
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        if fields["PPid"].strip() == str(service):
            return int(fields["VmRSS"].split()[0]) // 1024
    return None


if __name__ == "__main__":
    main()
