"""The embedded CRM: customers and orders in our own tables, filled by `support crm import`."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from handoff.crm.port import CrmUnavailable, Customer, Order, OrderBrief
from handoff.database import Database
from handoff.models import CrmAddress, CrmCustomer, CrmOrder


class SqlCrm:
    """See `CrmPort`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def order(self, number: str) -> Order | None:
        """See `CrmPort.order`."""
        try:
            return await self._database.run(lambda session: find_order(session, number))
        except DBAPIError as error:
            raise CrmUnavailable("the CRM's tables cannot be read") from error

    async def customer(self, customer_id: str) -> Customer | None:
        """See `CrmPort.customer`."""
        try:
            return await self._database.run(lambda session: find_customer(session, customer_id))
        except DBAPIError as error:
            raise CrmUnavailable("the CRM's tables cannot be read") from error

    async def orders_of(self, customer_id: str, limit: int = 5) -> list[OrderBrief]:
        """See `CrmPort.orders_of`."""
        try:
            return await self._database.run(lambda session: newest_orders(session, customer_id, limit))
        except DBAPIError as error:
            raise CrmUnavailable("the CRM's tables cannot be read") from error


def find_order(session: Session, number: str) -> Order | None:
    """The order with exactly this normalised number."""
    row = session.get(CrmOrder, number)
    if row is None:
        return None
    return Order(
        number=row.number,
        customer_id=row.customer_id,
        shown_number=row.shown_number,
        status=row.status,
        item=row.item,
        sum=row.sum,
        address=row.address,
        promised_on=row.promised_on,
        placed_on=row.placed_on,
    )


def find_customer(session: Session, customer_id: str) -> Customer | None:
    """The customer with exactly this id; as many queries whether he exists or not (see `handoff.identity`)."""
    addresses = session.scalars(select(CrmAddress.address).where(CrmAddress.customer_id == customer_id)).all()
    row = session.get(CrmCustomer, customer_id)
    return Customer(row.customer_id, row.name, row.language, frozenset(addresses)) if row else None


def newest_orders(session: Session, customer_id: str, limit: int) -> list[OrderBrief]:
    """The customer's newest orders, newest first; orders without a date come last."""
    rows = session.scalars(
        select(CrmOrder)
        .where(CrmOrder.customer_id == customer_id)
        .order_by(CrmOrder.placed_on.desc().nulls_last(), CrmOrder.number.desc())
        .limit(limit)
    )
    return [OrderBrief(row.number, row.shown_number, row.status, row.item, row.placed_on) for row in rows]
