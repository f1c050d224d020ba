"""Filling the embedded CRM from exports."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from handoff.crm.csv_import import Counts, ImportReport, import_csv
from handoff.crm.sql import find_customer, find_order, newest_orders
from handoff.models import CrmAddress

CUSTOMERS = (
    "customer_id,email,name,language\n"
    "c-1,maria@example.com,Мария,ru\n"
    "c-1,m@example.org,Мария,ru\n"
    "c-2,p@example.com,Peter,en\n"
)
ORDERS = (
    "number,customer_id,status,item,sum,address,promised_on,placed_on\n"
    "GW-48213,c-1,в пути,джинсы,100 $,Москва,2026-11-18,01.11.2026\n"
    "50777,c-2,,,,,,\n"
)


@pytest.fixture
def run(session: Session, tmp_path: Path):
    def import_texts(customers: str = CUSTOMERS, orders: str = ORDERS, encoding: str = "utf-8") -> ImportReport:
        (tmp_path / "customers.csv").write_bytes(customers.encode(encoding))
        (tmp_path / "orders.csv").write_bytes(orders.encode(encoding))
        return import_csv(session, tmp_path / "customers.csv", tmp_path / "orders.csv")

    return import_texts


def reasons(report: ImportReport) -> list[tuple[str, int, str]]:
    return [(refusal.file, refusal.line, refusal.reason) for refusal in report.refused]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1251"])
@pytest.mark.parametrize("separator", [",", ";"])
def test_exports_are_read_as_shops_write_them(session: Session, run, encoding: str, separator: str) -> None:
    """Russian Excel writes windows-1251 and semicolons, others UTF-8 with or without BOM."""
    report = run(CUSTOMERS.replace(",", separator), ORDERS.replace(",", separator), encoding)

    assert (report.customers, report.orders, report.refused) == (Counts(added=2), Counts(added=2), [])
    customer, order = find_customer(session, "c-1"), find_order(session, "GW48213")
    assert customer is not None
    assert (customer.name, customer.addresses) == ("Мария", {"maria@example.com", "m@example.org"})
    assert order is not None
    assert (order.shown_number, order.promised_on, order.placed_on) == (
        "GW-48213",
        date(2026, 11, 18),
        date(2026, 11, 1),
    )
    assert [brief.number for brief in newest_orders(session, "c-1", 5)] == ["GW48213"]


def test_a_second_import_says_what_changed(session: Session, run) -> None:
    """An operator imports every night and wants to see only what is new."""
    run()

    report = run(CUSTOMERS.replace("Peter", "Pete"), ORDERS.replace("в пути", "доставлен"))

    assert report.customers == Counts(changed=1, unchanged=1)
    assert report.orders == Counts(changed=1, unchanged=1)


def test_an_address_that_is_no_longer_listed_stops_being_registered(session: Session, run) -> None:
    """A mailbox that the customer has given up must not identify him."""
    run()

    report = run(CUSTOMERS.replace("c-1,m@example.org,Мария,ru\n", ""))

    assert session.scalars(select(CrmAddress.address).where(CrmAddress.customer_id == "c-1")).all() == [
        "maria@example.com"
    ]
    assert report.customers == Counts(changed=1, unchanged=1)


def test_an_address_of_two_customers_identifies_neither(session: Session, run) -> None:
    """Whoever reads a family's shared mailbox must not be taken for the other one."""
    report = run(CUSTOMERS + "c-2,MARIA@example.com,Peter,en\n")

    assert [(file, line) for file, line, _ in reasons(report)] == [("customers.csv", 2), ("customers.csv", 5)]
    assert session.get(CrmAddress, "maria@example.com") is None
    assert session.get(CrmAddress, "m@example.org") is not None


def test_an_address_registered_for_a_customer_outside_the_file_is_refused(session: Session, run) -> None:
    """A partial export cannot take an address away from somebody it does not name."""
    run()

    report = run("customer_id,email\nc-3,maria@example.com\n", "number,customer_id\n")

    assert [line for _, line, _ in reasons(report)] == [2]
    assert session.get_one(CrmAddress, "maria@example.com").customer_id == "c-1"


def test_an_address_can_move_within_one_file(session: Session, run) -> None:
    """Two records of one person are merged in the shop's system."""
    run()

    run("customer_id,email\nc-1,m@example.org\nc-2,maria@example.com\n", "number,customer_id\n")

    assert session.get_one(CrmAddress, "maria@example.com").customer_id == "c-2"


def test_bad_rows_are_refused_with_line_and_reason_and_the_rest_is_taken(session: Session, run) -> None:
    """Exports are never clean."""
    report = run(
        CUSTOMERS + "c-3,not an address,X,ru\n,y@example.com,Y,ru\nc-4,Zoë@пример.рф,Z,de\n",
        ORDERS + "50-777,c-1,,,,,,\n60001,nobody,,,,,,\n60002,c-1,,,,,someday,\n60003,c-1,a,b,c,d,,,extra\n60004,c-1\n",
    )

    assert [(file, line) for file, line, _ in reasons(report)] == [
        ("customers.csv", 5),
        ("customers.csv", 6),
        ("customers.csv", 7),
        ("orders.csv", 4),
        ("orders.csv", 5),
        ("orders.csv", 6),
        ("orders.csv", 7),
    ]
    assert "line 3" in report.refused[3].reason
    assert "2026-03-10" in report.refused[5].reason
    assert find_order(session, "60004") is not None


def test_a_missing_column_names_the_expected_header(run) -> None:
    """The remedy stands in the message."""
    report = run("id,mail\n1,a@example.com\n")

    assert reasons(report)[0] == (
        "customers.csv",
        1,
        "column 'customer_id' is missing; the header must be customer_id,email,name,language",
    )
