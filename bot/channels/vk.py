"""VK, outward: messages, typing signs and files go through the community's API, paced within its limit."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import cached_property
from typing import Any

import httpx
import requests
from vk_api.exceptions import ApiError, ApiHttpError, VkApiError
from vk_api.keyboard import VkKeyboard

from bot.channel import FileGone, SendLater, SendRefused
from bot.channels.pace import Pace
from bot.channels.vk_lines import Lines
from bot.channels.vk_sends import Sends
from bot.models import OutboxItem, RemoteFile
from handoff.files import MAX_FILE_BYTES, FileTooLarge

CHANNEL = "vk"

#: VK takes 20 calls a second from a community, of all methods together (dev.vk.com/api/api-requests).
CALLS_A_SECOND = 20
#: Messages under way at once: should they all hang, there is room for the few calls of other kinds.
SENDS_AT_ONCE = CALLS_A_SECOND - 2
#: A file that has not come whole after this long is asked for again.
DOWNLOAD_S = 60.0

#: What VK shows below a message (dev.vk.com/api/bots/development/keyboard).
MOST_BUTTONS = 6
LONGEST_LABEL = 40

#: Errors by VK's codes (errors.json of VK's API schema). Too many calls, too many messages to one customer, a captcha.
WAITS = {6: timedelta(seconds=1), 9: timedelta(seconds=60), 14: timedelta(seconds=60)}
#: The token is invalid or lacks a right: somebody must look at it, and then everything may be sent.
WRONG_TOKEN = {5, 7, 15, 27, 28, 1117}
#: This customer is gone, has forbidden messages, or has not accepted the request to write to him.
UNREACHABLE = {18, 37, 39, 113, 900, 901, 902, 936, 939, 987, 988, 3610}
#: Codes of the message itself; below are those of the call and of VK's own trouble, which may be over the next time.
REFUSALS = range(100, 1000)

GONE = {403, 404, 410}


class VkChannel:
    """See `bot.channel.Channel`. `api_base` is the address of the API's server, with or without "/method/"."""

    def __init__(self, token: str, group_id: int, api_base: str = "") -> None:
        self.group_id = group_id
        self._pace = Pace(CALLS_A_SECOND)
        self._lines = Lines(token, api_base)
        self._sends = Sends(self._lines, self._pace, SENDS_AT_ONCE)

    @cached_property
    def _files(self) -> httpx.AsyncClient:
        # With the first file: to read all certificates takes 0.1 s.
        return httpx.AsyncClient(follow_redirects=True, timeout=10)

    async def call(self, method: str, **values: Any) -> Any:
        """Call a method of the API when the pace allows it.

        Raises:
            VkApiError: VK refuses.
            requests.RequestException: VK cannot be reached, or talks gibberish.
        """
        async with self._pace.place(self._lines.lead_s) as place:
            return await self._lines.call(method, values, place)

    async def send(self, item: OutboxItem, leaves: Callable[[], object] = lambda: None) -> str:
        """See `bot.channel.Channel.send`. Never `MaybeSent`: VK recognises a repetition by its `random_id`."""
        values = {"peer_id": peer_of(item.sender_id), "random_id": random_id(item), "message": item.text}
        if item.buttons:
            values["keyboard"] = _keyboard(item.buttons)
        try:
            return str(await self._sends.send(values | {"dont_parse_links": 1}))
        except (VkApiError, requests.RequestException) as error:
            raise _meaning(error) from error

    async def typing(self, sender_id: str) -> None:
        """See `bot.channel.Channel.typing`; left out where answers need the rate."""
        if self._pace.has_room:
            await self.call("messages.setActivity", peer_id=peer_of(sender_id), type="typing")

    async def download(self, file: RemoteFile) -> bytes:
        """See `bot.channel.Channel.download`."""
        content = bytearray()
        try:
            async with asyncio.timeout(DOWNLOAD_S), self._files.stream("GET", file["id"]) as response:
                if response.status_code in GONE:
                    raise FileGone(f"VK answered {response.status_code}")
                if not response.is_success:  # without the address: it opens the file to everybody
                    raise ConnectionError(f"VK answered {response.status_code}")
                async for part in response.aiter_bytes():
                    content += part
                    if len(content) > MAX_FILE_BYTES:
                        raise FileTooLarge(len(content))
        except httpx.UnsupportedProtocol as error:
            raise FileGone("VK gave no address") from error
        return bytes(content)

    async def close(self) -> None:
        """Close the connections."""
        self._lines.close()
        if "_files" in vars(self):
            await self._files.aclose()


def peer_of(sender_id: str) -> int:
    """The customer's number at VK."""
    return int(sender_id.removeprefix(f"{CHANNEL}:"))


def random_id(item: OutboxItem) -> int:
    """What VK recognises a repeated message by: 31 bits, never 0, and others after the database was made anew."""
    row = f"{item.id} {item.created_at.isoformat()} {item.sender_id}"
    return int.from_bytes(hashlib.sha256(row.encode()).digest()[:4]) & 0x7FFF_FFFF or 1


def reason(error: Exception) -> str:
    """What to tell an operator: without addresses, which hold keys."""
    if isinstance(error, ApiError):
        return f"VK says {error}"
    if isinstance(error, ApiHttpError):
        return f"VK answered with HTTP {error.response.status_code}"
    return f"VK cannot be reached: {type(error).__name__}"


def _meaning(error: Exception) -> SendLater | SendRefused:
    """What an error means for a message; sent again with the same `random_id` it arrives once."""
    code = error.code if isinstance(error, ApiError) else 0
    if code in WRONG_TOKEN:
        return SendLater(f"VK_TOKEN is not accepted: {reason(error)}")
    if code in UNREACHABLE:
        return SendRefused(f"the customer cannot be written to: {reason(error)}", unreachable=True)
    if code in REFUSALS:
        return SendRefused(reason(error))
    return SendLater(reason(error), WAITS.get(code))


def _keyboard(buttons: Sequence[dict[str, Any]]) -> str:
    """One text button a row: what is chosen becomes a message, in every client of VK, and can be found again."""
    keyboard = VkKeyboard(inline=True)
    for place, button in enumerate(buttons[:MOST_BUTTONS]):
        title = button["title"]
        if place:
            keyboard.add_line()
        label = title if len(title) <= LONGEST_LABEL else f"{title[: LONGEST_LABEL - 1]}…"
        keyboard.add_button(label, payload={"key": button["key"]})
    return str(keyboard.get_keyboard())
