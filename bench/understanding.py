"""Compares this project's understanding with two stock pipelines of Rasa, side by side on the same data.

    .venv/bin/python -m bench.understanding [--datasets PATH] [--only ours,sparse,diet]
                                            [--on shop,share,banking77,clinc150]

Trains each pipeline in a temporary folder and reads every message with it, each in a process of its own on Rasa's
Python. "share" is the shop's data with every n-th training line, so few that DIET can learn them, too. Writes
bench/understanding.json and prints tables. DIET trains for half an hour and more, so its figures are kept in
bench/diet.json; it is trained anew only when `--only` names it. What the figures mean: docs/understanding.md.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import math
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from bench.spellings import on_wrong_layout, transliterated
from bot.engine.classify import found
from bot.engine.normaliser import CYRILLIC
from bot.engine.serve import QUIET
from bot.inbox import plain_words
from handoff.identifiers import ADDRESS, mask_address

ROOT = Path(__file__).parent.parent
PYTHON = ROOT / "rasa-env" / ".venv" / "bin" / "python"
RESULTS = ROOT / "bench" / "understanding.json"
DIET_RESULTS = ROOT / "bench" / "diet.json"
HELD_OUT = ROOT / "tests" / "nlu" / "heldout.tsv"
#: Public sets beside the project, if somebody has put them there; the project does not need them.
DATASETS = ROOT.parent / "shared" / "datasets"

OURS, SPARSE, DIET = "ours", "sparse", "diet"
TITLES = {OURS: "this project", SPARSE: "stock, sparse + regression", DIET: "stock, `rasa init` (DIET)"}
SHOP, SHARE, BANKING, CLINC = "shop", "share", "banking77", "clinc150"
#: Training lines of the share, at most.
SHARE_LINES = 2000

#: The featurizers of `rasa init` (rasa/engine/recipes/config_files/default_config.yml of 3.6.21).
STOCK_FEATURIZERS: list[dict[str, Any]] = [
    {"name": "WhitespaceTokenizer"},
    {"name": "RegexFeaturizer"},
    {"name": "LexicalSyntacticFeaturizer"},
    {"name": "CountVectorsFeaturizer"},
    {"name": "CountVectorsFeaturizer", "analyzer": "char_wb", "min_ngram": 1, "max_ngram": 4},
]
#: When that default does not trust an intent: too low, or too near to the next one (its FallbackClassifier).
STOCK_THRESHOLD, STOCK_AMBIGUITY = 0.3, 0.1

BINS = 10


@dataclass(frozen=True)
class Line:
    """A message and what it should be taken for: an intent or, in the shop's data, a whole topic ("faq/care")."""

    text: str
    label: str


@dataclass(frozen=True)
class Dataset:
    """What one comparison trains on and is measured on; the first slices, `written`, are the messages as they are."""

    name: str
    training: list[Line]
    slices: dict[str, list[Line]]
    written: tuple[str, ...]
    #: Messages that no intent is meant for.
    outside: list[Line] = field(default_factory=list)

    @property
    def lines(self) -> list[Line]:
        """The messages as they were written, none made by script."""
        return [line for name in self.written for line in self.slices[name]]

    @property
    def texts(self) -> list[str]:
        """Every text to read, each once: what is read again may come from a cache."""
        return list(dict.fromkeys(line.text for line in chain(*self.slices.values(), self.outside)))

    @property
    def fingerprint(self) -> str:
        """Tells whether kept figures were measured on the same lines."""
        lines = sorted((line.text, line.label) for line in chain(self.training, *self.slices.values(), self.outside))
        return hashlib.sha256(json.dumps(lines).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Reading:
    """What a message was taken for, how surely, and whether the pipeline would rather say that it did not understand.

    `known` is the confidence in the likeliest intent, whether or not it was refused.
    """

    label: str
    confidence: float
    known: float
    refused: bool


def main() -> None:
    """Measure what was asked for, write the results, print the tables."""
    options = _options()
    shop = shop_data()
    datasets = [shop, share_of(shop), *public_data(options.datasets)]
    measured: dict[str, dict[str, Any]] = {}
    kept = json.loads(DIET_RESULTS.read_text()) if DIET_RESULTS.exists() else {}
    for data in (data for data in datasets if data.name in options.on):
        for pipeline in options.only:
            figures = measure(pipeline, data, options.epochs)
            measured.setdefault(data.name, {})[pipeline] = figures
            if pipeline == DIET:
                kept[data.name] = figures
                DIET_RESULTS.write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        if data.name in kept:
            measured.setdefault(data.name, {})[DIET] = kept[data.name] | {
                "same_data": kept[data.name]["data"] == data.fingerprint
            }
    results = {"machine": machine(), "command": command(), "date": today(), "measured": measured}
    RESULTS.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    sys.stdout.write(report(results))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.understanding", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--datasets", type=Path, default=DATASETS, help="folder with Banking77 and CLINC150")
    parser.add_argument(
        "--only", type=_names(TITLES), default=[OURS, SPARSE],
        help=f"pipelines to measure, of {','.join(TITLES)}; {DIET} takes long and is measured only when named",
    )  # fmt: skip
    every = (SHOP, SHARE, BANKING, CLINC)
    parser.add_argument("--on", type=_names(every), default=list(every), help=f"data, of {','.join(every)}")
    parser.add_argument("--epochs", type=int, default=100, help="of DIET; 100 is the default of `rasa init`")
    return parser.parse_args()


