"""An HTTP server in a thread that may also close the connection instead of answering.

Written on http.server because an ASGI server always finishes what it has begun: it cannot hang up on a client.
"""

from __future__ import annotations

import socket
import sys
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True)
class Request:
    """What came in; of a parameter that came more than once `params` holds the last value, as VK takes it."""

    path: str
    params: dict[str, str]
    repeated: frozenset[str]
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Response:
    """What goes out."""

    body: bytes
    status: int = 200
    content_type: str = "application/json; charset=utf-8"
    headers: dict[str, str] = field(default_factory=dict)


Answer = Callable[[Request], Response | None]


class Server(ThreadingHTTPServer):
    """Serves `answer` on loopback until `close`; None as an answer closes the connection."""

    daemon_threads = False  # else server_close() would not wait for them
    request_queue_size = 128

    def __init__(self, port: int, answer: Answer) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.answer = answer
        self.failures: list[str] = []
        self._connections: set[Any] = set()
        self._thread = Thread(target=self.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Hang up on everybody; who asks from now on finds the port closed."""
        self.shutdown()
        for connection in list(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.server_close()
        self._thread.join()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """See `socketserver.BaseServer.handle_error`; that a caller was killed is no failure."""
        if not isinstance(sys.exception(), OSError):
            self.failures.append(traceback.format_exc())


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # headers and body in one segment: else each answer waits 40 ms for a delayed ACK
    server: Server

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if len(body) < length:  # the caller was killed while it spoke
            self.close_connection = True
            return
        form = "x-www-form-urlencoded" in self.headers.get("Content-Type", "")
        pairs = parse_qsl(url.query, True) + (parse_qsl(body.decode(), True) if form else [])
        repeated = frozenset(name for name, times in Counter(name for name, _ in pairs).items() if times > 1)
        headers = {name.lower(): value for name, value in self.headers.items()}
        response = self.server.answer(Request(url.path, dict(pairs), repeated, headers, body))
        if response is None:
            self.close_connection = True
            return
        self.send_response(response.status)
        sent = {"Content-Type": response.content_type, "Content-Length": str(len(response.body)), **response.headers}
        for name, value in sent.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(response.body)

    do_POST = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        pass


def uploaded_file(request: Request) -> tuple[str, bytes]:
    """Name and content of the only file in a multipart form."""
    boundary = request.headers["content-type"].partition("boundary=")[2].strip('"').encode()
    head, _, content = request.body.split(b"--" + boundary)[1].partition(b"\r\n\r\n")
    return head.decode().partition('filename="')[2].partition('"')[0], content.removesuffix(b"\r\n")
