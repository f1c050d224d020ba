"""What Prometheus is told (`GET /metrics`)."""

from prometheus_client import Counter, Gauge, Histogram

MESSAGES = Counter("support_messages_received", "Messages of customers taken into the inbox", ["channel"])
SENDS = Counter("support_messages_sent", "Attempts to send a message, by what became of them", ["channel", "outcome"])
POLL_AGE = Gauge("support_poll_age_seconds", "Since the messenger last answered; 0 where nobody polls", ["channel"])
TURNS = Counter("support_turns", "Turns played with Rasa", ["outcome"])
ANSWER_SECONDS = Histogram(
    "support_answer_seconds",
    "From a message's arrival to its answer in the outbox",
    buckets=(0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300),
)
QUEUE_DEPTH = Gauge("support_queue_depth", "Waiting items", ["queue"])
QUEUE_AGE = Gauge("support_queue_oldest_seconds", "Age of the oldest waiting item", ["queue"])
STUCK = Gauge("support_stuck", "Items a person must look at", ["queue"])
CLAIMS = Gauge("support_claims_last_hour", "Pairs of order number and address, right or wrong", ["outcome"])
