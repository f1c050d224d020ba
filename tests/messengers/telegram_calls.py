"""Compares a call with the description of Telegram's Bot API (telegram_methods.yml), and reads Telegram's HTML."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

DESCRIBED: dict[str, Any] = YAML(typ="safe").load(Path(__file__).with_name("telegram_methods.yml"))

SCALAR = re.compile(r"(integer|string|bytes|text|boolean|chat|file|update)(?: (\d+)-(\d+))?(?: matching (\S+))?")
LIST = re.compile(r"list(?: (\d+)-(\d+))? of (.+)")

#: Tags and attributes that Telegram knows (core.telegram.org/bots/api#html-style); others it does not parse.
TAGS = {
    **dict.fromkeys(("b", "strong", "i", "em", "u", "ins", "s", "strike", "del", "tg-spoiler", "pre"), ""),
    "a": r' href="[^"]*"',
    "span": r' class="tg-spoiler"',
    "code": r'( class="language-[^"]*")?',
    "blockquote": r"( expandable)?",
}
MARKUP = re.compile(r"<(/?)([a-z-]+)([^<>]*)>|&(?:lt|gt|amp|quot|#\d+|#x[0-9a-f]+);|[<&]", re.IGNORECASE)

Params = dict[str, Any]


class ApiError(Exception):
    """An answer that is not ok, in Telegram's words."""

    def __init__(self, code: int, description: str, **parameters: int) -> None:
        super().__init__(f"{code} {description}")
        self.code = code
        self.description = description
        self.parameters = parameters

    def as_json(self) -> Params:
        more = {"parameters": self.parameters} if self.parameters else {}
        return {"ok": False, "error_code": self.code, "description": self.description, **more}


class Violation(ApiError):
    """A call that no bot should make; `wrong` says in our words what is wrong with it."""

    def __init__(self, wrong: str, description: str = "", code: int = 400) -> None:
        super().__init__(code, description or f"Bad Request: {wrong}")
        self.wrong = wrong


def checked(method: str, given: Params) -> Params:
    """The parameters as Python values, a text as the customer reads it.

    Raises:
        Violation: the call does not fit the description.
    """
    if method not in DESCRIBED["methods"]:
        raise Violation("unknown method", "Not Found: method not found", 404)
    return _fields(DESCRIBED["methods"][method], given, "")


def _fields(described: dict[str, str], given: Params, where: str) -> Params:
    kinds = {name.rstrip("!"): kind for name, kind in described.items()}
    alternatives = kinds.pop("exactly one of", "").split()
    for name in given.keys() - kinds.keys():
        raise Violation(f"unknown parameter {where}{name}")
    for name in (name.rstrip("!") for name in described if name.endswith("!")):
        if given.get(name) in (None, ""):
            raise Violation(f"{where}{name} is missing", f"Bad Request: {name} is empty")
    if alternatives and len(given.keys() & set(alternatives)) != 1:
        raise Violation(f"{where} needs exactly one of {alternatives}")
    values = {name: _value(kinds[name], value, where + name) for name, value in given.items()}
    for name in (name for name in values if kinds[name].startswith("text")):
        values[name] = _text(kinds[name], values[name], given.get("parse_mode"), where + name)
    return values


def _value(kind: str, given: Any, where: str) -> Any:
    if found := SCALAR.fullmatch(kind):
        return _scalar(found, given, where)
    if kind.startswith("one of "):
        if given not in kind.split()[2:]:
            raise Violation(f"{where} is {given!r}, not {kind}")
        return given
    if isinstance(given, str):  # lists and objects come as JSON in a form
        try:
            given = json.loads(given)
        except ValueError:
            raise Violation(f"{where} is not JSON", "Bad Request: can't parse JSON object") from None
    if found := LIST.fullmatch(kind):
        low, high, of = found.groups()
        if not isinstance(given, list):
            raise Violation(f"{where} is not a list")
        _measure(len(given), low, high, where)
        return [_value(of, item, f"{where}[{index}]") for index, item in enumerate(given)]
    if not isinstance(given, dict):
        raise Violation(f"{where} is not an object")
    for name in (names := kind.split(" or ")):
        described = DESCRIBED["objects"][name]
        if name == names[-1] or all(field.rstrip("!") in given for field in described if field.endswith("!")):
            return _fields(described, given, f"{where}.")
    raise AssertionError(f"{kind} is not described")


def _scalar(kind: re.Match[str], given: Any, where: str) -> Any:
    name, low, high, pattern = kind.groups()
    match name:
        case "boolean" if given in (True, False, "true", "false", "True", "False", "1", "0"):
            return given in (True, "true", "True", "1")
        case "integer" | "chat" if not isinstance(given, bool) and re.fullmatch(r"-?\d+", str(given)):
            _measure(int(given), low, high, where)
            return int(given)
        case "chat" if isinstance(given, str) and given.startswith("@"):
            return given
        case "file" if isinstance(given, Upload | str):
            return given
        case "update" if given in DESCRIBED["updates"] + DESCRIBED["updates only when asked for"]:
            return given
        case "text" if isinstance(given, str):
            return given  # measured when parse_mode is known
        case "string" | "bytes" if isinstance(given, str):
            words = "Bad Request: BUTTON_DATA_INVALID" if name == "bytes" else ""
            _measure(len(given.encode() if name == "bytes" else given), low, high, where, words)
            if pattern is None or re.fullmatch(pattern, given):
                return given
    raise Violation(f"{where} is {given!r}, not {kind.string}")


def _text(kind: str, given: str, parse_mode: str | None, where: str) -> str:
    text = (visible(given) if parse_mode == "HTML" else given).strip()
    found = SCALAR.fullmatch(kind)
    assert found is not None
    # UTF-16 units, as in the offsets of entities: what is short enough by this measure is so by any other.
    words = "Bad Request: message is too long" if text else "Bad Request: text must be non-empty"
    _measure(len(text.encode("utf-16-le")) // 2, found[2], found[3], where, words)
    return text


def _measure(size: int, low: str | None, high: str | None, where: str, description: str = "") -> None:
    if low is not None and high is not None and not int(low) <= size <= int(high):
        raise Violation(f"{where} measures {size}, not {low}-{high}", description)


class Upload(bytes):
    """A file that came with the call."""

    name: str = ""


def visible(text: str) -> str:
    """What the customer reads of a text in HTML.

    Stricter than Telegram in one thing: a bare "&" is refused although Telegram shows it as it is, because who
    forgets to escape it forgets "<" too.

    Raises:
        Violation: Telegram could not parse it.
    """
    open_tags: list[str] = []
    for found in MARKUP.finditer(text):
        closing, tag, attributes = found[1], (found[2] or "").lower(), found[3]
        wrong = ""
        if tag and closing:
            if not open_tags or open_tags.pop() != tag or attributes:
                wrong = f'Unmatched end tag "{found[0]}"'
        elif tag:
            if tag not in TAGS or not re.fullmatch(TAGS[tag], attributes):
                wrong = f'Unsupported start tag "{tag}{attributes}"'
            open_tags.append(tag)
        elif found[0] in "<&":
            wrong = f'Unescaped "{found[0]}"'
        if wrong:
            raise _cannot_parse(f"{wrong} at byte offset {len(text[: found.start()].encode())}")
    if open_tags:
        raise _cannot_parse(f'Can\'t find end tag corresponding to start tag "{open_tags[-1]}"')
    return MARKUP.sub(lambda found: "" if found[2] else html.unescape(found[0]), text)


def _cannot_parse(why: str) -> Violation:
    return Violation(f"broken HTML: {why}", f"Bad Request: can't parse entities: {why}")
