"""Fills the embedded CRM from two CSV files, as shops export them: several encodings, both separators, with mistakes.

A row that cannot be trusted is refused with its line and reason, and never stops the others. An address that two
customers share could not identify either of them, so it is refused for both.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from handoff.crm.addresses import can_be_mailed
from handoff.identifiers import normalise_address, normalise_order_number
from handoff.models import CrmAddress, CrmCustomer, CrmOrder
from handoff.shop import LANGUAGES

CUSTOMER_COLUMNS = ("customer_id", "email", "name", "language")
ORDER_COLUMNS = ("number", "customer_id", "status", "item", "sum", "address", "promised_on", "placed_on")

#: How dates are written in exports.
DATE_FORMATS = ("%Y-%m-%d", "%d.%m.%Y")


@dataclass(frozen=True)
class Refusal:
    """A row that was not taken; `line` counts from 1, the header included."""

    file: str
    line: int
    reason: str


@dataclass
class Counts:
    """What became of the customers or orders of a file."""

    added: int = 0
    changed: int = 0
    unchanged: int = 0


@dataclass
class ImportReport:
    """What an import did."""

    customers: Counts = field(default_factory=Counts)
    orders: Counts = field(default_factory=Counts)
    refused: list[Refusal] = field(default_factory=list)


@dataclass(frozen=True)
class _Row:
    line: int
    values: dict[str, str]

    def __getitem__(self, column: str) -> str:
        return self.values[column]


class _RowRefused(Exception):
    """A row cannot be taken; the message is the reason."""


def import_csv(session: Session, customers: Path, orders: Path) -> ImportReport:
    """Add and update customers, then orders.

    The files are the truth about the customers they name: an address that is no longer listed for such a customer
    stops being registered. Customers and orders that the files do not name stay as they are.
    """
    report = ImportReport()
    _import_customers(session, customers, report)
    session.flush()
    _import_orders(session, orders, report)
    session.flush()
    report.refused.sort(key=lambda refusal: (refusal.file != customers.name, refusal.line))
    return report


def _import_customers(session: Session, path: Path, report: ImportReport) -> None:
    listed: dict[str, dict[str, _Row]] = {}
    claimed_by: dict[str, set[str]] = {}
    rows = _rows(path, CUSTOMER_COLUMNS, 2, report)
    for row in rows:
        claimed_by.setdefault(normalise_address(row["email"]), set()).add(row["customer_id"])
    for row in rows:
        with _refusing(report, path, row):
            address = _address(row["email"])
            if not 1 <= len(row["customer_id"]) <= 64:
                raise _RowRefused("customer_id must have 1 to 64 characters")
            if len(claimed_by[address]) > 1:
                raise _RowRefused("the address is listed for several customers, so it cannot identify one")
            listed.setdefault(row["customer_id"], {})[address] = row
    shared = {address for address, customers in claimed_by.items() if len(customers) > 1}
    registered = {row.address: row for row in session.scalars(select(CrmAddress))}
    changed = set()
    for address, entry in registered.items():
        if address in shared or address not in listed.get(entry.customer_id, {address: None}):
            session.delete(entry)
            changed.add(entry.customer_id)
    session.flush()
    known = {row.customer_id: row for row in session.scalars(select(CrmCustomer))}
    for customer_id, addresses in listed.items():
        accepted = {}
        for address, row in addresses.items():
            with _refusing(report, path, row):
                owner = registered[address].customer_id if address in registered else customer_id
                if owner not in listed:
                    raise _RowRefused("the address is registered for another customer, so it cannot identify one")
                accepted[address] = row
        if accepted:
            _store_customer(session, customer_id, accepted, registered, known, customer_id in changed, report.customers)


def _store_customer(
    session: Session,
    customer_id: str,
    addresses: dict[str, _Row],
    registered: dict[str, CrmAddress],
    known: dict[str, CrmCustomer],
    lost_an_address: bool,
    counts: Counts,
) -> None:
    """Write a customer and his new addresses; the first row that says a name or language counts."""
    rows = addresses.values()
    name = next((row["name"] for row in rows if row["name"]), "")
    language = next((row["language"].lower() for row in rows if row["language"]), LANGUAGES[0])
    # We write letters in two languages; whoever reads neither is served best in English.
    language = language if language in LANGUAGES else "en"
    customer = known.get(customer_id)
    new = [a for a in addresses if a not in registered or registered[a].customer_id != customer_id]
    if customer is None:
        counts.added += 1
        session.add(CrmCustomer(customer_id=customer_id, name=name, language=language))
        session.flush()
    elif (customer.name, customer.language) != (name, language) or new or lost_an_address:
        counts.changed += 1
        customer.name, customer.language = name, language
    else:
        counts.unchanged += 1
    session.add_all(CrmAddress(address=address, customer_id=customer_id) for address in new)


def _import_orders(session: Session, path: Path, report: ImportReport) -> None:
    customers = set(session.scalars(select(CrmCustomer.customer_id)))
    known = {row.number: row for row in session.scalars(select(CrmOrder))}
    seen: dict[str, int] = {}
    for row in _rows(path, ORDER_COLUMNS, 2, report):
        with _refusing(report, path, row):
            number = normalise_order_number(row["number"])
            if not number or len(row["number"]) > 64:
                raise _RowRefused("there is no order number")
            if number in seen:
                raise _RowRefused(f"line {seen[number]} has this order number already")
            if row["customer_id"] not in customers:
                raise _RowRefused("there is no such customer")
            facts = {
                "customer_id": row["customer_id"],
                "shown_number": row["number"],
                **{name: row[name] for name in ("status", "item", "sum", "address")},
                **{name: _date(row[name]) for name in ("promised_on", "placed_on")},
            }
            seen[number] = row.line
            order = known.get(number)
            if order is None:
                report.orders.added += 1
                session.add(CrmOrder(number=number, **facts))
            elif any(getattr(order, name) != value for name, value in facts.items()):
                report.orders.changed += 1
                for name, value in facts.items():
                    setattr(order, name, value)
            else:
                report.orders.unchanged += 1


@contextmanager
def _refusing(report: ImportReport, path: Path, row: _Row) -> Iterator[None]:
    """Note a refusal and go on with the next row."""
    try:
        yield
    except _RowRefused as refusal:
        report.refused.append(Refusal(path.name, row.line, str(refusal)))


def _rows(path: Path, columns: tuple[str, ...], required: int, report: ImportReport) -> list[_Row]:
    """The rows that have a value in the first `required` columns; none when such a column is missing."""
    text = _decoded(path.read_bytes())
    header = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(";,\t", key=header.count))
    names = [name.strip().lower() for name in next(reader, [])]
    expected = ",".join(columns)
    for name in columns[:required]:
        if name not in names:
            report.refused.append(Refusal(path.name, 1, f"column {name!r} is missing; the header must be {expected}"))
            return []
    rows = []
    for cells in reader:
        if not any(cell.strip() for cell in cells):
            continue
        row = _Row(reader.line_num, dict.fromkeys(columns, "") | dict(zip(names, map(str.strip, cells), strict=False)))
        with _refusing(report, path, row):
            for name in columns[:required]:
                if not row[name]:
                    raise _RowRefused(f"{name} is empty")
            if len(cells) > len(names):
                raise _RowRefused(
                    f"{len(cells)} cells in a row, the header has {len(names)}; quote cells with separators"
                )
            rows.append(row)
    return rows


def _decoded(content: bytes) -> str:
    """Exports are UTF-8, or windows-1251 from older Excel; no Russian text in the latter is valid UTF-8."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("cp1251", errors="replace")
    return text.replace("\0", "")


def _address(text: str) -> str:
    if not can_be_mailed(text):
        raise _RowRefused("not an address that can be written to")
    return normalise_address(text)


def _date(text: str) -> date | None:
    if not text:
        return None
    for form in DATE_FORMATS:
        try:
            return datetime.strptime(text, form).date()  # noqa: DTZ007  a day, not a moment
        except ValueError:
            continue
    raise _RowRefused(f"{text!r} is no date; write 2026-03-10 or 10.03.2026")
