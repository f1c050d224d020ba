"""What handoff wants to know from a CRM; any connector that answers this will do."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Protocol

from handoff.errors import HandoffError


class CrmUnavailable(HandoffError):
    """The CRM does not answer now; trying again later may help. Never means "not found"."""


@dataclass(frozen=True)
class Customer:
    """A customer; `addresses` are his registered addresses as the CRM holds them, `language` is "ru" or "en"."""

    customer_id: str
    name: str
    language: str
    addresses: frozenset[str]


@dataclass(frozen=True)
class Order:
    """An order; `number` is normalised, `shown_number`, `sum` and the delivery `address` are in the shop's spelling."""

    number: str
    customer_id: str
    shown_number: str
    status: str = ""
    item: str = ""
    sum: str = ""
    address: str = ""
    promised_on: date | None = None
    placed_on: date | None = None


@dataclass(frozen=True)
class OrderBrief:
    """One line of a customer's list of orders."""

    number: str
    shown_number: str
    status: str
    item: str
    placed_on: date | None


class CrmPort(Protocol):
    """A source of customers and orders.

    Every method raises `CrmUnavailable` on an outage and answers None or an empty list only when it knows that there
    is nothing. Who may see what is decided by the core, never by a connector.
    """

    async def order(self, number: str) -> Order | None:
        """The order with exactly this normalised number."""

    async def customer(self, customer_id: str) -> Customer | None:
        """The customer with exactly this id."""

    async def orders_of(self, customer_id: str, limit: int = 5) -> list[OrderBrief]:
        """The customer's newest orders, newest first."""
