"""The fake VK against the real vk-api: what it objects to, what it remembers, how it fails."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import httpx
import pytest
import requests
from requests.adapters import HTTPAdapter
from vk_api import VkApiGroup, VkUpload
from vk_api.bot_longpoll import VkBotLongPoll
from vk_api.exceptions import ApiError, ApiHttpError
from vk_api.keyboard import VkKeyboard
from vk_api.requests_pool import VkRequestsPool, vk_one_method

from .fake_vk import FakeVk
from .vk_calls import methods
from .vk_http import Request, Response, Server
from .vk_methods import METHODS

BASE = "https://api.vk.ru/method/"


class Redirect(HTTPAdapter):
    """Sends vk-api's calls to another server, and never without a time-out."""

    def __init__(self, base: str, timeout_s: float) -> None:
        super().__init__()
        self.base = base
        self.timeout_s = timeout_s

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        request.url = self.base + (request.url or "").removeprefix(BASE)
        kwargs["timeout"] = kwargs.get("timeout") or self.timeout_s
        kwargs["proxies"] = {}  # those of the environment were chosen for api.vk.ru
        return super().send(request, *args, **kwargs)


@pytest.fixture
def vk() -> Iterator[FakeVk]:
    with FakeVk() as fake:
        yield fake


@pytest.fixture
def api(vk: FakeVk) -> Iterator[VkApiGroup]:
    with requests.Session() as session:
        session.mount(BASE, Redirect(vk.environment["VK_API_BASE"], timeout_s=5))
        calling = VkApiGroup(token=vk.token, api_version="5.199", session=session)
        calling.RPS_DELAY = 0
        yield calling


@pytest.fixture
def poll(vk: FakeVk, api: VkApiGroup) -> Iterator[VkBotLongPoll]:
    polling = VkBotLongPoll(api, vk.group_id, wait=1)
    yield polling
    polling.session.close()


def send(api: VkApiGroup, peer_id: int, text: str, random_id: int, **more: Any) -> Any:
    return api.method("messages.send", {"peer_id": peer_id, "message": text, "random_id": random_id, **more})


def keyboard(*labels: str, inline: bool = True, payload: Any = None) -> str:
    made = VkKeyboard(inline=inline)
    for label in labels:
        made.add_callback_button(label, payload={"key": label} if payload is None else payload)
    text: str = made.get_keyboard()
    return text


def texts(events: list[Any]) -> list[str]:
    return [event.message.text for event in events if event.message]


# --- what is asked of us ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "code", "objection"),
    [
        ({"message": "ж" * 4097}, 914, "message is out of bounds: 4097"),
        ({"keyboard": keyboard("ж" * 41)}, 911, "label of 41"),
        ({"keyboard": keyboard("Да", payload='"' + "ж" * 254 + '"')}, 911, "payload is no JSON"),
        ({"keyboard": keyboard("Да").replace('"one_time":false', '"one_time":true')}, 911, "one_time"),
        ({"keyboard": "{'buttons': []}"}, 911, "no JSON object"),
        ({"keyboard": json.dumps({"inline": True, "buttons": [[]]})}, 911, "buttons"),
        ({"random_id": None}, 100, "random_id is required"),
        ({"random_id": 0}, 100, "random_id is 0"),
        ({"random_id": 2**31}, 100, "random_id is out of bounds"),
        ({"peer_id": None}, 100, "one of peer_id"),
        ({"dont_parse_links": True}, 100, "neither 0 nor 1"),
        ({"text": "привет"}, 100, "text is unknown"),
        ({"v": "5.92"}, 8, "5.92"),
    ],
)
def test_what_vk_would_not_take_is_a_violation(vk, api, change, code, objection):
    call = {"peer_id": vk.customer().user_id, "message": "Здравствуйте", "random_id": 1, **change}

    with pytest.raises(ApiError) as refused:
        api.method("messages.send", call)

    assert refused.value.code == code
    assert len(vk.violations) == 1
    assert objection in vk.violations[0]
    assert vk.calls[-1].outcome == f"error {code}"


def test_limits_are_not_violations(vk, api):
    customer = vk.customer()
    customer.says("привет")
    labels = [f"{number}".rjust(40, "ж") for number in range(5)]

    send(api, customer.user_id, "ж" * 4096, -(2**31), keyboard=keyboard(*labels, payload='"' + "ж" * 253 + '"'))

    assert vk.violations == []
    assert customer.received[0].buttons == tuple(labels)


