"""How well messages are understood, told so that a trainer sees what to mend: `make test-nlu`.

Every line of heldout.tsv is classified as a customer's first message would be. None of them may be trained on.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
HELD_OUT = HERE / "heldout.tsv"

#: How many confusions are told, and how many messages are shown for each.
CONFUSIONS, EXAMPLES = 12, 3

#: What a mistake costs the customer, (true route, taken for).
COSTLY = {
    ("case", "faq"): "a case answered with general words, nobody is told",
    ("faq", "case"): "a question that opens a form",
    ("oos", "faq"): "not our matter, answered as if it were",
}


@dataclass(frozen=True)
class Message:
    """One held-out message; `topic` is whole, "faq/care"."""

    language: str
    text: str
    topic: str

    @property
    def route(self) -> str:
        return self.topic.split("/")[0]


@dataclass(frozen=True)
class Reading:
    """What a message was taken for, with the confidence in its route."""

    topic: str
    confidence: float

    @property
    def route(self) -> str:
        return self.topic.split("/")[0]


Result = tuple[Message, Reading]


def read_held_out(path: Path = HELD_OUT) -> list[Message]:
    """The messages of the file, in its order."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [Message(row["language"], row["text"], f"{row['route']}/{row['topic']}") for row in rows]


def classify(texts: Iterable[str]) -> list[Reading]:
    """What each text is taken for, in the same order; one run of `support classify` for each core."""
    whole = list(texts)
    size = -(-len(whole) // (os.cpu_count() or 1)) or 1
    parts = [whole[start : start + size] for start in range(0, len(whole), size)]
    with ThreadPoolExecutor() as runs:
        return [reading for part in runs.map(_classify, parts) for reading in part]


def _classify(texts: Iterable[str]) -> list[Reading]:
    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    command = [Path(sys.executable).with_name("support"), "classify"]
    done = subprocess.run(command, input=lines, text=True, capture_output=True, cwd=ROOT, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return [Reading(f"{one['route']}/{one['topic']}", one["confidence"]) for one in found]


def recall(results: Sequence[Result], route: str) -> float:
    """The share of a route's messages that were taken for this route."""
    own = [reading for message, reading in results if message.route == route]
    return sum(reading.route == route for reading in own) / len(own)


def report(results: Sequence[Result]) -> str:
    """The whole report as text."""
    return "\n".join([*_scores(results), "", *_costly(results), "", *_confusions(results), ""])


def _scores(results: Sequence[Result]) -> list[str]:
    lines = [f"{len(results)} held-out messages", "", f"{'route':12}{'messages':>9}{'found':>8}{'right':>8}"]
    for route, count in Counter(message.route for message, _ in results).most_common():
        taken = [message.route == route for message, reading in results if reading.route == route]
        right = f"{sum(taken) / len(taken):8.1%}" if taken else f"{'-':>8}"
        lines.append(f"{route:12}{count:9}{recall(results, route):8.1%}{right}")
    lines += ["(found: of its messages, how many were recognised; right: of those taken for it, how many were)", ""]
    lines += [f"{'':12}{'messages':>9}{'route':>8}{'topic':>8}"]
    for name, language in (("Russian", "ru"), ("English", "en"), ("both", "")):
        own = [(message, reading) for message, reading in results if message.language.startswith(language)]
        lines.append(f"{name:12}{len(own):9}{_share(own, _route_right):8.1%}{_share(own, _topic_right):8.1%}")
    return lines


def _costly(results: Sequence[Result]) -> list[str]:
    lines = ["The mistakes that cost most"]
    for (true, taken), cost in COSTLY.items():
        wrong = [(m, r) for m, r in results if (m.route, r.route) == (true, taken)]
        total = sum(message.route == true for message, _ in results)
        lines.append(f"  {true} taken for {taken}: {len(wrong)} of {total} ({cost})")
        lines += _shown(wrong)
    return lines


def _confusions(results: Sequence[Result]) -> list[str]:
    totals = Counter(message.topic for message, _ in results)
    wrong: dict[tuple[str, str], list[Result]] = defaultdict(list)
    for message, reading in results:
        if message.topic != reading.topic:
            wrong[message.topic, reading.topic].append((message, reading))
    lines = [
        "The commonest confusions; more examples in the first topic help (in your own words: these are for measuring)"
    ]
    for (true, taken), cases in sorted(wrong.items(), key=lambda pair: -len(pair[1]))[:CONFUSIONS]:
        lines.append(f"  {len(cases)} of {totals[true]} messages of {true} were taken for {taken}")
        lines += _shown(cases)
    return lines


def _shown(results: Sequence[Result]) -> list[str]:
    """The messages that the classifier was surest about."""
    worst = sorted(results, key=lambda result: -result[1].confidence)[:EXAMPLES]
    return [f"      {reading.confidence:4.0%}  {message.text}" for message, reading in worst]


def _share(results: Sequence[Result], right: Callable[[Result], bool]) -> float:
    return sum(map(right, results)) / len(results) if results else 0.0


def _route_right(result: Result) -> bool:
    return result[0].route == result[1].route


def _topic_right(result: Result) -> bool:
    return result[0].topic == result[1].topic


def main() -> None:
    """Classify the held-out messages and print the report."""
    messages = read_held_out()
    readings = classify(message.text for message in messages)
    sys.stdout.write(report(list(zip(messages, readings, strict=True))))


if __name__ == "__main__":
    main()
