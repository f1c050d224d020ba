"""CRMs for tests: real HTTP servers on loopback that object to requests which RetailCRM or Bitrix24 would not take."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Query = dict[str, list[str]]
Json = dict[str, Any]

GARBAGE = b"<html><body>Welcome to the network of this hotel</body></html>"


class FakeCrm:
    """Answers GET requests until `close`. `asked` are path and query of each; `fault` is what goes wrong from now on.

    `fault`: an HTTP status, bytes instead of the answer, "hang" for no answer at all, "drip" for one without an end.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, Query]] = []
        self.fault: int | bytes | str | None = None
        self._closing = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        """Hang up."""
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()

    def respond(self, path: str, query: Query, headers: Any) -> tuple[int, bytes]:
        """Status and body of one request."""
        self.asked.append((path, query))
        if self.fault == "hang":
            self._closing.wait(30)
        if isinstance(self.fault, bytes):
            return 200, self.fault
        if isinstance(self.fault, int):
            return self.fault, b"{}"
        status, found = self.find(path, query, headers)
        return status, json.dumps(found, ensure_ascii=False).encode()

    def drip(self, output: Any) -> None:
        """A byte now and then, faster than any time-out between two of them."""
        while not self._closing.wait(0.02):
            output.write(b" ")

    def find(self, path: str, query: Query, headers: Any) -> tuple[int, Any]:
        """What this CRM knows."""
        raise NotImplementedError


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was made to wait for too long has gone; anything else is a slip in a test."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def _handler(crm: FakeCrm) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            status, body = crm.respond(parts.path, parse_qs(parts.query, strict_parsing=True), self.headers)
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body) if crm.fault != "drip" else 1_000_000))
            self.end_headers()
            if crm.fault == "drip":
                crm.drip(self.wfile)
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler


def order(order_id: int, number: str, customer_id: int | None, **more: Any) -> Json:
    """An order as RetailCRM v5 shows it, without what we do not look at."""
    return {
        "id": order_id,
        "number": number,
        "externalId": f"site-{order_id}",
        "createdAt": "2026-11-02 10:20:30",
        "status": "delivering",
        "totalSumm": 7900.50,
        "currency": "RUB",
        "customer": {"type": "customer", "id": customer_id, "site": "jeans"} if customer_id else [],
        "delivery": {"code": "russian-post", "date": "2026-11-18", "address": {"text": "Москва, Тверская, д. 1"}},
        "items": [
            {"id": 1, "quantity": 1, "offer": {"displayName": "Джинсы 32/34", "externalId": "77"}},
            {"id": 2, "quantity": 1, "offer": {"displayName": "Ремень"}},
            {"id": 3, "quantity": 1, "offer": []},
        ],
        "customFields": [],
        **more,
    }


class FakeRetailCrm(FakeCrm):
    """RetailCRM's API v5: lists of orders and customers by filters, a key in a header."""

    KEY = "a-retailcrm-key"

    def __init__(self) -> None:
        super().__init__()
        self.orders = [order(9001, "GW-48213", 501), order(9002, "50777", 502, createdAt="2026-10-01 09:00:00")]
        self.customers = [
            {"id": 501, "firstName": "Мария", "lastName": "Ковалёва", "email": "Maria@Example.com"},
            {"id": 502, "firstName": "Peter", "email": "peter@example.com"},
        ]

    def find(self, path: str, query: Query, headers: Any) -> tuple[int, Any]:
        """See `FakeCrm.find`."""
        if headers["X-API-KEY"] != self.KEY:
            return 403, {"success": False, "errorMsg": 'Wrong "apiKey" value.'}
        if query.get("limit", ["20"]) not in (["20"], ["50"], ["100"]):
            return 400, {"success": False, "errorMsg": "Errors in the input parameters"}
        name = path.removeprefix("/api/v5/")
        filters = {
            "orders": {
                "filter[numbers][]": lambda row: row["number"],
                "filter[externalIds][]": lambda row: row["externalId"],
                "filter[customerId]": lambda row: str(dict(row["customer"]).get("id")),
            },
            "customers": {"filter[ids][]": lambda row: str(row["id"])},
        }.get(name)
        used = [key for key in query if key != "limit"]
        if filters is None or len(used) != 1 or used[0] not in filters:
            return 400, {"success": False, "errorMsg": "Errors in the input parameters", "errors": used}
        rows: Iterable[Json] = getattr(self, name)
        found = [row for row in rows if filters[used[0]](row) in query[used[0]]]
        page = {"limit": 20, "totalCount": len(found), "currentPage": 1, "totalPageCount": 1}
        return 200, {"success": True, "pagination": page, name: found}


class FakeBitrix24(FakeCrm):
    """Bitrix24's REST API behind an inbound webhook: crm.deal.list and crm.contact.list, everything a string."""

    SECRET = "ab12cd34"

    def __init__(self) -> None:
        super().__init__()
        self.deals = [
            deal("37", "GW-48213", "12", STAGE_SEMANTIC_ID="S", DATE_CREATE="2026-11-02T10:20:30+03:00"),
            deal("38", "50777", "12"),
            deal("39", None, "12", TITLE="Звонок"),
        ]
        emails = [("MAILING", "m.kovaleva@example.org"), ("WORK", "maria@example.com"), ("HOME", "не знает")]
        self.contacts = [
            {
                "ID": "12",
                "NAME": "Мария",
                "LAST_NAME": "Ковалёва",
                "EMAIL": [
                    {"ID": str(n), "VALUE_TYPE": kind, "VALUE": address, "TYPE_ID": "EMAIL"}
                    for n, (kind, address) in enumerate(emails)
                ],
            },
            {"ID": "13", "NAME": "Пётр", "LAST_NAME": None},  # EMAIL is left out where there is none
        ]

    @property
    def webhook(self) -> str:
        return f"{self.url}/rest/1/{self.SECRET}/"

    def find(self, path: str, query: Query, headers: Any) -> tuple[int, Any]:
        """See `FakeCrm.find`."""
        start, _, method = path.rpartition("/")
        if start != f"/rest/1/{self.SECRET}":
            return 401, {"error": "INVALID_CREDENTIALS", "error_description": "Invalid request credentials"}
        rows = {"crm.deal.list": self.deals, "crm.contact.list": self.contacts}.get(method)
        if rows is None:
            return 404, {"error": "ERROR_METHOD_NOT_FOUND", "error_description": "Method not found!"}
        [(name, wanted)] = [(key[8:-1], said) for key, said in query.items() if key.startswith("filter[=")]
        chosen = query["select[]"]
        found = [
            {key: value for key, value in row.items() if key in chosen} for row in rows if row.get(name) == wanted[0]
        ]
        return 200, {"result": found, "total": len(found), "time": {"duration": 0.1}}


def deal(deal_id: str, number: str | None, contact_id: str, **more: Any) -> Json:
    """A deal as crm.deal.list shows it."""
    return {
        "ID": deal_id,
        "ORIGIN_ID": number,
        "CONTACT_ID": contact_id,
        "TITLE": f"Джинсы {deal_id}",
        "STAGE_ID": "C1:NEW",
        "STAGE_SEMANTIC_ID": "P",
        "OPPORTUNITY": "7900.00",
        "CURRENCY_ID": "RUB",
        "DATE_CREATE": "2026-09-02T18:37:18+03:00",
        **more,
    }