def test_unknown_methods_and_lists_in_pythons_way_are_violations(vk, api):
    for method, params, code in [("messages.sent", {}, 3), ("users.get", {"user_ids": [1, 2]}, 100)]:
        with pytest.raises(ApiError) as refused:
            api.method(method, params)
        assert refused.value.code == code

    assert len(vk.violations) == 2


def test_a_wrong_token_is_refused_and_not_kept(vk):
    answer = httpx.post(f"{vk.url}/method/users.get", data={"v": "5.199", "access_token": "stolen"}).json()

    assert answer["error"]["error_code"] == 5
    assert "stolen" not in str(vk.calls) + str(answer)


def test_a_token_in_the_header_will_do(vk):
    customer = vk.customer(5)

    answer = httpx.post(
        f"{vk.url}/method/users.get",
        data={"v": "5.199", "user_ids": "5,6"},
        headers={"Authorization": f"Bearer {vk.token}"},
    ).json()

    assert [(user["id"], user["first_name"]) for user in answer["response"]] == [(5, customer.first_name)]


def test_more_than_twenty_calls_in_a_second_are_refused():
    with FakeVk(strict_rate=True) as vk, httpx.Client() as http:
        form = {"v": "5.199", "access_token": vk.token}
        answers = [http.post(f"{vk.url}/method/groups.getById", data=form).json() for _ in range(50)]

    assert [answer["error"]["error_code"] for answer in answers if "error" in answer] == [6] * vk.refused
    taken = [call.at for call in vk.calls if call.outcome == "ok"]
    assert vk.refused > 0
    assert all(later - earlier >= 1 for earlier, later in zip(taken, taken[20:], strict=False))


# --- messages ---------------------------------------------------------------------------------------------------------


def test_the_same_random_id_is_delivered_once(vk, api):
    customer, other = vk.customer(), vk.customer()
    customer.says("привет")
    other.says("привет")

    first = send(api, customer.user_id, "Здравствуйте", 7)
    again = send(api, customer.user_id, "Здравствуйте", 7)
    to_other = send(api, other.user_id, "Здравствуйте", 7)

    assert first == again != to_other
    assert [(message.text, message.random_id) for message in customer.wait_for(1)] == [("Здравствуйте", 7)]
    assert vk.violations == []

    send(api, customer.user_id, "Другое", 7)
    assert "random_id 7 used again" in vk.violations[0]


def test_who_does_not_allow_messages_gets_none(vk, api):
    stranger, denying, blocked = (vk.customer() for _ in range(3))
    denying.starts()
    denying.denies()
    blocked.starts()
    blocked.blocked = True

    for customer, code in [(stranger, 901), (denying, 901), (blocked, 900)]:
        with pytest.raises(ApiError) as refused:
            send(api, customer.user_id, "Здравствуйте", 7)
        assert refused.value.code == code
    denying.says("всё-таки ещё вопрос")
    send(api, denying.user_id, "Здравствуйте", 7)

    assert [len(customer.received) for customer in (stranger, denying, blocked)] == [0, 1, 0]


def test_events_come_in_the_form_of_5_199(vk, api, poll):
    customer = vk.customer()
    customer.starts(ref="order-47655")
    send(api, customer.user_id, "Здравствуйте", 7)
    vk.operator_replies(customer, "Это Ольга")

    allow, new, reply, by_hand = [event.raw for event in poll.check()]

    assert allow["object"] == {"user_id": customer.user_id, "key": ""}
    assert (new["type"], new["v"], new["group_id"]) == ("message_new", "5.199", vk.group_id)
    message = new["object"]["message"]
    assert (message["text"], message["ref"], json.loads(message["payload"])) == (
        "Начать",
        "order-47655",
        {"command": "start"},
    )
    assert (reply["object"]["random_id"], "admin_author_id" in reply["object"]) == (7, False)
    assert (by_hand["object"]["random_id"], "admin_author_id" in by_hand["object"]) == (0, True)
    assert [message.from_operator for message in customer.received] == [False, True]


