"""What Prometheus is told of a message's way (`GET /metrics`); the rest is in `handoff.metrics`, `actions.metrics`."""

from prometheus_client import Counter, Gauge, Histogram

from handoff.metrics import OWN_WORK, WAITS

MESSAGES = Counter("support_messages_received", "Messages of customers taken into the inbox", ["channel"])
RECEIVE_SECONDS = Histogram(
    "support_receive_seconds", "Until what a messenger delivered is safe in the inbox", ["channel"], buckets=OWN_WORK
)
INBOX_SECONDS = Histogram("support_inbox_seconds", "From a message's arrival to its first attempt", buckets=WAITS)
TURN_SECONDS = Histogram("support_turn_seconds", "A turn with Rasa as the service waits for it", buckets=OWN_WORK)
TURNS = Counter("support_turns", "Turns played with Rasa", ["outcome"])
ENGINE_READY = Gauge("support_engine_ready", "1 while an engine would answer, else 0", ["engine"])
ANSWER_SECONDS = Histogram(
    "support_answer_seconds",
    "From a message's arrival to its answer in the outbox",
    buckets=(0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300),
)
DELIVERY_SECONDS = Histogram(
    "support_delivery_seconds", "From the outbox until the messenger has taken it", ["channel"], buckets=WAITS
)
SENDS = Counter("support_messages_sent", "Attempts to send a message, by what became of them", ["channel", "outcome"])
SEND_SECONDS = Histogram("support_send_seconds", "One attempt to send a message", ["channel"], buckets=WAITS)
POLL_AGE = Gauge("support_poll_age_seconds", "Since the messenger last answered; 0 where nobody polls", ["channel"])
MAILBOX_AGE = Gauge("support_mailbox_poll_age_seconds", "Since the mailbox was last looked through; NaN where none is")
QUEUE_DEPTH = Gauge("support_queue_depth", "Waiting items", ["queue"])
QUEUE_AGE = Gauge("support_queue_oldest_seconds", "Age of the oldest waiting item", ["queue"])
STUCK = Gauge("support_stuck", "Items a person must look at", ["queue"])
CLAIMS = Gauge("support_claims_last_hour", "Pairs of order number and address, right or wrong", ["outcome"])

ENGINE_TURN_SECONDS = Histogram("support_engine_turn_seconds", "A turn as the engine measured it", buckets=OWN_WORK)
ENGINE_PARSE_SECONDS = Histogram("support_engine_parse_seconds", "Understanding one message", buckets=OWN_WORK)
ENGINE_TRACKERS = Counter("support_engine_trackers", "Where a turn's tracker came from: memory, table, new", ["found"])
ENGINE_LIVE = Gauge("support_engine_live_trackers", "Trackers in the memory of the engine that answered last")
