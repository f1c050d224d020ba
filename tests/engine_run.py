"""Runs the checks of bot/engine on the engine's own Python; prints what each found as one JSON object.

Not a test module: rasa-env has no pytest. tests/test_engine.py runs this file and asserts every check by its name.
A check is a function that begins with `check_`, says its rule in its name or docstring and raises `AssertionError`.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback

from bot.engine.light import leave_tensorflow_out


def main() -> None:
    """Run every check; a check that broke has its traceback, one that held has null."""
    leave_tensorflow_out()
    from rasa.utils.log_utils import configure_structlog

    from tests import engine_checks, engine_start_checks, engine_turn_checks

    # Rasa's structured log goes to standard output, which is for the results.
    configure_structlog(logging.CRITICAL)
    results: dict[str, str | None] = {}
    for name, check in (vars(engine_checks) | vars(engine_start_checks) | vars(engine_turn_checks)).items():
        if name.startswith("check_"):
            try:
                check()
                results[name] = None
            except Exception:  # noqa: BLE001 - one broken check must not hide the others
                results[name] = traceback.format_exc()
    sys.stdout.write("\n" + json.dumps(results) + "\n")


if __name__ == "__main__":
    main()
