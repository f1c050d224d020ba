"""Calls to the Bot API over aiohttp, for python-telegram-bot: at most half the CPU of its own way, which is httpx."""

from __future__ import annotations

import ssl
from functools import cache, cached_property, lru_cache
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import httpx
from telegram.error import NetworkError, TimedOut
from telegram.request import BaseRequest, RequestData

from handoff.errors import HandoffError

#: How long a free connection, and then a new one, is waited for, in seconds.
POOL_S = 5.0
CONNECT_S = 5.0

#: An idle connection is kept as long as httpx kept it. It must be us who hang up, or a message meets the moment when
#: Telegram does, and nobody knows whether it arrived: nginx does so after 75 s, a Bot API server of one's own after
#: 500 s (its HttpServer.h), and routers forget an idle connection after minutes.
KEPT_S = 5.0

#: Addresses whose proxy is remembered: one for each method that we call, and a few files.
PROXIES = 64

DEFAULT = BaseRequest.DEFAULT_NONE

#: With these the call never left us: no free connection, no new one, or a proxy that lets nobody through.
NOT_SENT = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.ClientHttpProxyError)


class ProxyNotSupported(HandoffError):
    """The way out that the environment names is none for us."""


class TelegramRequest(BaseRequest):
    """At most `connections` calls at once; `answer_s` is how long each waits for its answer, in seconds."""

    def __init__(self, connections: int, answer_s: float = 5.0) -> None:
        self._connections, self._answer_s = connections, answer_s
        self._proxy = lru_cache(PROXIES)(proxy_of)

    @property
    def read_timeout(self) -> float:
        """See `BaseRequest.read_timeout`."""
        return self._answer_s

    @cached_property
    def _http(self) -> aiohttp.ClientSession:
        # With the first call: it belongs to the running event loop.
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._connections, keepalive_timeout=KEPT_S, ssl=_certificates()),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": self.USER_AGENT},
        )

    async def initialize(self) -> None:
        """See `BaseRequest.initialize`; only after `shutdown` is there anything to do."""
        if "_http" in vars(self) and self._http.closed:
            del self._http

    async def shutdown(self) -> None:
        """See `BaseRequest.shutdown`."""
        if "_http" in vars(self):
            await self._http.close()

    async def do_request(
        self,
        url: str,
        method: str,
        request_data: RequestData | None = None,
        read_timeout: Any = DEFAULT,
        write_timeout: Any = DEFAULT,
        connect_timeout: Any = DEFAULT,
        pool_timeout: Any = DEFAULT,
    ) -> tuple[int, bytes]:
        """See `BaseRequest.do_request`.

        Without files a call is smaller than the connection's buffer: writing it takes no time that could run out. A
        POST is made once, aiohttp repeats only what changes nothing; redirected, it would be made again.

        Raises:
            TimedOut, NetworkError: their cause is one of `NOT_SENT` if the call certainly did not arrive.
        """
        if request_data and request_data.contains_files:
            raise NotImplementedError("files are not sent to Telegram")
        connect, pool = _given(connect_timeout, CONNECT_S), _given(pool_timeout, POOL_S)
        within = aiohttp.ClientTimeout(
            connect=None if connect is None or pool is None else pool + connect,
            sock_connect=connect,
            sock_read=_given(read_timeout, self._answer_s),
        )
        try:
            async with self._http.request(
                method, url, data=request_data.json_parameters if request_data else None,
                timeout=within, proxy=self._proxy(url), allow_redirects=False,
            ) as response:  # fmt: skip
                return response.status, await response.read()
        except TimeoutError as error:
            raise TimedOut from error
        except aiohttp.ClientConnectorError as error:
            raise NetworkError(f"{type(error).__name__}: {error}") from error
        except aiohttp.ClientError as error:  # its text may hold the address with the token
            raise NetworkError(type(error).__name__) from error


def _given(timeout_s: Any, otherwise: float) -> float | None:
    """What a caller of the library said, where None means for ever, or what is usual here."""
    return otherwise if timeout_s is DEFAULT else timeout_s


@cache
def _certificates() -> ssl.SSLContext:
    """Those that everything else here trusts: httpx's, or the operator's own (SSL_CERT_FILE)."""
    return httpx.create_ssl_context()


def proxy_of(url: str) -> str | None:
    """The way out that HTTPS_PROXY, ALL_PROXY and NO_PROXY demand.

    Asked itself, aiohttp would look anew with every call, in two threads: twice the CPU of the call.

    Raises:
        ProxyNotSupported: it is not an HTTP proxy.
    """
    address = urlsplit(url)
    proxies = getproxies()
    proxy = proxies.get(address.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(address.hostname or ""):
        return None
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    if urlsplit(proxy).scheme not in ("http", "https"):
        raise ProxyNotSupported("Telegram can be reached through an HTTP proxy only: change HTTPS_PROXY or ALL_PROXY")
    return proxy