def test_a_press_is_an_event_that_is_answered_once(vk, api, poll):
    customer = vk.customer()
    customer.says("привет")
    send(api, customer.user_id, "Верно?", 7, keyboard=keyboard("Да", "Нет"))

    press = customer.presses("Нет")
    event = poll.check()[-1].raw["object"]
    answer = {"event_id": press, "user_id": customer.user_id, "peer_id": customer.user_id}
    snackbar = {"type": "show_snackbar", "text": "Хорошо"}
    api.method("messages.sendMessageEventAnswer", {**answer, "event_data": json.dumps(snackbar)})

    assert (event["event_id"], event["payload"], event["peer_id"]) == (press, {"key": "Нет"}, customer.user_id)
    assert event["conversation_message_id"] == customer.received[0].conversation_message_id
    assert customer.popups == [snackbar]
    assert vk.violations == []
    with pytest.raises(ApiError, match="event_id"):
        api.method("messages.sendMessageEventAnswer", answer)
    with pytest.raises(AssertionError, match="no button"):
        customer.presses("Может быть")


def test_an_old_app_wraps_the_payload_of_a_button(vk, api, poll):
    customer = vk.customer()
    customer.says("привет")
    send(api, customer.user_id, "Верно?", 7, keyboard=keyboard("Да"))

    customer.presses("Да", old_app=True)

    message = poll.check()[-1].message
    assert message.text == "Да"
    assert json.loads(json.loads(message.payload)["payload"]) == {"key": "Да"}


def test_attachments_can_be_fetched(vk, poll):
    customer = vk.customer()
    customer.sends_photo(b"large photo", "Вот так сидят")
    customer.sends_document(b"%PDF", "чек.pdf")
    customer.sends_voice()
    customer.sends_sticker()
    customer.sends_location()
    customer.sends_market_item("Джинсы")

    messages = [event.message for event in poll.check() if event.message]
    photo, document = messages[0].attachments[0]["photo"], messages[1].attachments[0]["doc"]

    largest = max(photo["sizes"], key=lambda size: size["width"])
    assert httpx.get(largest["url"]).content == b"large photo"
    assert httpx.get(document["url"]).status_code == 302
    assert httpx.get(document["url"], follow_redirects=True).content == b"%PDF"
    assert (document["title"], document["ext"], document["size"]) == ("чек.pdf", "pdf", 4)
    kinds = [attached["type"] for message in messages for attached in message.attachments]
    assert kinds == ["photo", "doc", "audio_message", "sticker", "market"]
    assert messages[4].geo["coordinates"]["latitude"] > 0


def test_files_can_be_sent(vk, api, tmp_path):
    customer = vk.customer()
    customer.says("привет")
    content = bytes(range(256)) * 10
    (tmp_path / "photo.jpg").write_bytes(content)

    uploading = VkUpload(api)
    (photo,) = uploading.photo_messages(str(tmp_path / "photo.jpg"), peer_id=customer.user_id)
    document = uploading.document_message(str(tmp_path / "photo.jpg"), "мерки", peer_id=customer.user_id)["doc"]
    uploading.http.close()
    attachment = f"photo{photo['owner_id']}_{photo['id']},doc{document['owner_id']}_{document['id']}"
    send(api, customer.user_id, "", 7, attachment=attachment)

    assert customer.received[0].attachments == tuple(attachment.split(","))
    assert list(vk.files.values()).count(content) == 2
    assert vk.violations == []


def test_what_waits_for_an_answer_can_be_listed(vk, api):
    answered, waiting = vk.customer(), vk.customer()
    for customer in (answered, waiting):
        customer.says("первое")
        customer.says("второе")
    send(api, answered.user_id, "Здравствуйте", 7)

    def peers(which: str) -> list[int]:
        found = api.method("messages.getConversations", {"filter": which})
        return [item["conversation"]["peer"]["id"] for item in found["items"]]

    assert peers("unanswered") == peers("unread") == [waiting.user_id]
    assert peers("all") == [answered.user_id, waiting.user_id]
    history = api.method("messages.getHistory", {"peer_id": waiting.user_id})
    assert [message["text"] for message in history["items"]] == ["второе", "первое"]
    api.method("messages.markAsRead", {"peer_id": waiting.user_id})
    assert (peers("unanswered"), peers("unread")) == ([waiting.user_id], [])


