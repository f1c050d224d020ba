"""Mapping files: a slip is found at the start, with file, key and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from handoff.crm.connect import connect
from handoff.crm.mapping import SHIPPED, MappingInvalid, load_mapping
from handoff.database import Database
from handoff.settings import Settings

WHOLE = """
headers: {Authorization: "Bearer {token}"}
order: {path: "/orders/{number}", facts: {number: number, customer_id: customer.id}}
customer: {path: "/customers/{customer_id}", facts: {customer_id: id, addresses: emails}}
orders_of: {path: "/orders", query: {customer: "{customer_id}", limit: 20}, rows: items}
"""


def written(tmp_path: Path, text: str) -> str:
    path = tmp_path / "shop-crm.yml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_whole_mapping_is_read(tmp_path: Path) -> None:
    mapping = load_mapping(written(tmp_path, WHOLE))

    assert mapping.order.facts.number == ["number"]
    assert mapping.orders_of.query["limit"] == "20"
    assert mapping.wants_token


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.yml")), ids=lambda path: path.stem)
def test_what_we_ship_can_be_used_and_says_first_what_it_is(path: Path) -> None:
    assert load_mapping(path.stem).nobody == "0"
    assert path.read_text(encoding="utf-8").startswith("# ")


@pytest.mark.parametrize(
    ("changed", "to", "said"),
    [
        ("customer_id: customer.id", "", "order.facts.customer_id: Field required"),
        ("addresses: emails", "address: emails", "customer.facts.addresses: Field required"),
        ("number: number", "number: []", "order.facts.number: List should have at least 1 item"),
        ("rows: items", "row: items", "orders_of.row: Extra inputs are not permitted"),
        ("{number}", "{order}", "order: write {number} into path or query"),
        ('"{customer_id}"', '"{customer_id}{date}"', "orders_of: {date} is not known here"),
        ("Bearer {token}", "Bearer {key}", "headers: {key} is not known here; known is {token}"),
        ("facts: {number", "spellings: {'(GW': x}, facts: {number", "order.spellings: Value error, '(GW' to 'x'"),
        ("facts: {number", r"spellings: {'\d+': '\9'}, facts: {number", "order.spellings: Value error"),
        ("headers:", "extends: salesforce\nheaders:", "there is no mapping 'salesforce'; name one of bitrix24,"),
        (WHOLE, "- just a list", "expected `order:`, `customer:` and `orders_of:` at the top level"),
        (WHOLE, "", "expected `order:`"),
        (WHOLE, "order: {", "not readable as YAML"),
        (WHOLE, "order: 5", "order: Input should be a valid dictionary"),
    ],
)
def test_a_slip_is_named_with_file_and_key(tmp_path: Path, changed: str, to: str, said: str) -> None:
    """Found at the start and not when the first customer asks."""
    with pytest.raises(MappingInvalid) as raised:
        load_mapping(written(tmp_path, WHOLE.replace(changed, to)))

    assert said in str(raised.value)
    assert "shop-crm.yml" in str(raised.value)


@pytest.mark.parametrize("name", ["retailcmr", "no/such/file.yml", "."])
def test_a_mapping_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(MappingInvalid, match=r"CRM_MAPPING: .* name one of bitrix24, retailcrm, retailcrm-external"):
        load_mapping(name)


def test_a_mapping_of_ones_own_says_only_what_differs(tmp_path: Path) -> None:
    """Key by key; null takes a key of the extended mapping away."""
    text = 'extends: retailcrm\norder: {query: {limit: null}, statuses: {complete: вручён}}\nnobody: "000"\n'

    own, base = load_mapping(written(tmp_path, text)), load_mapping("retailcrm")

    assert own.order.query == {"filter[numbers][]": "{number}"}
    assert own.order.statuses == {**base.order.statuses, "complete": "вручён"}
    assert (own.nobody, own.customer, own.order.facts) == ("000", base.customer, base.order.facts)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"crm_url": "https://x.example"}, "CRM_URL and CRM_MAPPING must be set together"),
        ({"crm_mapping": "retailcrm"}, "CRM_URL and CRM_MAPPING must be set together"),
        ({"crm_url": "x.retailcrm.ru", "crm_mapping": "retailcrm"}, "CRM_URL: write the whole address"),
        (
            {"crm_url": "https://x.example", "crm_mapping": "retailcrm", "crm_token": "ключ"},
            "CRM_TOKEN: copy it again",
        ),
    ],
)
def test_settings_that_do_not_fit_are_named(settings: dict[str, str], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Settings(_env_file=None, **settings)


def test_a_mapping_that_sends_a_key_wants_one(tmp_path: Path) -> None:
    """Every request would be refused."""
    settings = Settings(_env_file=None, crm_url="https://x.example", crm_mapping="retailcrm")

    with pytest.raises(MappingInvalid, match="CRM_TOKEN must be set"):
        connect(settings, Database(f"sqlite:///{tmp_path / 'x.db'}"))
