"""Writes the engine's log in the service's form, instead of Rasa's coloured lines. Read against Rasa 3.6.21.

`rasa.__main__.main` sets logging up by `rasa.utils.io.configure_colored_logging`, and leaves sanic's loggers without a
handler and closed towards the root: what they say goes to `logging.lastResort`.
"""

from __future__ import annotations

import logging
import os

from handoff.log_lines import DiscreetFormatter

#: Variables whose values must not be in the log.
SECRETS = ("RASA_TOKEN", "ACTIONS_TOKEN")


def write_lines() -> None:
    """Log to standard error. To be called before Rasa is imported: some of its libraries speak up at once."""
    handler = logging.StreamHandler()
    secrets = [os.environ.get(name, "") for name in SECRETS]
    as_json = os.environ.get("LOG_FORMAT") == "json"
    handler.setFormatter(DiscreetFormatter(secrets, process="engine", as_json=as_json))
    logging.basicConfig(level=os.environ.get("LOG_LEVEL", "INFO"), handlers=[handler])
    logging.lastResort = handler
    # Libraries warn about each other's ways, whatever PYTHONWARNINGS says; none of it is about our code.
    logging.captureWarnings(capture=True)
    logging.getLogger("py.warnings").setLevel(logging.ERROR)


def keep_our_lines() -> None:
    """Let Rasa leave them as they are."""
    import rasa.utils.io

    rasa.utils.io.configure_colored_logging = lambda loglevel: None
