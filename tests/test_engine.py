"""The engine's own code, checked where it runs: tests/engine_run.py on Rasa's Python, one test for each check."""

from __future__ import annotations

import ast
import json
import os
import subprocess
from pathlib import Path

import pytest

from bot.engine_process import PYTHON, ROOT

pytestmark = pytest.mark.engine

CHECKS = ("engine_checks.py", "engine_start_checks.py", "engine_turn_checks.py")
NAMES = [
    node.name
    for file in CHECKS
    for node in ast.parse(Path(__file__).with_name(file).read_text(encoding="utf-8")).body
    if isinstance(node, ast.FunctionDef) and node.name.startswith("check_")
]
QUIET = {"PYTHONPATH": ".", "PYTHONWARNINGS": "ignore", "RASA_TELEMETRY_ENABLED": "false", "TF_CPP_MIN_LOG_LEVEL": "3"}
ENVIRONMENT = os.environ | QUIET | {"SQLALCHEMY_SILENCE_UBER_WARNING": "1"}


@pytest.fixture(scope="module")
def results() -> dict[str, str | None]:
    """What each check found: null or its traceback."""
    ran = subprocess.run(
        [str(PYTHON), "-m", "tests.engine_run"],
        cwd=ROOT,
        env=ENVIRONMENT,
        text=True,
        capture_output=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    return json.loads(ran.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", NAMES, ids=lambda name: name.removeprefix("check_"))
def test_engine(name: str, results: dict[str, str | None]) -> None:
    """See the check's own docstring for its rule."""
    assert results[name] is None, results[name]
