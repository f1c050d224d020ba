"""Rasa's command line, on the light engine as on the full one.

PYTHONPATH=. rasa-env/.venv/bin/python -m bot.engine.rasa train
"""

from __future__ import annotations

from bot.engine.light import leave_tensorflow_out


def main() -> None:
    """Become `rasa`, with the arguments as they are."""
    leave_tensorflow_out()
    from rasa.__main__ import main as rasa

    rasa()


if __name__ == "__main__":
    main()
