"""The conversations of tests/conversations go as they are written: rules with `rasa test`, words with the classifier.

`rasa test core` plays the rules and runs no custom action, so the stories state what actions do to the conversation.
It does not classify either (its end-to-end mode cannot write down an entity that spans a message beside another in
it); that every message of a story is understood as the story says is checked here.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from bot.engine_process import MODEL, PYTHON, ROOT
from handoff.identifiers import find_order_numbers

from .nlu.report import classify

pytestmark = pytest.mark.engine

FILES = sorted((ROOT / "tests" / "conversations").glob("*.yml"))
QUIET = {"PYTHONPATH": ".", "RASA_TELEMETRY_ENABLED": "false", "SQLALCHEMY_SILENCE_UBER_WARNING": "1"}

STORIES: list[dict[str, Any]] = [story for path in FILES for story in YAML(typ="safe").load(path)["stories"]]


def test_every_story_is_played_as_it_is_written(tmp_path: Path):
    """Each rule leads where the story says, from the first message to the ticket or out of the form."""
    command = [
        PYTHON,
        "-m",
        "bot.engine.rasa",
        "test",
        "core",
        "--stories",
        "tests/conversations",
        "--model",
        MODEL,
        "--out",
        tmp_path,
        "--no-plot",
    ]

    played = subprocess.run(
        [*map(str, command), "--fail-on-prediction-errors"],
        cwd=ROOT, env=os.environ | QUIET, text=True, capture_output=True, check=False,
    )  # fmt: skip

    # Rasa prints the story that failed, with what it predicted instead, and its own trouble on standard error.
    assert played.returncode == 0, played.stdout[-3000:] or played.stderr[-3000:]
    # Rasa leaves out files that are called test_*, and stories that it takes for the same.
    assert f"Evaluating {len(STORIES)} stories" in played.stderr


def test_every_message_of_a_story_is_understood_as_the_story_says():
    """A story with a message that means something else to the classifier would test a conversation nobody has."""
    told = [(story["story"], step) for story in STORIES for step in story["steps"] if "user" in step]
    readings = classify(step["user"].strip() for _, step in told)

    wrong = [
        f"{story}: “{step['user'].strip()}” is {reading.topic}, not {step['intent']}"
        for (story, step), reading in zip(told, readings, strict=True)
        # Steering intents have no topics: they come as smalltalk/<intent>, a bare number as a question about that order
        # (bot.engine.classify).
        if step["intent"] not in (reading.route, reading.topic.removeprefix("smalltalk/"))
        and (step["intent"], reading.topic) != ("identifiers", "case/order_question")
    ]

    assert not wrong, "\n".join(wrong)


def test_an_order_number_that_a_story_sets_was_said_in_the_message_before():
    """Rasa does not fill slots here, so a slip of the pen in a story would go unnoticed."""
    wrong = []
    for story in STORIES:
        said: list[str] = []
        for step in story["steps"]:
            said = [number for _, _, number in find_order_numbers(step["user"])] if "user" in step else said
            for slot in step.get("slot_was_set", []):
                if slot.get("order_number") not in (None, *said):
                    wrong.append(f"{story['story']}: {slot} after a message with {said}")

    assert not wrong, "\n".join(wrong)