def _names(known: Collection[str]) -> Callable[[str], list[str]]:
    def names(given: str) -> list[str]:
        asked = given.split(",")
        if unknown := set(asked) - set(known):
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(known)}")
        return [name for name in known if name in asked]

    return names


# The data


def shop_data() -> Dataset:
    """The project's own examples, tested on the held-out messages, as they are and spoilt by script."""
    training = [
        Line(text.removeprefix("- ").strip(), topic_of(intent["intent"]))
        for path in sorted((ROOT / "data").rglob("*.yml"))
        for intent in (YAML(typ="safe").load(path) or {}).get("nlu", [])
        for text in intent["examples"].splitlines()
        if text.strip()
    ]
    with HELD_OUT.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    by_language = {
        language: [Line(safe(row["text"]), f"{row['route']}/{row['topic']}") for row in rows if row["language"] == code]
        for language, code in (("Russian", "ru"), ("English", "en"))
    }
    spoilt = {
        name: [
            Line(safe(spoil(line.text)), line.label) for line in by_language["Russian"] if CYRILLIC.search(line.text)
        ]
        for name, spoil in (("transliterated", transliterated), ("wrong layout", on_wrong_layout))
    }
    return Dataset(SHOP, training, by_language | spoilt, tuple(by_language))


def share_of(shop: Dataset) -> Dataset:
    """The same messages to read, and an even share of each topic's lines to learn from."""
    return replace(shop, name=SHARE, training=shop.training[:: math.ceil(len(shop.training) / SHARE_LINES)])


def topic_of(intent: str) -> str:
    """The topic of an example's intent; short answers inside a form have none and are read as `found` reads them."""
    if intent == "identifiers":
        return "case/order_question"
    return intent if "/" in intent else f"smalltalk/{intent}"


def safe(text: str) -> str:
    """What the gateway and `support classify` do to a text before Rasa sees it."""
    return plain_words(ADDRESS.sub(lambda m: f"{mask_address(m.group())}#0", text))


def public_data(folder: Path) -> list[Dataset]:
    """Banking77 and CLINC150, if they are there."""
    if not folder.is_dir():
        _say(f"no folder {folder}: Banking77 and CLINC150 are left out (--datasets PATH)")
        return []
    return [
        Dataset(BANKING, _rows(folder / "b77_10.json"), {"all": _rows(folder / "b77_test.json")}, ("all",)),
        Dataset(
            CLINC, _rows(folder / "clinc_20.json"), {"all": _rows(folder / "clinc_test.json")}, ("all",),
            outside=_rows(folder / "clinc_oostest.json"),
        ),
    ]  # fmt: skip


def _rows(path: Path) -> list[Line]:
    return [Line(safe(text), label) for text, label in json.loads(path.read_text(encoding="utf-8"))]


# Measuring


