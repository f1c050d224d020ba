"""One customer's whole way on the demo page, in a real browser: from hello to the agent's answer and back."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, FrameLocator, Locator, Page, expect, sync_playwright

from .chat import png
from .running import AGENTS, ROOT, Running

pytestmark = [pytest.mark.browser, pytest.mark.engine]

#: A turn takes less than a second, the first after a start a few; a letter's way includes the pages' polling.
expect.set_options(timeout=20_000)

#: Chromium asks its maker for updates otherwise; the sandbox does not work for root, as which CI runs.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-gpu",
]
DESKTOP, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}


@dataclass(frozen=True)
class Way:
    """What one customer says, and what he must and must not be told."""

    language: str
    locale: str
    question: str
    doubt: str
    case: str
    order: str
    address: str
    masked: str
    apology: str
    deadline: str
    agents: tuple[str, str]
    kept_back: tuple[str, ...]
    answer: str
    thanks: str
    photo: bool


WAYS = [
    Way(
        language="ru",
        locale="ru-RU",
        question="Подойдут ли мне джинсы, если у меня нестандартная фигура?",
        doubt="А вдруг не сядут, боюсь заказывать без примерки",
        case="На джинсах разошёлся боковой шов, заказ 47655, почта maria.sokolova@mail.example",
        order="47655",
        address="maria.sokolova@mail.example",
        masked="m…a@mail.example",
        apology=r"прост|извин|жаль",
        deadline=r"(сегодня|завтра|в \w+).* до \d{1,2}:\d\d",
        agents=("Анна", "Ольга"),
        kept_back=("зауженные", "9400", "9 400", "Садовая"),
        answer="Здравствуйте! Прошьём шов заново за наш счёт.",
        thanks="Спасибо, отправлю джинсы завтра.",
        photo=True,
    ),
    Way(
        language="en",
        locale="en-GB",
        question="Do you make jeans for an unusual figure?",
        doubt="I am afraid to order without trying on",
        case="The jeans do not fit me, order 47731, my e-mail is sophie.brown@post.example",
        order="47731",
        address="sophie.brown@post.example",
        masked="s…n@post.example",
        apology=r"sorry|apologi[sz]e",
        deadline=r"(today|tomorrow) by \d{1,2}:\d\d|by \w+ \d{1,2}:\d\d|by \d{1,2}:\d\d .*on",
        agents=("Anna", "Olga"),
        kept_back=("High-rise", "9800", "9,800", "Harbour"),
        answer="Hello! We will sew you a new pair, no charge.",
        thanks="Thank you, I will send the old ones tomorrow.",
        photo=False,
    ),
]


class DemoPage:
    """The page, driven by what a person sees of it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.said = page.get_by_test_id("message-bot")
        self._pictures = 0

    def say(self, text: str) -> str:
        """Write into the chat and wait for the answer."""
        self.page.get_by_test_id("chat-input").fill(text)
        return self.answer_to(lambda: self.page.get_by_test_id("chat-input").press("Enter"))

    def answer_to(self, act: Callable[[], object]) -> str:
        """Do something the bot answers, and what it says then."""
        number = self.said.count()
        act()
        expect(self.said).to_have_count(number + 1)
        return self.said.nth(number).locator("p").inner_text()

    def open_letter(self, mailbox: str, words: str, *, of: int, place: int = 0) -> OpenLetter:
        """Open one `of` so many letters of a mailbox whose rows show these words; 0 is the newest."""
        panel = self.page.get_by_test_id(mailbox)
        if panel.locator(".back").is_visible():
            panel.locator(".back").click()
        rows = panel.get_by_test_id("letter-row").filter(has_text=words)
        expect(rows).to_have_count(of)
        rows.nth(place).click()
        letter = OpenLetter(panel.get_by_test_id("letter-view"))
        expect(letter.frame.locator("body")).not_to_be_empty()
        return letter

    def picture(self, name: str) -> None:
        """A screenshot for people, if SCREENSHOTS names a folder."""
        if folder := os.environ.get("SCREENSHOTS"):
            self._pictures += 1
            self.page.screenshot(path=Path(folder) / f"{self._pictures:02}-{name}.png")


class OpenLetter:
    """A letter that is open in one of the page's mail programs."""

    def __init__(self, view: Locator) -> None:
        self.view = view
        self.subject = view.get_by_test_id("letter-subject").inner_text()
        lines = view.locator(".all-headers pre").text_content() or ""
        self.headers = dict(line.split(": ", 1) for line in lines.splitlines() if ": " in line)

    @property
    def frame(self) -> FrameLocator:
        return self.view.frame_locator("[data-testid=letter-body]")

    @property
    def text(self) -> str:
        """The body as it is shown."""
        return self.frame.locator("body").inner_text()

    def reply(self, text: str) -> None:
        """Write back, as a mail program does."""
        self.view.get_by_test_id("reply-button").click()
        self.view.get_by_test_id("reply-text").fill(text)
        self.view.get_by_test_id("reply-send").click()
        expect(self.view.get_by_test_id("reply-button")).to_be_visible()


@pytest.fixture(scope="module")
def chromium() -> str:
    found = subprocess.run(
        ["bash", ROOT / "tests" / "install-browser.sh", "--find"], capture_output=True, text=True, check=False
    )
    if found.returncode:
        pytest.fail("there is no Chromium: run bash tests/install-browser.sh")
    return found.stdout.strip()


@pytest.fixture(params=WAYS, ids=lambda way: way.language)
def way(request: pytest.FixtureRequest) -> Way:
    return request.param


