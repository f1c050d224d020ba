"""The topics' titles, which letters have in their subjects."""

from __future__ import annotations

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from actions.conversation import CASE_ROUTES, GENERAL_TOPIC
from actions.topics import TopicFileInvalid, read_titles

DATA = Path(__file__).parents[2] / "data"


def topics_of(route: str) -> list[str]:
    files = sorted((DATA / route).glob("*.yml"))
    return [intent["intent"] for path in files for intent in YAML(typ="safe").load(path)["nlu"]]


@pytest.mark.parametrize("route", CASE_ROUTES)
def test_every_topic_that_can_become_a_ticket_has_a_title_in_both_languages(titles, route):
    """Without one the customer's letter would have "case/delay" in its subject."""
    assert topics_of(route)
    for about in topics_of(route):
        assert set(titles[about]) == {"ru", "en"}, about
        assert all(title.strip() for title in titles[about].values()), about


def test_the_general_topic_exists(titles):
    """It is what a case is about when nothing better is known."""
    assert GENERAL_TOPIC in titles


def test_other_files_and_topics_without_a_title_are_passed_over(tmp_path):
    (tmp_path / "case").mkdir()
    (tmp_path / "case" / "delay.yml").write_text(
        "nlu:\n- intent: case/delay\n  metadata: {title: {ru: Задержка, en: Delay}}\n- intent: case/other\n"
    )
    (tmp_path / "rules.yml").write_text("rules: []\n")
    (tmp_path / "empty.yml").write_text("# nothing yet\n")

    assert read_titles(tmp_path) == {"case/delay": {"ru": "Задержка", "en": "Delay"}}


def test_a_broken_file_is_named_with_its_place(tmp_path):
    """A trainer's slip: the message must lead him to the line."""
    (tmp_path / "delay.yml").write_text("nlu:\n- intent: case/delay\n  metadata: {title: {ru: [}}\n")

    with pytest.raises(TopicFileInvalid, match=r"(?s)delay\.yml.*line 3") as caught:
        read_titles(tmp_path)

    assert str(tmp_path) in str(caught.value)
