"""What the rules suggest to make up for a case. Only the agents read it, and decide; the customer is told nothing."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from zoneinfo import ZoneInfo

from handoff.links import FINISHED

#: Topics in which the shop owes more than an answer (seed: "partial return of funds in the event of a delay").
COMPENSATED_TOPICS = frozenset({"case/delay", "case/compensation", "case/lost_parcel"})


def suggested_compensation(topic: str, days_late: int, *, overload: bool) -> str | None:
    """The suggestion, by its name in words.yml.

    A promise missed by a day is a delay, whatever the customer asks about (requirement R20): a part of the money goes
    back (R23). While the shop is overloaded, all of it, and the jeans are sent nevertheless (R24).
    """
    if topic not in COMPENSATED_TOPICS and not days_late:
        return None
    return "full_refund_and_free_jeans" if overload else "partial_refund"


def days_late(order: Mapping[str, str] | None, asked: datetime, zone: ZoneInfo) -> int:
    """Days from the promised one to the one on which the customer asked, 0 when the order is in time or over.

    `order` is that of a ticket's snapshot, with its days in ISO 8601.
    """
    if not order or not order["promised_on"] or order["status"].strip().casefold() in FINISHED:
        return 0
    return max(0, (asked.astimezone(zone).date() - date.fromisoformat(order["promised_on"])).days)