def test_what_else_can_be_asked(vk, api):
    """Of every method that is described, one call is understood."""
    customer = vk.customer()
    message = customer.says("привет")
    group, user = {"group_id": vk.group_id}, {"user_id": customer.user_id}

    api.method("groups.setLongPollSettings", {**group, "enabled": 1, "message_event": 0, "api_version": "5.199"})
    assert api.method("groups.getLongPollSettings", group)["events"]["message_event"] == 0
    assert api.method("groups.getById")["groups"][0]["id"] == vk.group_id
    assert api.method("groups.getCallbackConfirmationCode", group)["code"] == vk.confirmation_code
    assert api.method("utils.resolveScreenName", {"screen_name": f"id{customer.user_id}"})["type"] == "user"
    assert api.method("messages.getById", {"message_ids": message["id"]})["items"] == [message]
    assert api.method("messages.isMessagesFromGroupAllowed", {**group, **user}) == {"is_allowed": 1}
    api.method("messages.setActivity", {"peer_id": customer.user_id, "type": "typing"})
    (sent,) = api.method("messages.send", {"peer_ids": customer.user_id, "message": "Здравствуйте", "random_id": 7})

    assert (len(customer.typing), sent["conversation_message_id"]) == (1, 2)
    assert methods().keys() == METHODS.keys() | {"poll", "execute"}
    assert vk.violations == []


def test_several_calls_in_one_are_checked_like_each(vk, api):
    """As vk-api's pool of requests makes them; one that fails says why, the others are done."""
    customer, stranger = vk.customer(), vk.customer()
    customer.allows()

    with VkRequestsPool(api) as pool:
        calls = [
            pool.method("messages.send", {"user_id": person.user_id, "message": text, "random_id": 7})
            for person, text in ((customer, "раз"), (stranger, "два"))
        ]
    with pytest.raises(ApiError, match="too many"):
        vk_one_method(api, "users.get", [{}] * 26)
    with pytest.raises(ApiError, match="compile"):
        api.method("execute", {"code": "return 1;"})

    assert (calls[0].result, calls[1].error["error_code"]) == (customer.received[0].message_id, 901)
    assert Counter(call.method for call in vk.calls)["messages.send"] == 2
    assert vk.violations == []


# --- long poll --------------------------------------------------------------------------------------------------------


def test_only_who_kept_his_ts_sees_what_came_before(vk, api, poll):
    kept = poll.ts
    vk.customer().says("ночью")
    poll.update_longpoll_server()

    assert poll.wait == 1
    poll.wait = 0
    assert poll.check() == []
    poll.ts = kept
    assert texts(poll.check()) == ["ночью"]
    assert poll.check() == []


def test_a_poll_waits_for_the_next_event(vk, poll):
    poll.wait = 25
    later = threading.Timer(0.1, lambda: vk.customer().says("привет"))
    later.start()

    assert texts(poll.check()) == ["привет"]
    later.join()


@pytest.mark.parametrize(("failed", "seen"), [(1, []), (2, ["до"]), (3, [])])
def test_failed_polls(vk, poll, failed, seen):
    """Only an expired key loses nothing."""
    poll.wait = 0
    vk.fault("poll", "failed", failed=failed)
    vk.customer().says("до")

    assert poll.check() == []
    assert vk.calls[1].outcome == f"failed {failed}"
    assert texts(poll.check()) == seen
    vk.customer().says("после")
    assert texts(poll.check()) == ["после"]


def test_messages_of_group_chats_can_be_injected(vk, poll):
    chat = {"peer_id": 2_000_000_001, "from_id": 5, "text": "всем привет"}
    vk.inject("message_new", {"message": chat, "client_info": {}})

    assert poll.check()[0].from_chat


def test_events_can_come_again_late_or_not_at_all(vk, poll):
    customer = vk.customer()
    customer.allows()
    poll.check()
    vk.deliver_late(1)
    customer.says("старое")
    customer.says("новое")
    vk.redeliver(2)
    vk.enabled_events.discard("message_new")
    customer.says("не видно")

    events = poll.check()

    assert texts(events) == ["новое", "старое", "новое", "старое"]
    assert len({event.raw["event_id"] for event in events}) == 2


