"""A CRM behind a REST API: what it is asked, what of its answers counts, and that an outage never means "not found"."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from handoff_cases import NOW, free_port

from handoff.crm.connect import connect
from handoff.crm.mapping import load_mapping
from handoff.crm.port import CrmPort, CrmUnavailable, Customer, Order, OrderBrief
from handoff.crm.rest import RestCrm
from handoff.database import Database
from handoff.identity import identify
from handoff.settings import Settings
from tests.fake_crm import GARBAGE, FakeBitrix24, FakeCrm, FakeRetailCrm, deal, order

SENDER = "telegram:7"


@pytest.fixture
def retail() -> Iterator[FakeRetailCrm]:
    server = FakeRetailCrm()
    yield server
    server.close()


@pytest.fixture
def bitrix() -> Iterator[FakeBitrix24]:
    server = FakeBitrix24()
    yield server
    server.close()


def retail_crm(server: FakeCrm, mapping: str = "retailcrm", **more: Any) -> RestCrm:
    return RestCrm(server.url, FakeRetailCrm.KEY, load_mapping(mapping), **{"rest_s": 0.0, **more})


def bitrix_crm(server: FakeBitrix24) -> RestCrm:
    return RestCrm(server.webhook, "", load_mapping("bitrix24"), rest_s=0.0)


class TestRetailCrm:
    async def test_it_answers_an_order_by_its_number(self, retail: FakeRetailCrm) -> None:
        retail.orders[0]["number"] = "48213"

        assert await retail_crm(retail).order("48213") == Order(
            number="48213",
            customer_id="501",
            shown_number="48213",
            status="delivering",
            item="Джинсы 32/34, Ремень",
            sum="7900.5 RUB",
            address="Москва, Тверская, д. 1",
            promised_on=date(2026, 11, 18),
            placed_on=date(2026, 11, 2),
        )
        assert retail.asked == [("/api/v5/orders", {"filter[numbers][]": ["48213"], "limit": ["20"]})]

    async def test_it_answers_a_customer_by_his_id_with_the_address_as_it_is_spelled(
        self, retail: FakeRetailCrm
    ) -> None:
        expected = Customer("501", "Мария Ковалёва", "ru", frozenset({"Maria@Example.com"}))

        assert await retail_crm(retail).customer("501") == expected
        assert retail.asked == [("/api/v5/customers", {"filter[ids][]": ["501"], "limit": ["20"]})]

    async def test_it_answers_the_newest_orders_of_a_customer(self, retail: FakeRetailCrm) -> None:
        retail.orders += [
            order(number, str(number), 501, createdAt=f"2026-11-{number - 80000:02} 08:00:00", status="complete")
            for number in range(80003, 80010)
        ]

        newest = await retail_crm(retail).orders_of("501", limit=3)

        assert [brief.number for brief in newest] == ["80009", "80008", "80007"]
        assert newest[0] == OrderBrief("80009", "80009", "доставлен", "Джинсы 32/34, Ремень", date(2026, 11, 9))

    async def test_the_shops_own_ids_can_be_the_numbers(self, retail: FakeRetailCrm) -> None:
        """`number` and `externalId` are two things; which one customers know is chosen by the mapping."""
        retail.orders[0]["externalId"] = "70001"

        found = await retail_crm(retail, "retailcrm-external").order("70001")

        assert (found.number, found.shown_number) == ("70001", "70001")
        assert retail.asked == [("/api/v5/orders", {"filter[externalIds][]": ["70001"], "limit": ["20"]})]

    async def test_an_order_without_a_customer_identifies_nobody(
        self, retail: FakeRetailCrm, database: Database
    ) -> None:
        retail.orders.append(order(9003, "60000", None))

        assert await identify(database, retail_crm(retail), SENDER, "60000", "maria@example.com", NOW) is None


class TestBitrix24:
    async def test_it_answers_an_order_by_its_number(self, bitrix: FakeBitrix24) -> None:
        bitrix.deals[0]["ORIGIN_ID"] = "48213"

        assert await bitrix_crm(bitrix).order("48213") == Order(
            number="48213",
            customer_id="12",
            shown_number="48213",
            status="доставлен",
            item="Джинсы 37",
            sum="7900.00 RUB",
            placed_on=date(2026, 11, 2),
        )
        [(path, query)] = bitrix.asked
        assert path == f"/rest/1/{bitrix.SECRET}/crm.deal.list"
        assert query["filter[=ORIGIN_ID]"] == ["48213"]

    async def test_a_contact_has_all_addresses_that_letters_can_go_to(self, bitrix: FakeBitrix24) -> None:
        """Each of them may be the registered one; "he does not know" is none."""
        customer = await bitrix_crm(bitrix).customer("12")

        assert customer == Customer(
            "12", "Мария Ковалёва", "ru", frozenset({"m.kovaleva@example.org", "maria@example.com"})
        )
        assert await bitrix_crm(bitrix).customer("13") == Customer("13", "Пётр", "ru", frozenset())

    async def test_it_answers_the_orders_of_a_contact(self, bitrix: FakeBitrix24) -> None:
        """A deal without an order number is no order."""
        found = await bitrix_crm(bitrix).orders_of("12")

        assert [(brief.number, brief.status) for brief in found] == [("GW48213", "доставлен"), ("50777", "в работе")]

    async def test_the_number_can_be_in_any_field_of_a_deal(self, bitrix: FakeBitrix24, tmp_path: Path) -> None:
        """As docs/operators.md shows it: a mapping of one's own says only what differs."""
        bitrix.deals.append(deal("41", None, "12", UF_CRM_1700000000="50999"))
        page = (Path(__file__).parents[2] / "docs" / "operators.md").read_text(encoding="utf-8")
        own = tmp_path / "own.yml"
        own.write_text(page.partition("```yaml\n")[2].partition("```")[0], encoding="utf-8")
        crm = RestCrm(bitrix.webhook, "", load_mapping(str(own)))

        found = await crm.order("50999")

        assert (found.shown_number, found.customer_id, found.item) == ("50999", "12", "Джинсы 41")
        assert [brief.number for brief in await crm.orders_of("12")] == ["50999"]


