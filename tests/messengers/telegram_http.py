"""An HTTP server in threads that may hang up instead of answering, and reads calls as Telegram does: JSON or forms.

Written on http.server because an ASGI server always finishes what it has begun: it cannot hang up on a client.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from python_multipart import parse_form
from python_multipart.multipart import Field, File

from .telegram_calls import Params, Upload

#: Status, content type and content; None closes the connection without a word.
Answer = tuple[int, str, bytes] | None


class Request:
    """A call: its path, its parameters and its way back."""

    def __init__(self, path: str, params: Params, connection: socket.socket) -> None:
        self.path = path
        self.params = params
        self._connection = connection

    def caller_is_gone(self) -> bool:
        """Whether nobody waits for the answer any more."""
        try:
            return self._connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True


class Server(ThreadingHTTPServer):
    """Serves `answer` on loopback from a thread until `close`; `on_failure` gets what goes wrong in it."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self, port: int, answer: Callable[[Request], Answer], on_failure: Callable[[BaseException], None]
    ) -> None:
        self.connections: set[Any] = set()
        self.answer = answer
        self._on_failure = on_failure
        super().__init__(("127.0.0.1", port), _Handler)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Hang up on everybody and leave the port."""
        self.shutdown()
        self._thread.join()
        self.server_close()
        for connection in list(self.connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def get_request(self) -> Any:
        """See `socketserver.TCPServer.get_request`."""
        connection, address = super().get_request()
        self.connections.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        """See `socketserver.TCPServer.shutdown_request`."""
        self.connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """See `socketserver.BaseServer.handle_error`; that a client was killed is no failure."""
        failure = sys.exception()
        if failure is not None and not isinstance(failure, OSError):
            self._on_failure(failure)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # headers and body leave together: else each answer waits 40 ms for a delayed ACK
    server: Server

    def do_POST(self) -> None:
        path, query = urlsplit(self.path)[2:4]
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if len(body) < length:  # the caller was killed while it spoke
            self.close_connection = True
            return
        params = dict(parse_qsl(query, keep_blank_values=True)) | _params(self.headers.get("Content-Type", ""), body)
        answer = self.server.answer(Request(path, params, self.connection))
        if answer is None:
            self.close_connection = True
            return
        status, content_type, content = answer
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST

    def log_message(self, format: str, *args: Any) -> None:
        pass


def _params(content_type: str, body: bytes) -> Params:
    if not body:
        return {}
    if content_type.startswith("application/json"):
        return dict(json.loads(body))
    if not content_type.startswith("multipart/"):
        return dict(parse_qsl(body.decode(), keep_blank_values=True))
    params: Params = {}

    def on_field(field: Field) -> None:
        params[(field.field_name or b"").decode()] = (field.value or b"").decode()

    def on_file(file: File) -> None:
        file.file_object.seek(0)
        upload = Upload(file.file_object.read())
        upload.name = (file.file_name or b"").decode()
        params[(file.field_name or b"").decode()] = upload
        file.close()

    parse_form({"Content-Type": content_type.encode()}, BytesIO(body), on_field, on_file)
    return params