# --- faults -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "raised", "done"),
    [
        ("error", ApiError, False),
        ("500_before", ApiHttpError, False),
        ("500_after", ApiHttpError, True),
        ("drop_before", requests.ConnectionError, False),
        ("drop_after", requests.ConnectionError, True),
        ("hang", requests.ConnectionError, False),
        ("garbage", requests.JSONDecodeError, False),
        ("garbage_after", requests.JSONDecodeError, True),
        ("slow", None, True),
    ],
)
def test_faults_of_sends(vk, api, kind, raised, done):
    customer, other = vk.customer(), vk.customer()
    customer.says("привет")
    other.says("привет")
    vk.fault("messages.send", kind, peer_id=customer.user_id, seconds=0.1)

    send(api, other.user_id, "Здравствуйте", 7)
    began = time.monotonic()
    if raised:
        with pytest.raises(raised):
            send(api, customer.user_id, "Здравствуйте", 7)
    else:
        send(api, customer.user_id, "Здравствуйте", 7)

    assert (time.monotonic() - began >= 0.1) or kind not in ("slow", "hang")
    assert len(customer.received) == done
    send(api, customer.user_id, "Здравствуйте", 7)
    assert len(customer.received) == 1


@pytest.mark.parametrize("kind", ["500_before", "500_after", "drop_before", "drop_after", "garbage"])
def test_faults_of_polls_lose_nothing(vk, poll, kind):
    vk.customer().says("привет")
    vk.fault("poll", kind)

    with pytest.raises(requests.RequestException):
        poll.check()

    assert texts(poll.check()) == ["привет"]


def test_the_same_seed_makes_the_same_weather(vk, api):
    customer = vk.customer()
    customer.says("привет")
    seen = []
    for _ in range(2):
        vk.clear_faults()
        vk.weather(random.Random(3), 0.5, ["error", "500_after", "failed"], code=9)
        before = len(vk.calls)
        for random_id in range(1, 9):
            with suppress(ApiError, ApiHttpError):
                send(api, customer.user_id, "Здравствуйте", random_id)
        seen.append([call.outcome for call in vk.calls[before:]])

    assert seen[0] == seen[1]
    assert set(seen[0]) == {"ok", "error 9", "500_after"}


def test_vk_goes_away_and_comes_back(vk, poll):
    customer = vk.customer()
    raised: list[Exception] = []

    def check() -> None:
        try:
            poll.check()
        except requests.ConnectionError as error:
            raised.append(error)

    poll.wait = 25
    waiting = threading.Thread(target=check)
    waiting.start()
    assert vk.wait_until(lambda: vk.calls[-1].method == "poll")
    vk.stop()
    waiting.join(5)
    check()
    customer.says("пока вас не было")
    vk.start()

    assert len(raised) == 2
    assert texts(poll.check()) == ["пока вас не было"]


# --- callbacks --------------------------------------------------------------------------------------------------------


@pytest.fixture
def receiver() -> Iterator[Callable[..., tuple[str, list[tuple[str, str]]]]]:
    """Opens a bot's server that gives the answers in turn and keeps what it was sent, with the retry counter."""
    servers: list[Server] = []

    def opened(*answers: str) -> tuple[str, list[tuple[str, str]]]:
        left, got = list(answers), []

        def answer(request: Request) -> Response:
            event = json.loads(request.body)
            got.append((event["type"] + ":" + event["secret"], request.headers.get("x-retry-counter", "")))
            return Response(left.pop(0).encode())

        servers.append(Server(0, answer))
        return f"http://127.0.0.1:{servers[-1].server_port}/vk", got

    yield opened
    for server in servers:
        server.close()


def test_callbacks_are_repeated_until_they_are_ok(vk, receiver):
    url, got = receiver("c0de", "oh no", '"ok"', "ok", "ok")

    vk.callback_to(url, "hush", "c0de", retry_after_s=0.01)
    vk.customer().says("привет")
    assert vk.wait_until(lambda: not vk.callbacks_waiting)

    allow = "message_allow:hush"
    assert got == [("confirmation:hush", ""), (allow, ""), (allow, "1"), (allow, "2"), ("message_new:hush", "")]


def test_a_wrong_confirmation_is_not_accepted(vk, receiver):
    url, _ = receiver("c0de\n")

    with pytest.raises(AssertionError, match="not confirmed"):
        vk.callback_to(url, "hush", "c0de")