class TestWhatCounts:
    @pytest.mark.parametrize(
        ("typed", "address", "matches"),
        [
            ("gw 48213", "maria@example.com", True),
            ("50777", "maria@example.com", False),
            ("GW-48213", "peter@example.com", False),
            ("99999", "maria@example.com", False),
            ("", "", False),
        ],
    )
    async def test_right_or_wrong_a_pair_takes_the_same_requests(
        self, retail: FakeRetailCrm, database: Database, tmp_path: Path, typed: str, address: str, matches: bool
    ) -> None:
        """No oracle on the wire either: two requests, each time, and an address of the CRM's spelling at the end."""
        own = tmp_path / "own.yml"
        own.write_text("extends: retailcrm\norder: {spellings: {'(GW)(\\d+)': '\\1-\\2'}}\n")

        requester = await identify(database, retail_crm(retail, str(own)), SENDER, typed, address, NOW)

        assert (requester.registered_address if requester else None) == ("Maria@Example.com" if matches else None)
        assert [path for path, _ in retail.asked] == ["/api/v5/orders", "/api/v5/customers"]

    async def test_a_search_that_is_not_exact_finds_nobody_else(self, retail: FakeRetailCrm) -> None:
        """Full-text searches find 148213 and 48213-1 for 48213; a wrong row would hand a case to a stranger."""
        lookalikes = [order(n, number, 502) for n, number in enumerate(("148213", "48213-1", "48213A", "4821"))]
        retail.find = lambda path, query, headers: (  # type: ignore[method-assign]
            200,
            {"orders": lookalikes, "customers": [{"id": 5010, "email": "x@example.com"}]},
        )

        assert await retail_crm(retail).order("48213") is None
        assert await retail_crm(retail).customer("501") is None
        assert await retail_crm(retail).orders_of("501") == []

        lookalikes.append(order(1, "№ 48 213", 501))
        assert (await retail_crm(retail).order("48213")).customer_id == "501"

    async def test_a_number_that_two_customers_have_identifies_neither(
        self, retail: FakeRetailCrm, caplog: pytest.LogCaptureFixture
    ) -> None:
        """RetailCRM counts per shop: two shops in one account may have the same number."""
        retail.orders.append(order(9004, "50777", 501))

        assert await retail_crm(retail).order("50777") is None
        assert "50777 for several customers" in caplog.text

    async def test_rows_may_be_one_object_and_404_nobody(self, retail: FakeRetailCrm, tmp_path: Path) -> None:
        """The other way that REST APIs are made: /orders/48213 answers an object, and 404 if there is none."""
        own = tmp_path / "own.yml"
        own.write_text(
            "order: {path: 'shop/orders/{number}', not_found: true,"
            " facts: {number: no, customer_id: buyer.id, placed_on: day}}\n"
            "customer: {path: '/shop/customers/{customer_id}', rows: data.customer, not_found: true,"
            " facts: {customer_id: id, addresses: [mail, other_mails], language: lang}}\n"
            "orders_of: {path: '/shop/orders', query: {buyer: '{customer_id}', key: '{token}'}, rows: data}\n"
        )
        known = {
            "/shop/orders/48213": {"no": 48213, "buyer": {"id": "a/b"}, "day": "02.11.2026"},
            "/shop/customers/a%2Fb": {
                "data": {"customer": {"id": "a/b", "mail": "a@b.example", "other_mails": ["c@d.example"], "lang": "de"}}
            },
            "/shop/orders": {"data": [{"no": 48213, "buyer": {"id": "a/b"}}]},
        }
        retail.find = lambda path, query, headers: (200, known[path]) if path in known else (404, {})  # type: ignore[method-assign]
        crm = retail_crm(retail, str(own))

        found = await crm.order("48213")
        assert (found.number, found.customer_id, found.placed_on) == ("48213", "a/b", date(2026, 11, 2))
        assert await crm.customer("a/b") == Customer("a/b", "", "en", frozenset({"a@b.example", "c@d.example"}))
        assert [brief.number for brief in await crm.orders_of("a/b")] == ["48213"]
        assert retail.asked[-1] == ("/shop/orders", {"buyer": ["a/b"], "key": [FakeRetailCrm.KEY]})
        assert await crm.order("1") is None
        assert await crm.customer("") is None


