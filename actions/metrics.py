"""What Prometheus is told of the actions (`GET /metrics`)."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

from prometheus_client import Histogram

from handoff.metrics import OWN_WORK, WAITS

ACTION_SECONDS = Histogram("support_action_seconds", "One action of a turn", ["action", "outcome"], buckets=OWN_WORK)
CASE_SECONDS = Histogram(
    "support_case_seconds", "From Rasa's hearing the message that completed a case to its ticket", buckets=WAITS
)


@contextmanager
def timed_action(name: str) -> Iterator[None]:
    """Measure an action; one that raises has `failed`."""
    began, outcome = perf_counter(), "failed"
    try:
        yield
        outcome = "done"
    finally:
        ACTION_SECONDS.labels(name, outcome).observe(perf_counter() - began)
