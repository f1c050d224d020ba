"""A CRM behind a REST API, asked as a mapping file says.

Nothing is kept of an answer: a known order would be answered faster than an unknown one, and an address that the shop
has changed would go on being mailed. A search may be fuzzy, so what it finds counts only if it equals what was asked.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from datetime import date, datetime
from typing import Any, NoReturn
from urllib.parse import quote

import httpx

from handoff.crm.addresses import can_be_mailed
from handoff.crm.mapping import LookUp, Mapping
from handoff.crm.port import CrmUnavailable, Customer, Order, OrderBrief
from handoff.identifiers import normalise_order_number
from handoff.mail.reading import storable
from handoff.shop import LANGUAGES

log = logging.getLogger(__name__)

#: One request, from connecting to the last byte: a customer waits for the answer of two.
TIMEOUT_S = 5.0

#: After a failure nobody is made to wait for the same for so long.
REST_S = 10.0

#: What the tables of tickets hold of an id.
LONGEST_ID = 64

Row = dict[str, Any]


class RestCrm:
    """See `CrmPort`."""

    def __init__(
        self, url: str, token: str, mapping: Mapping, *, timeout_s: float = TIMEOUT_S, rest_s: float = REST_S
    ) -> None:
        self._url = url.rstrip("/")
        self._token = token
        self._mapping = mapping
        self._timeout_s = timeout_s
        self._rest_s = rest_s
        self._resting_until = 0.0
        self._tls = httpx.create_ssl_context()

    async def order(self, number: str) -> Order | None:
        """See `CrmPort.order`."""
        look_up = self._mapping.order
        rows = await self._rows("order", look_up, number=look_up.spelled(number) or self._mapping.nobody)
        self._expect("order", rows, look_up.facts.number)
        found = [order for order in map(self._order, rows) if number and order.number == number]
        if len({order.customer_id for order in found}) > 1:
            log.warning("the CRM has order %s for several customers, so it identifies none", number)
            return None
        return found[0] if found else None

    async def customer(self, customer_id: str) -> Customer | None:
        """See `CrmPort.customer`; an empty id takes the same look-up (see `handoff.identity`)."""
        facts = self._mapping.customer.facts
        asked = customer_id or self._mapping.nobody
        rows = await self._rows("customer", self._mapping.customer, customer_id=asked)
        self._expect("customer", rows, facts.customer_id)
        for row in rows:
            if customer_id and _text(row, facts.customer_id) == customer_id:
                addresses = (text for place in facts.addresses for text in _texts(row, place))
                return Customer(
                    customer_id,
                    _text(row, facts.name),
                    _language(_text(row, facts.language)),
                    frozenset(filter(can_be_mailed, addresses)),
                )
        return None

    async def orders_of(self, customer_id: str, limit: int = 5) -> list[OrderBrief]:
        """See `CrmPort.orders_of`."""
        rows = await self._rows("orders_of", self._mapping.orders_of, customer_id=customer_id)
        self._expect("orders_of", rows, self._mapping.order.facts.customer_id)
        orders = [order for order in map(self._order, rows) if order.number and order.customer_id == customer_id]
        orders.sort(key=lambda order: order.placed_on or date.min, reverse=True)
        return [OrderBrief(o.number, o.shown_number, o.status, o.item, o.placed_on) for o in orders[:limit]]

    def _order(self, row: Row) -> Order:
        facts = self._mapping.order.facts
        shown, customer_id, status = _text(row, facts.number), _text(row, facts.customer_id), _text(row, facts.status)
        return Order(
            number=normalise_order_number(shown),
            # An id that no ticket could hold is nobody's.
            customer_id=customer_id if len(customer_id) <= LONGEST_ID else "",
            shown_number=shown,
            status=self._mapping.order.statuses.get(status, status),
            item=_text(row, facts.item),
            sum=_text(row, facts.sum),
            address=_text(row, facts.address),
            promised_on=_date(_text(row, facts.promised_on)),
            placed_on=_date(_text(row, facts.placed_on)),
        )

    async def _rows(self, name: str, look_up: LookUp, **values: str) -> list[Row]:
        """What a look-up finds.

        Raises:
            CrmUnavailable: no answer, or none that says what there is. The log says what to do about it.
        """
        if time.monotonic() < self._resting_until:
            raise CrmUnavailable("the CRM failed a moment ago")
        try:
            answer = await self._get(look_up, values | {"token": self._token})
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            self._fail(logging.WARNING, f"{name}: no answer ({type(error).__name__})")
        if answer.status_code == 404 and look_up.not_found:
            return []
        if answer.status_code != 200:
            self._fail(*_complaint(name, answer.status_code))
        try:
            found = answer.json(parse_float=str)
            for step in filter(None, look_up.rows.split(".")):
                found = found[step]
        except (ValueError, LookupError, TypeError, RecursionError):
            self._fail(logging.ERROR, f"{name}: the answer is not JSON with {look_up.rows!r} in it; see {name}.rows")
        rows = [] if found is None else found if isinstance(found, list) else [found]
        if not all(isinstance(row, dict) for row in rows):
            self._fail(logging.ERROR, f"{name}: there are no objects at {look_up.rows!r}; see {name}.rows")
        return rows

    async def _get(self, look_up: LookUp, values: dict[str, str]) -> httpx.Response:
        query = {key: _filled(said, values) for key, said in look_up.query.items()}
        path = _filled(look_up.path.lstrip("/"), {key: quote(value, safe="") for key, value in values.items()})
        headers = {key: _filled(said, values) for key, said in self._mapping.headers.items()}
        # httpx's own time-out begins anew with every piece of the answer.
        async with (
            asyncio.timeout(self._timeout_s),
            httpx.AsyncClient(verify=self._tls, timeout=self._timeout_s) as http,
        ):
            return await http.get(f"{self._url}/{path}", params=query, headers=headers)

    def _expect(self, name: str, rows: list[Row], places: list[str]) -> None:
        """Rows that all lack what they are known by show a slip in the mapping, not that there is nothing."""
        if rows and not any(_text(row, places) for row in rows):
            self._fail(logging.ERROR, f"{name}: nothing at {', '.join(places)} in the answer; see facts in the mapping")

    def _fail(self, level: int, reason: str) -> NoReturn:
        """Neither URL nor answer gets into the log: both may hold secrets and people's data."""
        self._resting_until = time.monotonic() + self._rest_s
        log.log(level, "the CRM is no help: look-up %s", reason)
        raise CrmUnavailable(f"the CRM is no help: look-up {reason}")


