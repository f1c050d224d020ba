"""Starts Rasa's server beside our service and ends it when the service is gone.

    python -m bot.engine.serve --port 5005 --model models

The service keeps the write end of our standard input: when it dies, however suddenly, reading ends here, and no engine
is left behind that would hold memory and the trackers. One that was started otherwise (docs/scaling.md) runs alone.
"""

from __future__ import annotations

import argparse
import os
import stat
import sys
import threading

from bot.engine.log import keep_our_lines, write_lines

#: For the environment of whoever starts Rasa: its dependencies warn at every start about things we cannot change; none
#: of them is about our code.
QUIET = {
    "RASA_TELEMETRY_ENABLED": "false",
    "SQLALCHEMY_SILENCE_UBER_WARNING": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "PYTHONWARNINGS": "ignore",
    # One turn uses one core; more threads only fight with the other conversations.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    # Each thread of the C library keeps memory for itself; ours wait for one another anyway.
    "MALLOC_ARENA_MAX": "2",
}


def main() -> None:
    """Read the options, watch the parent, become `rasa run`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model", required=True, help="folder with models, or one model")
    parser.add_argument("--interface", default="127.0.0.1", help="address to listen on")
    options = parser.parse_args()
    os.environ.setdefault("REDIS_URL", "")
    threading.Thread(target=_end_with_parent, daemon=True).start()

    sys.argv = ["rasa", *rasa_arguments(options.port, options.model, os.environ["RASA_TOKEN"], options.interface)]
    sys.path.insert(0, os.getcwd())
    write_lines()
    from bot.engine.light import leave_tensorflow_out
    from bot.engine.unused import leave_unused_out

    leave_unused_out()
    leave_tensorflow_out()
    from rasa.__main__ import main as rasa

    from bot.engine.action_schema import compile_once
    from bot.engine.debug_copies import copy_nothing_for_debug
    from bot.engine.empty_domain import remember_emptiness
    from bot.engine.event_types import remember_types
    from bot.engine.kept_connections import keep_connections
    from bot.engine.model_domain import read_domain_once
    from bot.engine.plan import plan_once
    from bot.engine.recent_states import look_back_only_so_far
    from bot.engine.rule_index import look_at_likely_rules
    from bot.engine.short_calls import tell_what_is_read
    from bot.engine.tracker_copy import copy_state
    from bot.engine.trackers import fail_loudly
    from bot.engine.turn_times import time_parsing
    from bot.engine.whole_turns import fail_as_a_whole

    changes = (
        compile_once, plan_once, copy_state, look_back_only_so_far, fail_loudly, fail_as_a_whole, read_domain_once,
        tell_what_is_read, remember_types, look_at_likely_rules, keep_connections, remember_emptiness,
        copy_nothing_for_debug,
    )  # fmt: skip
    for change_rasa in changes:
        change_rasa()
    for watch in (keep_our_lines, time_parsing):
        watch()
    rasa()


def rasa_arguments(port: int, model: str, token: str, interface: str = "127.0.0.1") -> list[str]:
    """What `rasa` is called with."""
    arguments = ["run", "--enable-api", "--interface", interface, "--port", str(port), "--model", model]
    # One in 64 tokens begins with "-": beside the option's name it would be taken for an option.
    return [*arguments, "--endpoints", "endpoints.yml", "--credentials", "credentials.yml", f"--auth-token={token}"]


def _end_with_parent() -> None:
    kind = os.fstat(0).st_mode
    if not stat.S_ISFIFO(kind) and not stat.S_ISSOCK(kind):  # a terminal, or nothing under systemd
        return
    # Not through sys.stdin: Python aborts when it ends while a thread waits in there.
    while os.read(0, 1024):
        pass
    os._exit(0)


if __name__ == "__main__":
    main()
