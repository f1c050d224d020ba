"""The example customers and orders of the demo, as the page shows them and as `crm import` takes them."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
CUSTOMERS_FILE = FOLDER / "customers.csv"
ORDERS_FILE = FOLDER / "orders.csv"


@dataclass(frozen=True)
class ExampleOrder:
    """An order a visitor of the demo may ask about."""

    number: str
    status: str
    item: str
    promised_on: str


@dataclass(frozen=True)
class ExampleCustomer:
    """A customer a visitor of the demo may play; the first address is the one the page suggests."""

    customer_id: str
    name: str
    language: str
    addresses: tuple[str, ...]
    orders: tuple[ExampleOrder, ...]


def load_examples(customers: Path = CUSTOMERS_FILE, orders: Path = ORDERS_FILE) -> list[ExampleCustomer]:
    """Customers in the order of their file, each with all addresses and orders."""
    placed: dict[str, list[ExampleOrder]] = {}
    for row in _rows(orders):
        order = ExampleOrder(row["number"], row["status"], row["item"], row["promised_on"])
        placed.setdefault(row["customer_id"], []).append(order)
    known: dict[str, list[dict[str, str]]] = {}
    for row in _rows(customers):
        known.setdefault(row["customer_id"], []).append(row)
    return [
        ExampleCustomer(
            customer_id,
            rows[0]["name"],
            rows[0]["language"],
            tuple(row["email"] for row in rows),
            tuple(placed.get(customer_id, ())),
        )
        for customer_id, rows in known.items()
    ]


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
