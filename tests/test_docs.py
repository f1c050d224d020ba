"""The documentation is tested: what it names exists, and what exists and matters is named."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
from prometheus_client import REGISTRY
from ruamel.yaml import YAML

from bot import models
from bot.cli import app
from handoff.database import Base
from handoff.settings import Settings

from .data.test_texts import CYRILLIC, LEAST_EXAMPLES, LEAST_VARIANTS

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
ENV_EXAMPLE = ROOT / ".env.example"

FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\[[^\]]+\]\(([^)#\s]+)")
PATH = re.compile(r"^(?:bot|actions|handoff|data|tests|docs|migrations|rasa-env)/[\w/.-]+$")
SETTING = re.compile(r"`([A-Z][A-Z_]+)`")

#: The file that docs/trainers.md teaches to write.
WORKED_EXAMPLE = "data/faq/repair.yml"


@cache
def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(page: Path, language: str = "") -> list[str]:
    return [code for tag, code in FENCED.findall(read(page)) if tag == language or not language]


def code(page: Path) -> list[str]:
    """Lines of code blocks and code inside sentences: only there is a command meant as one."""
    return [*"\n".join(blocks(page)).splitlines(), *INLINE.findall(FENCED.sub("", read(page)))]


def commands() -> Iterator[tuple[str, Any]]:
    """Every `support` command with its click object, "crm import" among them."""
    for name, command in typer.main.get_command(app).commands.items():
        inner = getattr(command, "commands", {})
        yield from ((f"{name} {sub}", one) for sub, one in inner.items())
        # A group may do something by itself: `support letters` lists them.
        if not inner or command.invoke_without_command:
            yield name, command


COMMANDS = dict(commands())

page_by_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@page_by_page
def test_make_targets_that_a_page_names_exist(page: Path):
    """A command that fails when it is typed in costs a reader's trust in all others."""
    targets = set(re.findall(r"^([a-z][a-z-]*):", read(ROOT / "Makefile"), re.MULTILINE))

    named = {name for line in code(page) for name in re.findall(r"\bmake ([a-z][a-z-]*)", line)}

    assert named <= targets


@page_by_page
def test_support_commands_that_a_page_names_exist(page: Path):
    """The same for `support`, with the options written after a command."""
    for line in code(page):
        for said in re.findall(r"\bsupport ([a-z]+(?: [a-z]+)?.*)", line):
            name = next((name for name in COMMANDS if re.match(rf"{name}\b", said)), None)
            assert name, f"there is no command: support {said}"
            options = {option for parameter in COMMANDS[name].params for option in parameter.opts}
            assert set(re.findall(r"(--[a-z-]+)", said)) <= options | {"--help"}, f"support {said}"


def test_every_support_command_is_documented():
    """A command that nobody knows of is not there."""
    written = "\n".join(line for page in PAGES for line in code(page))

    assert [name for name in COMMANDS if f"support {name}" not in written] == []


@page_by_page
def test_links_lead_somewhere(page: Path):
    """A link inside the project names a file that exists, seen from the page."""
    links = [link for link in LINK.findall(FENCED.sub("", read(page))) if "://" not in link]

    assert [link for link in links if not (page.parent / link).exists()] == []


@page_by_page
def test_files_that_a_page_names_exist(page: Path):
    """Files get renamed; the pages that explain them follow."""
    named = {span for span in INLINE.findall(FENCED.sub("", read(page))) if PATH.match(span)} - {WORKED_EXAMPLE}

    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


def test_the_readme_lists_every_setting_and_no_other():
    """handoff/settings.py is the truth; the table is what operators read."""
    table = read(ROOT / "README.md").partition("## Settings")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]

    assert {name for row in rows for name in SETTING.findall(row)} == {name.upper() for name in Settings.model_fields}


def test_the_example_env_file_explains_every_setting_and_changes_none(monkeypatch: pytest.MonkeyPatch):
    """Copied as it is, it must not change what the service does; each line has its comment above it."""
    lines = read(ENV_EXAMPLE).splitlines()
    settings = [number for number, line in enumerate(lines) if re.match(r"[A-Z_]+=", line)]
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)

    assert [lines[number].partition("=")[0].lower() for number in settings] == list(Settings.model_fields)
    assert all(lines[number - 1].startswith("# ") for number in settings)
    assert Settings(_env_file=ENV_EXAMPLE) == Settings(_env_file=None)


def test_the_architecture_lists_every_table():
    """Whoever reads the tables' list must be able to trust that it is complete."""
    assert models.Base is Base
    tables = read(ROOT / "docs" / "architecture.md").partition("## Tables")[2]
    rows = [line.split("|")[1] for line in tables.splitlines() if line.startswith("| `")]

    assert {name for row in rows for name in INLINE.findall(row)} == set(Base.metadata.tables)


def test_the_operators_page_lists_every_metric():
    """An alarm is written from this list."""
    # Importing the command line has brought them all in.
    ours = {metric.name for metric in REGISTRY.collect() if metric.name.startswith("support_")}
    written = set(re.findall(r"`(support_[a-z_]+?)(?:_total)?(?:{[\w,]+})?`", read(ROOT / "docs" / "operators.md")))

    assert written == ours


def test_the_trainers_example_keeps_the_rules_it_teaches():
    """A trainer copies it first; it must pass the check that the page tells him to run (tests/data)."""
    topic: Any = YAML(typ="safe").load(blocks(ROOT / "docs" / "trainers.md", "yaml")[0])
    (intent,) = topic["nlu"]
    examples = [line for line in intent["examples"].splitlines() if line]
    answers = [text["text"] for text in topic["responses"]["utter_faq/repair"] if "{fact_" not in text["text"]]

    for lines, least in ((examples, LEAST_EXAMPLES), (answers, LEAST_VARIANTS)):
        russian = sum(bool(CYRILLIC.search(line)) for line in lines)
        assert min(russian, len(lines) - russian) >= least


def test_decisions_are_numbered_without_gaps_and_say_why():
    """Their numbers are cited in code and pages, so none may go or be given twice."""
    pages = sorted((ROOT / "docs" / "decisions").glob("*.md"))

    assert [page.name[:4] for page in pages] == [f"{number:04}" for number in range(1, len(pages) + 1)]
    for number, page in enumerate(pages, 1):
        assert read(page).startswith(f"# {number}. ")
        assert re.findall(r"^## (Context|Decision|Consequences)$", read(page), re.MULTILINE) == [
            "Context",
            "Decision",
            "Consequences",
        ]
