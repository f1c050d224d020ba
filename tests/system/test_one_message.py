"""One message's way as an operator follows it: its key in the logs of both processes, its stages in the metrics."""

from __future__ import annotations

import json
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ..messengers.fake_telegram import FakeTelegram
from ..messengers.telegram_customer import Customer
from .running import Running, wait_for

pytestmark = pytest.mark.engine

DANIEL = "daniel.novak@mail.example"
BUTTON = "SELECT key FROM inbox WHERE kind = 'button'"

#: Where the lines about a case's last message come from.
STATIONS = {
    ("service", "bot.inbox", None),
    ("service", "bot.gateway", None),
    ("engine", "bot.engine.channel", None),
    ("service", "actions.server", "action_open_ticket"),
    ("service", "handoff.tickets", "action_open_ticket"),
    ("service", "bot.outbox", None),
}

STAGES = (
    "support_receive_seconds", "support_inbox_seconds", "support_turn_seconds", "support_engine_turn_seconds",
    "support_engine_parse_seconds", "support_action_seconds", "support_case_seconds", "support_answer_seconds",
    "support_delivery_seconds", "support_send_seconds", "support_write_seconds", "support_write_group_size",
)  # fmt: skip


def lines(service: Running) -> list[dict[str, Any]]:
    """Both logs; a line that is no JSON fails the test."""
    files = service.log, service.data_dir / "engine.log"
    return [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]


def opens_a_case(customer: Customer) -> None:
    customer.says(f"My order 47988 is late, {DANIEL}")
    customer.wait_for(1, timeout=60)
    customer.presses("That's right")
    customer.wait_for(2, timeout=60)


def test_a_message_is_found_by_its_key_and_every_stage_is_measured(service: Running, telegram: FakeTelegram):
    """From the tap that opened a case to "message sent"; and nothing of the customer's is in any line."""
    opens_a_case(telegram.customer(first_name="Daniel", language_code="en"))
    [[key]] = service.rows(BUTTON)

    def about() -> list[dict[str, Any]]:
        found = [line for line in lines(service) if line.get("key") == key]
        return found if any(line["logger"] == "bot.outbox" for line in found) else []

    met = wait_for(about, "the last line about the message")

    assert {(line["process"], line["logger"], line.get("action")) for line in met} >= STATIONS
    [[ticket]] = service.rows("SELECT number FROM ticket")
    assert f"ticket {ticket} opened about case/delay" in [line["message"] for line in met]
    written = service.log.read_text(encoding="utf-8") + (service.data_dir / "engine.log").read_text(encoding="utf-8")
    for private in (DANIEL, "47988", "Daniel", telegram.token, (service.data_dir / "secret_key").read_text()):
        assert private not in written
    measured = {
        sample.name: sample.value
        for family in text_string_to_metric_families(service.http.get("/metrics").text)
        for sample in family.samples
        if sample.value
    }
    assert [stage for stage in STAGES if f"{stage}_count" not in measured] == []
    assert measured["support_engine_live_trackers"] == 1
    assert measured["support_tickets_opened_total"] == 1
