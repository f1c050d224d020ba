"""The engine tells with each answer how long it took; the real one is in tests/system/test_one_message.py."""

from __future__ import annotations

import pytest
from prometheus_client import REGISTRY

from bot.engine_times import note_engine_times

TOLD = ("support_engine_turn_seconds_sum", "support_engine_parse_seconds_sum")


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def told() -> list[object]:
    return [sample for metric in REGISTRY.collect() if "engine" in metric.name for sample in metric.samples]


def test_what_the_engine_measured_is_passed_on_in_seconds():
    before = [sample(name) for name in TOLD]
    found = sample("support_engine_trackers_total", found="memory")

    note_engine_times({"Server-Timing": "live;desc=734, tracker;desc=memory, parse;dur=4.1, turn;dur=12.0"})

    assert [sample(name) - was for name, was in zip(TOLD, before, strict=True)] == pytest.approx([0.012, 0.0041])
    assert sample("support_engine_trackers_total", found="memory") == found + 1
    assert sample("support_engine_live_trackers") == 734


@pytest.mark.parametrize(
    "header", ["", "turn", "turn;dur=", "tracker;desc=elsewhere", "live;desc=many", 'cdn;desc="x y"']
)
def test_another_engines_words_change_nothing(header: str):
    """Rasa without our channel says nothing, a proxy in between may say what it likes: no label of its making."""
    before = told()

    note_engine_times({"Server-Timing": header} if header else {})

    assert told() == before
