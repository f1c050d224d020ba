"""What Prometheus is told of tickets, letters and the database (`GET /metrics`)."""

from prometheus_client import Counter, Histogram

#: Seconds: of what one machine does by itself, and of what waits for others.
OWN_WORK = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
WAITS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
POST = (0.1, 0.5, 1, 5, 15, 60, 300, 1800, 7200, 86400)

WRITE_SECONDS = Histogram(
    "support_write_seconds", "Until a piece of work is stored, its wait included", buckets=OWN_WORK
)
WRITE_GROUP = Histogram(
    "support_write_group_size",
    "Pieces of work stored with one wait for the disk (SQLite)",
    buckets=(1, 2, 4, 8, 16, 32, 64),
)
TICKETS = Counter("support_tickets_opened", "Cases that became a ticket of their own", ["topic", "channel"])
LETTERS_SENT = Counter("support_letters_sent", "Attempts to send a letter, by what became of them", ["outcome"])
LETTER_SEND_SECONDS = Histogram("support_letter_send_seconds", "An attempt to hand a letter in", buckets=WAITS)
LETTER_DELIVERY_SECONDS = Histogram(
    "support_letter_delivery_seconds", "From a letter's writing until the mail server has taken it", buckets=POST
)
LETTERS_RECEIVED = Counter("support_letters_received", "Letters taken in, by what became of them", ["outcome"])
