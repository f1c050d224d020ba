"""The customers on both fake messengers: they write what was planned, and what they saw is compared with the outbox."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.bookkeeping import Heard, Sent, Written
from bench.crowd import Person, Step
from bench.messengers import Scene
from tests.system.chat import png
from tests.system.running import Running


class Crowd:
    """The customers on both messengers; `sent` are their messages in the order in which they left."""

    def __init__(self, scene: Scene) -> None:
        self.sent: list[Sent] = []
        self._scene = scene
        self._known: dict[int, Any] = {}
        self._albums: dict[int, str] = {}  # the first photo's key, by customer

    def act(self, steps: Sequence[Step]) -> None:
        """Send every message when it is due, and never wait for an answer."""
        begun = time.monotonic() + 0.5
        for step in steps:
            due = begun + step.at_s
            time.sleep(max(0.0, due - time.monotonic()))
            left = time.monotonic()
            send = self._on_telegram if step.person.channel == "telegram" else self._on_vk
            sender_id, key = send(step)
            self.sent.append(Sent(key, sender_id, due, left))

    def _on_telegram(self, step: Step) -> tuple[str, str]:
        number = step.person.number
        customer = self._known.get(number)
        if customer is None:
            customer = self._known[number] = self._scene.telegram.customer(language_code=step.person.language)
        buttons = customer.received[-1].buttons if customer.received else {}
        if step.act == "yes" and buttons:
            update = customer.presses(next(iter(buttons)))
            key = f"press:{update['callback_query']['id']}"
        else:
            album = f"album-{number}"
            update = customer.says(step.text) if step.text else customer.sends_photo(png(), album=album)
            key = f"{customer.chat_id}:{update['message']['message_id']}"
            if step.act == "another photo":
                key = self._albums[number]
            elif step.act == "photo":
                self._albums[number] = key
        return f"telegram:{customer.chat_id}", key

    def _on_vk(self, step: Step) -> tuple[str, str]:
        number = step.person.number
        customer = self._known.get(number)
        if customer is None:
            customer = self._known[number] = self._scene.vk.customer()
        with self._scene.vk.changed:
            buttons = customer.received[-1].buttons if customer.received else ()
            if step.act == "yes" and buttons:
                customer.presses(buttons[0])
            elif step.act == "photo":
                customer.sends_photo(png())
            else:
                customer.says(step.text)
            own = (m for m in reversed(self._scene.vk.dialogs[customer.user_id]) if not m["out"])
            return f"vk:{customer.user_id}", f"{customer.user_id}:{next(own)['conversation_message_id']}"


def heard(scene: Scene) -> list[Heard]:
    """What all customers have seen."""
    on_telegram = [Heard(f"telegram:{seen.chat_id}", str(seen.message_id), seen.at) for seen in scene.telegram.sent]
    on_vk = [
        Heard(f"vk:{customer.user_id}", str(seen.message_id), seen.at)
        for customer in scene.vk.customers.values()
        for seen in customer.received
    ]
    return on_telegram + on_vk


def written(service: Running) -> dict[tuple[str, str], Written]:
    """What the service's outbox says was sent, by sender and the messenger's number."""
    keys = {str(row): _short(key) for row, key in service.rows("SELECT id, key FROM inbox")}
    found = {}
    sent = "SELECT sender_id, remote_id, purpose FROM outbox WHERE remote_id IS NOT NULL"
    for sender_id, remote_id, purpose in service.rows(sent):
        kind, _, about = purpose.partition(":")
        row, _, part = about.partition(":")
        found[sender_id, remote_id] = Written(keys.get(row), not part) if kind == "answer" else Written(None)
    return found


def outdated(scene: Scene) -> set[str]:
    """Keys of the presses that were answered with a note on the screen: their button counts no longer."""
    return {f"press:{query}" for query, answer in scene.telegram.answers.items() if answer.get("text")}


def still_waiting(service: Running) -> set[str]:
    """Keys of the messages that are neither answered nor given up."""
    to_send = "SELECT purpose FROM outbox WHERE state = 'waiting' AND purpose LIKE 'answer:%'"
    rows = {purpose.split(":")[1] for (purpose,) in service.rows(to_send)}
    inbox = service.rows("SELECT id, key, state FROM inbox")
    return {_short(key) for row, key, state in inbox if state == "waiting" or str(row) in rows}


def fill_crm(service: Running, folder: Path, people: Sequence[Person]) -> None:
    """Every customer with one order, imported as an operator does."""
    customers, orders = folder / "customers.csv", folder / "orders.csv"
    rows = [f"c-{one.number},{one.address},Customer {one.number},{one.language}" for one in people]
    customers.write_text("\n".join(["customer_id,email,name,language", *rows]) + "\n", encoding="utf-8")
    rows = [f"{one.order},c-{one.number},production,Jeans" for one in people]
    orders.write_text("\n".join(["number,customer_id,status,item", *rows]) + "\n", encoding="utf-8")
    service.command("crm", "import", "--customers", customers, "--orders", orders)


def _short(key: str) -> str:
    """A key of the inbox without messenger and bot: chat and number, or "press" and the press."""
    return ":".join(key.split(":")[-2:])
