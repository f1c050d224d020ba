"""HTML of a letter as plain text: quotations become lines with ">" before them, the old letter's beginning a mark."""

from __future__ import annotations

import re
from html import unescape
from urllib.parse import unquote

from inscriptis.css_profiles import CSS_PROFILES
from inscriptis.html_engine import Inscriptis
from inscriptis.model.config import ParserConfig
from lxml import etree, html

from handoff.mail.quotes import HTML_HISTORY, HTML_SIGNATURES, is_short

#: Below a line of this begins the old letter.
HISTORY_MARK = "\ue000"

#: A picture in the text: its Content-ID between two marks.
PICTURE = re.compile("\ue003([^\ue003\ue004]*)\ue004")

#: Long threads nest some hundred elements; nested lists and large tables beyond cost inscriptis minutes.
MAX_DEPTH = 250
MAX_ELEMENTS = 30_000

_OPEN, _CLOSE = "\ue001", "\ue002"
_BLANK = "\ue005"  # a blank that is not dropped: programs leave it in empty lines
_TOKEN = re.compile(r"<(/?)([a-zA-Z!][^\s<>/]*)[^<>]*>?|([^<]+|<)")
_MARKS = re.compile("[\ue000-\ue005]")
_LAYOUT = ParserConfig(css=CSS_PROFILES["strict"], display_links=False, display_images=False)


def html_text(source: str) -> str:
    """The text; what cannot be taken apart loses its tags and nothing else."""
    source = re.sub(r"^\s*<\?xml[^>]*>", "", _MARKS.sub("", source).replace("\0", ""))
    source = re.sub("&nbsp;|&#160;|\xa0", _BLANK, source)
    try:
        tree = html.document_fromstring(source, parser=html.HTMLParser(huge_tree=True))
        if not _is_modest(tree):
            raise ValueError("too many elements")
        _mark(tree)
        text = Inscriptis(tree, _LAYOUT).get_text()
    except (etree.LxmlError, RecursionError, ValueError, AssertionError):
        text = _without_tags(source)
    return _quoted(text.replace(_BLANK, " "))


def _without_tags(source: str) -> str:
    """The text between the tags, line by line; in one pass, however broken it is."""
    lines, hidden = [], False
    for closing, tag, text in _TOKEN.findall(source):
        if tag.lower() in ("script", "style"):
            hidden = not closing
        elif not hidden and text.strip():
            lines.append(unescape(text).strip())
    return "\n".join(lines)


def _is_modest(tree: html.HtmlElement) -> bool:
    depth = 0
    for number, (event, _) in enumerate(etree.iterwalk(tree, events=("start", "end"))):
        depth += 1 if event == "start" else -1
        if depth > MAX_DEPTH or number > 2 * MAX_ELEMENTS:
            return False
    return True


def _mark(tree: html.HtmlElement) -> None:
    """Put marks where the structure says more than the words. `drop_tree` keeps what stands after an element."""
    for element in list(tree.iter(etree.Element)):
        names = {"#" + element.get("id", "").removeprefix("x_")}
        names |= {"." + name.removeprefix("x_") for name in element.get("class", "").split()}
        if names & HTML_SIGNATURES and is_short(element.text_content().splitlines()):
            if element.getparent() is not None:
                element.drop_tree()
        elif names & HTML_HISTORY and element.getparent() is not None:
            element.addprevious(_line(HISTORY_MARK))
        elif element.tag == "blockquote" and not _is_indented(element):
            first = _line(_OPEN)
            first.tail, element.text = element.text, None
            element.insert(0, first)
            element.append(_line(_CLOSE))
        elif element.tag == "img" and element.get("src", "").lower().startswith("cid:"):
            element.tail = f"\ue003{unquote(element.get('src')[4:])}\ue004{element.tail or ''}"


def _is_indented(quote: html.HtmlElement) -> bool:
    """Gmail's button "indent more" makes a blockquote too."""
    return "border:none" in quote.get("style", "").replace(" ", "").lower() and not quote.get("type")


def _line(mark: str) -> html.HtmlElement:
    paragraph: html.HtmlElement = html.Element("p")
    paragraph.text = mark
    return paragraph


def _quoted(text: str) -> str:
    lines, depth = [], 0
    for line in text.split("\n"):
        inside = depth > 0 or _OPEN in line
        depth = max(0, depth + line.count(_OPEN) - line.count(_CLOSE))
        bare = line.replace(_OPEN, "").replace(_CLOSE, "").strip()
        if bare or not line.strip():  # a line of nothing but marks is ours
            lines.append(f"> {bare}" if inside else bare)
    return "\n".join(lines)