class TestOutages:
    @pytest.mark.parametrize(
        ("fault", "level", "said"),
        [
            (429, "WARNING", "answered 429"),
            (500, "WARNING", "answered 500"),
            (503, "WARNING", "answered 503"),
            (302, "ERROR", "check CRM_URL"),
            (400, "ERROR", "check CRM_URL"),
            (404, "ERROR", "check CRM_URL"),
            (401, "ERROR", "check CRM_TOKEN"),
            (403, "ERROR", "check CRM_TOKEN"),
            ("hang", "WARNING", "no answer ("),
            ("drip", "WARNING", "no answer (TimeoutError)"),
            (GARBAGE, "ERROR", "is not JSON with"),
            (b"[" * 100_000, "ERROR", "is not JSON with"),
            (b'{"success": true}', "ERROR", "is not JSON with"),
            (b'{"orders": ["a"], "customers": ["b"]}', "ERROR", "there are no objects at"),
            (b'{"orders": [{"id": 1}], "customers": [{"name": "x"}]}', "ERROR", "nothing at"),
        ],
    )
    async def test_no_answer_is_never_taken_for_no_such_order(
        self, retail: FakeRetailCrm, caplog: pytest.LogCaptureFixture, fault: object, level: str, said: str
    ) -> None:
        """The customer would be told that his order does not exist; and the log says what to do, without any data."""
        retail.fault = fault  # type: ignore[assignment]
        crm = retail_crm(retail, timeout_s=0.3 if fault in ("hang", "drip") else 5.0)

        for asked in (crm.order("48213"), crm.customer("501"), crm.orders_of("501")):
            with pytest.raises(CrmUnavailable):
                await asked
        assert {(record.levelname, said in record.getMessage()) for record in caplog.records} == {(level, True)}
        assert len(caplog.records) == 3
        assert FakeRetailCrm.KEY not in caplog.text
        assert "48213" not in caplog.text

    async def test_a_server_that_is_not_there(self, caplog: pytest.LogCaptureFixture) -> None:
        crm = RestCrm(f"http://127.0.0.1:{free_port()}", "key", load_mapping("retailcrm"))

        with pytest.raises(CrmUnavailable):
            await crm.order("48213")
        assert "no answer (ConnectError)" in caplog.text

    async def test_after_a_failure_nobody_is_made_to_wait_for_the_next(
        self, retail: FakeRetailCrm, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A CRM that hangs would hold up every customer for five seconds; it is left alone for a while instead."""
        crm = retail_crm(retail, rest_s=3600.0)
        retail.fault = 500
        for _ in range(3):
            with pytest.raises(CrmUnavailable):
                await crm.order("48213")

        assert len(retail.asked) == 1
        assert len(caplog.records) == 1

    async def test_it_is_asked_again_when_it_has_rested(self, retail: FakeRetailCrm) -> None:
        crm = retail_crm(retail)
        retail.fault = 500
        with pytest.raises(CrmUnavailable):
            await crm.order("50777")

        retail.fault = None
        assert (await crm.order("50777")).customer_id == "502"

    async def test_secrets_in_the_address_stay_out_of_the_log(
        self, bitrix: FakeBitrix24, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A webhook's address is its password."""
        caplog.set_level(logging.INFO, "handoff")
        crm = RestCrm(f"{bitrix.url}/rest/1/wrong-secret", "", load_mapping("bitrix24"))

        with pytest.raises(CrmUnavailable) as raised:
            await crm.order("50777")
        own = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("handoff"))
        assert "refused (401)" in own
        assert "wrong-secret" not in own + str(raised.value)


async def test_the_settings_choose_the_crm(database: Database, retail: FakeRetailCrm, tmp_path: Path) -> None:
    """Unset: the embedded one; set: what the mapping asks."""
    unset: CrmPort = connect(Settings(_env_file=None, data_dir=tmp_path), database)
    chosen = connect(
        Settings(_env_file=None, crm_url=retail.url, crm_token=FakeRetailCrm.KEY, crm_mapping="retailcrm"), database
    )

    assert await unset.order("50777") is None
    assert (await chosen.order("50777")).customer_id == "502"