@pytest.fixture
def browser(chromium: str, way: Way, tmp_path: Path) -> Iterator[BrowserContext]:
    """A browser that was never used, set to the customer's language."""
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            tmp_path / "profile",
            executable_path=chromium,
            args=ARGUMENTS,
            locale=way.locale,
            timezone_id="Europe/Moscow",
            viewport=DESKTOP,
        )
        yield context
        context.close()


def test_a_case_goes_from_the_chat_to_the_agents_and_back_in_one_thread(
    demo: Running, browser: BrowserContext, way: Way
):
    """The whole promise in one piece: one message is enough, nobody is asked to write elsewhere, and the answer
    comes to the registered mailbox, in one thread on both sides.
    """
    page = browser.pages[0]
    troubles: list[str] = []
    asked: set[str] = set()
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("console", lambda line: troubles.append(line.text) if line.type == "error" else None)
    page.on("request", lambda request: asked.add(request.url))
    on_page = DemoPage(page)
    mine = f"{way.language}-{{}}".format

    # Hello, a question, a doubt: the page speaks the browser's language.
    hello = on_page.answer_to(lambda: page.goto(demo.url))
    assert page.locator("html").get_attribute("lang") == way.language
    assert all(name in hello for name in way.agents)
    assert page.get_by_test_id("quick-reply").count() >= 3
    on_page.picture(mine("hello"))
    assert on_page.say(way.question)
    assert on_page.say(way.doubt)
    if way.photo:
        file = {"name": "seam.png", "mimeType": "image/png", "buffer": png(320, 240)}
        page.get_by_test_id("chat-photo").set_input_files([file])
        on_page.answer_to(lambda: page.get_by_test_id("chat-send").click())

    # The case: the apology comes first, both facts are taken from the one message.
    asks = on_page.say(way.case)
    assert re.search(way.apology, re.split(r"(?<=[.!?])\s", asks)[0], re.IGNORECASE), asks
    assert way.order in asks
    assert way.masked in asks
    on_page.picture(mine("confirm"))
    promise = on_page.answer_to(lambda: page.get_by_test_id("quick-reply").and_(page.locator(":enabled")).first.click())
    number = re.search(r"\b\d{4}\b", promise)[0]
    agent = next(name for name in way.agents if name in promise)
    assert way.masked in promise
    assert re.search(way.deadline, promise), promise
    on_page.picture(mine("ticket"))

    # The letter in the agents' mailbox: everything in it that the chat must not show.
    letter = on_page.open_letter("mailbox-agents", f"[#{number}]", of=1)
    headers = letter.headers
    assert way.order in letter.subject
    assert re.fullmatch(rf"support\+t{number}\.\w+@jeans\.example", headers["Reply-To"])
    assert headers["X-Handoff-Ticket"] == number
    assert headers["X-Handoff-Requester"] == way.address
    assert headers["X-Handoff-Verified"] == "no"
    assert headers["X-Handoff-Channel"] == "web"
    assert all(words in letter.text for words in (way.question, way.doubt, way.address, way.kept_back[0]))
    files = letter.view.locator(".files li")
    expect(files).to_have_count(1 if way.photo else 0)
    if way.photo:
        expect(files.locator("img")).to_have_js_property("naturalWidth", 320)
    on_page.picture(mine("agents-letter"))

    # The agent answers; the customer's mailbox holds the confirmation and the answer in one thread.
    told = on_page.said.count()
    letter.reply(way.answer)
    expect(on_page.said).to_have_count(told + 1)
    notice = on_page.said.nth(told).locator("p").inner_text()
    assert number in notice
    assert way.masked in notice
    page.get_by_test_id("customer-select").select_option(way.address)
    on_page.picture(mine("customers-mailbox"))
    confirmation = on_page.open_letter("mailbox-customer", f"[#{number}]", of=2, place=1)
    assert confirmation.headers["Auto-Submitted"] == "auto-generated"
    assert agent in confirmation.text
    on_page.picture(mine("confirmation"))
    answer = on_page.open_letter("mailbox-customer", f"[#{number}]", of=2)
    assert answer.headers["From"].replace('"', "").startswith(f"{agent}, Getwear <")
    assert answer.headers["In-Reply-To"] == confirmation.headers["Message-ID"]
    assert confirmation.headers["Message-ID"] in answer.headers["References"]
    assert way.answer in answer.text
    assert AGENTS not in str(answer.headers) + answer.text
    on_page.picture(mine("answer"))

    # The customer writes back from his mailbox: the agents get it in their thread, now it is surely him.
    answer.reply(way.thanks)
    # The second letter there is the agent's own answer, for the other agents.
    back = on_page.open_letter("mailbox-agents", f"[#{number}]", of=3)
    assert headers["Message-ID"] in back.headers["References"]
    assert back.headers["X-Handoff-Verified"] == "yes"
    assert way.thanks in back.text
    on_page.picture(mine("customers-reply"))

    # In the chat nothing of the order was said, and the page asked nobody but the service for anything.
    chat = page.locator("#log").inner_text()
    assert not [words for words in way.kept_back if words in chat]
    assert not [url for url in asked if not url.startswith((demo.url, "blob:", "data:", "about:"))]
    assert not troubles

    page.set_viewport_size(PHONE)
    for tab in ("agents", "customer", "chat"):
        page.locator(f"#tab-{tab}").click()
        expect(page.locator(f"#{tab}")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        on_page.picture(mine(f"phone-{tab}"))