def measure(pipeline: str, data: Dataset, epochs: int) -> dict[str, Any]:
    """All figures of one pipeline on one dataset."""
    with tempfile.TemporaryDirectory(prefix="understanding-") as name:
        folder = Path(name)
        _say(f"{TITLES[pipeline]}, {data.name}: training on {len(data.training)} lines")
        # Ours has a process for each core, as `make train` runs it.
        own_threads = 1 if pipeline == OURS else None
        trained = _engine(_prepared(pipeline, data, epochs, folder), folder, threads=own_threads)
        _say(f"{TITLES[pipeline]}, {data.name}: trained in {trained['train_s']:.0f} s, reading {len(data.texts)} texts")
        read = _engine({"model": str(_model(folder)), "texts": data.texts}, folder, threads=1)
    reader = _reader(pipeline, data)
    readings = {text: reader(parsed) for text, parsed in zip(data.texts, read["parsed"], strict=True)}
    ms = dict(zip(data.texts, read["ms"], strict=True))
    times = [ms[text] for text in dict.fromkeys(line.text for line in data.lines)]
    figures = {
        "train_s": round(trained["train_s"], 1),
        "p50_ms": round(statistics.median(times), 1),
        "p99_ms": round(statistics.quantiles(times, n=100)[98], 1),
        "rss_mb": read["rss_mb"],
        "training_lines": len(data.training),
        "slices": {name: _right(lines, readings) for name, lines in data.slices.items()},
        "calibration": _calibration(pipeline, data, readings),
        "out_of_scope": _out_of_scope(data, readings),
        "data": data.fingerprint,
        "date": today(),
        "load": round(os.getloadavg()[0], 1),
    }
    if pipeline == DIET:
        figures |= {"epochs": epochs, "machine": machine(), "command": command()}
    return figures


def _prepared(pipeline: str, data: Dataset, epochs: int, folder: Path) -> dict[str, str]:
    """The training job, its files written; our own data goes to our own pipeline as the trainers wrote it."""
    config, nlu = folder / "config.yml", folder / "nlu.json"
    if pipeline == OURS:
        shutil.copy(ROOT / "config.yml", config)
    else:
        classifier: dict[str, Any] = {"name": "LogisticRegressionClassifier"}
        if pipeline == DIET:
            classifier = {"name": "DIETClassifier", "epochs": epochs, "constrain_similarities": True}
        # JSON is YAML.
        settings = {"recipe": "default.v1", "assistant_id": "bench", "language": "en"}
        config.write_text(json.dumps(settings | {"pipeline": [*STOCK_FEATURIZERS, classifier]}))
    if pipeline == OURS and data.name == SHOP:
        nlu = folder / "data"
        shutil.copytree(ROOT / "data", nlu)
    else:
        # A slash would make a topic a response to an intent, which the stock classifiers do not tell apart.
        label = str if pipeline == OURS and data.name == SHARE else _flat
        examples = [{"text": line.text, "intent": label(line.label)} for line in data.training]
        nlu.write_text(json.dumps({"rasa_nlu_data": {"common_examples": examples}}))
    return {"config": str(config), "nlu": str(nlu), "model": str(_model(folder))}


def _flat(label: str) -> str:
    return label.replace("/", ".")


def _model(folder: Path) -> Path:
    return folder / "model.tar.gz"


def _engine(job: dict[str, Any], folder: Path, *, threads: int | None) -> dict[str, Any]:
    """Run one job of bench/understanding_engine.py; `threads` None leaves their number to the libraries."""
    result, log = folder / "result.json", folder / "engine.log"
    counted = ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"]
    environment = os.environ | {name: value for name, value in QUIET.items() if name not in counted}
    environment |= {"PYTHONPATH": str(ROOT), "TMPDIR": str(folder)}  # TensorFlow leaves files behind
    if threads:
        counted += ["TF_INTRA_OP_PARALLELISM_THREADS", "TF_INTER_OP_PARALLELISM_THREADS"]
        environment |= dict.fromkeys(counted, str(threads))
    with log.open("w") as output:
        done = subprocess.run(  # noqa: S603 - our own engine
            [str(PYTHON), "-m", "bench.understanding_engine"],
            input=json.dumps(job | {"result": str(result)}),
            text=True, stdout=output, stderr=output, cwd=folder, env=environment, check=False,
        )  # fmt: skip
    if done.returncode:
        raise SystemExit(log.read_text()[-4000:])
    answer: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    return answer


def _reader(pipeline: str, data: Dataset) -> Callable[[dict[str, Any]], Reading]:
    """How a pipeline's parse becomes a reading."""
    if data.name in (SHOP, SHARE) and pipeline == OURS:
        return _read_as_the_shop
    return lambda parsed: _read_intent(parsed, own_threshold=pipeline == OURS)


