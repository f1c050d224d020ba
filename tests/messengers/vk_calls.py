"""Compares a call with the description of VK's API (vk_methods.yml) and says what VK would object to."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

VERSION = "5.199"
MESSAGES = {
    1: "Unknown error occurred",
    3: "Unknown method passed",
    5: "User authorization failed",
    6: "Too many requests per second",
    8: "Invalid request",
    9: "Flood control",
    10: "Internal server error",
    12: "Unable to compile code",
    13: "Runtime error occurred during code invocation",
    14: "Captcha needed",
    15: "Access denied",
    100: "One of the parameters specified was missing or invalid",
    105: "Couldn't save file",
    900: "Can't send messages for users from blacklist",
    901: "Can't send messages for users without permission",
    902: "Can't send messages to this user due to their privacy settings",
    911: "Keyboard format is invalid",
    914: "Message is too long",
    917: "You don't have access to this chat",
}


class VkError(Exception):
    """An error as VK answers it."""

    def __init__(self, code: int, detail: str = "") -> None:
        known = MESSAGES.get(code, "Error")
        super().__init__(f"{known}: {detail}" if detail else known)
        self.code = code

    def as_json(self, params: dict[str, str]) -> dict[str, Any]:
        shown = [{"key": key, "value": value} for key, value in params.items()]
        # vk-api reads the picture of a captcha without asking whether there is one.
        picture = {"captcha_sid": "1", "captcha_img": "https://api.vk.ru/captcha.php?sid=1"} if self.code == 14 else {}
        return {"error": {"error_code": self.code, "error_msg": str(self), "request_params": shown, **picture}}


@cache
def methods() -> dict[str, dict[str, Any]]:
    """The description by the name of the method."""
    described: dict[str, dict[str, Any]] = YAML(typ="safe").load(Path(__file__).with_name("vk_methods.yml"))
    return described


def objections(method: str, params: dict[str, str], repeated: Collection[str] = ()) -> Iterator[VkError]:
    """What is wrong with a call; `repeated` are parameters that came more than once."""
    described = methods().get(method)
    if described is None:
        yield VkError(3, method)
        return
    if method != "poll" and params.get("v") != VERSION:
        yield VkError(8, f"v (version) is {params.get('v')!r}, not {VERSION}")
    allowed: dict[str, dict[str, Any]] = described["parameters"]
    for name in sorted(params.keys() - allowed.keys() - {"v", "access_token", "lang"}):
        yield VkError(100, f"{name} is unknown")
    for name in sorted(repeated):
        yield VkError(100, f"{name} is given more than once: VK takes lists separated by commas")
    for names in described.get("one_of", ()):
        if not any(params.get(name, "").strip() for name in names):
            yield VkError(100, f"one of {', '.join(names)} is required")
    for name, kind in allowed.items():
        if name in params:
            for wrong in _wrong_value(params[name], kind):
                yield VkError(kind.get("error", 100), f"{name} {wrong}")
        elif kind.get("required"):
            yield VkError(100, f"{name} is required")
    if method == "messages.sendMessageEventAnswer":
        yield from (VkError(100, wrong) for wrong in _wrong_popup(_object(params.get("event_data", "")) or {}))
    if method == "messages.send" and _object(params.get("keyboard", "")):
        yield from (VkError(911, wrong) for wrong in _wrong_keyboard(json.loads(params["keyboard"])))


def _wrong_value(value: str, kind: dict[str, Any]) -> Iterator[str]:
    size = len(value)
    match kind["type"]:
        case "int":
            if not re.fullmatch(r"-?\d+", value):
                yield f"is no number: {value!r}"
                return
            size = int(value)
        case "flag":
            if value not in ("0", "1"):  # requests writes Python's True as "True"
                yield f"is neither 0 nor 1: {value!r}"
        case "list":
            items = value.split(",")
            size = len(items)
            if kind.get("of") == "int" and not all(re.fullmatch(r"-?\d+", item) for item in items):
                yield f"is no list of numbers: {value!r}"
        case "json":
            if _object(value) is None:
                yield f"is no JSON object: {value!r}"
    if "in" in kind and value not in kind["in"]:
        yield f"is {value!r}, not one of {', '.join(kind['in'])}"
    if kind.get("not_zero") and not size:
        yield "is 0"
    if not kind.get("min", size) <= size <= kind.get("max", size):
        yield f"is out of bounds: {size}, allowed {kind.get('min', '')}..{kind.get('max', '')}"


def _wrong_keyboard(keyboard: dict[str, Any]) -> Iterator[str]:
    """See dev.vk.com/api/bots/development/keyboard; two limits say how many buttons: the grid and the total."""
    inline, rows = bool(keyboard.get("inline")), keyboard.get("buttons")
    most_rows, most_buttons = (6, 10) if inline else (10, 40)
    if unknown := keyboard.keys() - {"one_time", "inline", "buttons"}:
        yield f"unknown fields {sorted(unknown)}"
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        yield "buttons is no list of rows"
        return
    if inline and keyboard.get("one_time"):
        yield "one_time does not go with inline"
    if len(rows) > most_rows or any(not 1 <= len(row) <= 5 for row in rows):
        yield f"not 1 to 5 buttons in at most {most_rows} rows"
    buttons = [button for row in rows for button in row]
    if len(buttons) > most_buttons:
        yield f"{len(buttons)} buttons, at most {most_buttons}"
    for button in buttons:
        yield from _wrong_button(button)


def _wrong_button(button: dict[str, Any]) -> Iterator[str]:
    action = button.get("action", {})
    kind, payload = action.get("type"), action.get("payload")
    needed = {"text": {"label"}, "callback": {"label"}, "open_link": {"label", "link"}, "location": set()}.get(kind)
    if needed is None or needed - action.keys() or action.keys() - needed - {"type", "payload"}:
        yield f"button action {action}"
        return
    if "label" in needed and not 1 <= len(action["label"]) <= 40:
        yield f"label of {len(action['label'])} characters, allowed 1..40"
    if payload is not None and (not isinstance(payload, str) or len(payload) > 255 or not _is_json(payload)):
        yield f"payload is no JSON of at most 255 characters: {payload!r}"
    if "color" in button and (kind not in ("text", "callback") or button["color"] not in COLOURS):
        yield f"color {button['color']!r} of a button of type {kind}"


def _wrong_popup(popup: dict[str, Any]) -> Iterator[str]:
    needed = {"show_snackbar": {"text"}, "open_link": {"link"}, "open_app": {"app_id", "hash"}}
    if popup and needed.get(popup.get("type", ""), set()) != popup.keys() - {"type", "owner_id"}:
        yield f"event_data {popup}"
    if len(popup.get("text", "")) > 90:
        yield f"event_data with a text of {len(popup['text'])} characters, allowed 90"


#: The schema says "default" where the documentation, and vk-api, say "secondary".
COLOURS = {"primary", "secondary", "negative", "positive", "default"}


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _object(text: str) -> dict[str, Any] | None:
    found = json.loads(text) if _is_json(text) else None
    return found if isinstance(found, dict) else None