def _complaint(name: str, status: int) -> tuple[int, str]:
    """How loud to be about an HTTP status, and what to do."""
    if status in (401, 403):
        return logging.ERROR, f"{name}: refused ({status}); check CRM_TOKEN or the key in CRM_URL, and what it may read"
    if status == 429 or status >= 500:
        return logging.WARNING, f"{name}: answered {status}"
    return logging.ERROR, f"{name}: answered {status}; check CRM_URL and {name}.path and query in the mapping"


def _filled(said: str | list[str], values: dict[str, str]) -> Any:
    if isinstance(said, list):
        return [_filled(one, values) for one in said]
    for key, value in values.items():
        said = said.replace(f"{{{key}}}", value)
    return said


def _text(row: Row, places: list[str]) -> str:
    """A fact in one line: several values of a place with commas, several places with blanks between them."""
    return " ".join(filter(None, (", ".join(_texts(row, place)) for place in places)))


def _texts(row: Row, place: str) -> list[str]:
    """The values at a place, in one line each; a list on the way stands for all that it holds."""
    found: list[Any] = [row]
    for step in place.split("."):
        found = list(_elements([one[step] for one in found if isinstance(one, dict) and step in one]))
    texts = (" ".join(storable(str(value)).split()) for value in found if isinstance(value, (str, int)))
    return [text for text in texts if text]


def _elements(values: list[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, list):
            yield from _elements(value)
        else:
            yield value


def _language(said: str) -> str:
    """As in an import: who reads neither of our languages is served best in English, the shop's own comes first."""
    code = said[:2].lower() or LANGUAGES[0]
    return code if code in LANGUAGES else "en"


def _date(text: str) -> date | None:
    """The day of a moment in ISO 8601, or of 10.03.2026; None for anything else: a day is only for the agents' eyes."""
    for written, form in ((text[:10], "%Y-%m-%d"), (text[:10], "%d.%m.%Y")):
        try:
            return datetime.strptime(written, form).date()  # noqa: DTZ007  a day, not a moment
        except ValueError:
            continue
    return None