def _read_as_the_shop(parsed: dict[str, Any]) -> Reading:
    """As `support classify` tells it: what was refused is out of scope."""
    taken = found(parsed)
    known = _known(parsed)
    refused = parsed["intent"]["name"] == "nlu_fallback"
    return Reading(
        f"{taken['route']}/{taken['topic']}",
        float(parsed["intent"]["confidence"]),
        known[0][1] if known else 0.0,
        refused,
    )


def _read_intent(parsed: dict[str, Any], *, own_threshold: bool) -> Reading:
    """The likeliest intent, even if it would be refused."""
    known = _known(parsed) or [("", 0.0)]
    (name, confidence), *others = known
    if own_threshold:
        refused = parsed["intent"]["name"] == "nlu_fallback"
    else:
        next_best = others[0][1] if others else 0.0
        refused = confidence < STOCK_THRESHOLD or confidence - next_best < STOCK_AMBIGUITY
    return Reading(name.replace(".", "/"), confidence, confidence, refused)


def _known(parsed: dict[str, Any]) -> list[tuple[str, float]]:
    ranking = [(one["name"], float(one["confidence"])) for one in parsed["intent_ranking"]]
    return [(name, confidence) for name, confidence in ranking if name != "nlu_fallback"]


# Figures


def _right(lines: Sequence[Line], readings: dict[str, Reading]) -> dict[str, float | int]:
    """How many messages there are and which shares were taken for the right topic (or intent) and the right route."""
    topics = [readings[line.text].label == line.label for line in lines]
    routes = [_route(readings[line.text].label) == _route(line.label) for line in lines]
    return {"lines": len(lines), "topic": round(_share(topics), 4), "route": round(_share(routes), 4)}


def _route(label: str) -> str:
    return label.split("/")[0]


def _share(right: Collection[bool]) -> float:
    return sum(right) / len(right)


def _calibration(pipeline: str, data: Dataset, readings: dict[str, Reading]) -> dict[str, Any]:
    """Expected calibration error: how far confidence and share of right readings lie apart, over bins of confidence.

    Our confidence is that in the route, a stock pipeline's that in its intent, here a whole topic; each is held
    against its own.
    """
    part = _route if pipeline == OURS else str
    pairs = [
        (readings[line.text].confidence, part(readings[line.text].label) == part(line.label)) for line in data.lines
    ]
    bins: list[list[tuple[float, bool]]] = [[] for _ in range(BINS)]
    for confidence, right in pairs:
        bins[min(int(confidence * BINS), BINS - 1)].append((confidence, right))
    told = [
        {
            "messages": len(within),
            "confidence": round(statistics.fmean(confidence for confidence, _ in within), 3),
            "right": round(_share([right for _, right in within]), 3),
        }
        for within in bins
        if within
    ]
    error = sum(one["messages"] * abs(one["confidence"] - one["right"]) for one in told) / len(pairs)
    return {"expected_error": round(error, 4), "bins": told}


def _out_of_scope(data: Dataset, readings: dict[str, Reading]) -> dict[str, Any] | None:
    """What becomes of messages that are not our matter, and how many of ours share their fate.

    In the shop's data such messages are a route of their own, so there they are `recognised` or refused.
    """
    outside = data.outside or [line for line in data.lines if _route(line.label) == "oos"]
    if not outside:
        return None
    ours = set(data.lines) - set(outside)
    inside = [line for line in data.lines if line in ours]
    figures: dict[str, Any] = {}
    for name, lines in (("outside", outside), ("inside", inside)):
        own = [readings[line.text] for line in lines]
        figures[name] = {
            "messages": len(own),
            "refused": sum(reading.refused for reading in own),
            "recognised": sum(_route(reading.label) == "oos" and not reading.refused for reading in own),
        }
    if data.outside:
        known = [[readings[line.text].known for line in lines] for lines in (inside, outside)]
        figures["auroc"] = round(auroc(*known), 4)
    return figures


def auroc(inside: Iterable[float], outside: Collection[float]) -> float:
    """How often a message of ours has a higher score than one that is not; a tie counts half."""
    ordered = sorted(outside)
    wins = [(bisect_left(ordered, score) + bisect_right(ordered, score)) / 2 for score in inside]
    return statistics.fmean(wins) / len(ordered)


# Telling


def report(results: dict[str, Any]) -> str:
    """The tables, in Markdown, to be pasted into docs/understanding.md."""
    measured = results["measured"]
    parts = [f"{results['date']} · {results['machine']} · `{results['command']}`"]
    for name, data in ((SHOP, "the shop's data"), (SHARE, "a share of its lines")):
        if name in measured:
            parts += [_shop_tables(data, measured[name])]
    if OURS in measured.get(SHOP, {}):
        ours = measured[SHOP][OURS]
        parts += [_calibration_table(ours["calibration"]), _scope_told(ours["out_of_scope"])]
    parts += [_public_table(name, measured[name]) for name in (BANKING, CLINC) if name in measured]
    return "\n\n".join(parts) + "\n"


def _shop_tables(data: str, measured: dict[str, Any]) -> str:
    slices: dict[str, dict[str, int]] = next(iter(measured.values()))["slices"]
    header = [f"{data}: route / topic right, %", *(f"{name} ({of['lines']})" for name, of in slices.items())]
    rows = [
        [_title(pipeline, figures)]
        + [f"{of['route'] * 100:.1f} / {of['topic'] * 100:.1f}" for of in figures["slices"].values()]
        for pipeline, figures in measured.items()
    ]
    costs = [[_title(pipeline, figures), *_costs(figures)] for pipeline, figures in measured.items()]
    return "\n\n".join([_table(header, rows), _table([f"{data}: costs", *COSTS], costs)])


COSTS = ("trained in", "one message, p50 / p99", "memory", "calibration error")


def _costs(figures: dict[str, Any]) -> list[str]:
    return [
        f"{figures['train_s']:.0f} s",
        f"{figures['p50_ms']} / {figures['p99_ms']} ms",
        f"{figures['rss_mb']} MB",
        f"{figures['calibration']['expected_error']:.3f}",
    ]


def _calibration_table(calibration: dict[str, Any]) -> str:
    rows = [
        ["messages", *(str(one["messages"]) for one in calibration["bins"])],
        ["really right", *(f"{one['right']:.0%}" for one in calibration["bins"])],
    ]
    header = ["our confidence in the route", *(f"{one['confidence']:.0%}" for one in calibration["bins"])]
    return _table(header, rows)


def _scope_told(scope: dict[str, Any]) -> str:
    outside, inside = scope["outside"], scope["inside"]
    caught = outside["recognised"] + outside["refused"]
    return (
        f"Out of scope, at our threshold: of {outside['messages']} such messages {caught} are caught "
        f"({outside['recognised']} recognised, {outside['refused']} refused); of {inside['messages']} others "
        f"{inside['refused']} are refused and {inside['recognised']} taken for out of scope."
    )


def _public_table(name: str, measured: dict[str, Any]) -> str:
    scope = any(figures["out_of_scope"] for figures in measured.values())
    header = [name, "right, %", *(("AUROC", "refused outside / inside, %") if scope else ()), *COSTS]
    rows = []
    for pipeline, figures in measured.items():
        row = [_title(pipeline, figures), f"{figures['slices']['all']['topic'] * 100:.1f}"]
        if scope:
            sides = [figures["out_of_scope"][side] for side in ("outside", "inside")]
            shares = [f"{side['refused'] / side['messages'] * 100:.1f}" for side in sides]
            row += [f"{figures['out_of_scope']['auroc']:.3f}", " / ".join(shares)]
        rows.append([*row, *_costs(figures)])
    return _table(header, rows)


def _title(pipeline: str, figures: dict[str, Any]) -> str:
    if pipeline != DIET:
        return TITLES[pipeline]
    older = "" if figures.get("same_data", True) else ", on older data"
    return f"{TITLES[pipeline]}, {figures['epochs']} epochs, {figures['date']}{older}"


def _table(header: list[str], rows: list[list[str]]) -> str:
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in (header, *rows)
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def machine() -> str:
    """Processor, cores and system."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    return f"{model}, {os.cpu_count()} cores, {platform.system()}"


def command() -> str:
    """The command that was given."""
    return " ".join(["python -m bench.understanding", *sys.argv[1:]])


def today() -> str:
    """The date in UTC."""
    return datetime.now(UTC).date().isoformat()


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")


if __name__ == "__main__":
    main()
