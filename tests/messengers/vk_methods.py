"""What the methods of the fake VK do with a call that is in order."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .vk_calls import VERSION, VkError
from .vk_customer import Customer, Received, document, photo

if TYPE_CHECKING:
    from .fake_vk import FakeVk

Json = dict[str, Any]
Params = dict[str, str]

FIRST_CHAT = 2_000_000_000


def long_poll_server(vk: FakeVk, params: Params) -> Json:
    """Always the current ts: what happened before is only seen by a client that has kept its own."""
    if not vk.long_poll_enabled:
        raise VkError(100, "longpoll for this group is not enabled")
    return {"key": vk.key, "server": f"{vk.url}/whp/{vk.group_id}", "ts": str(vk.ts)}


def long_poll_settings(vk: FakeVk, params: Params) -> Json:
    events = {kind: int(kind in vk.enabled_events) for kind in EVENTS}
    return {"api_version": VERSION, "is_enabled": vk.long_poll_enabled, "events": events}


def set_long_poll_settings(vk: FakeVk, params: Params) -> int:
    vk.long_poll_enabled = params.get("enabled", str(int(vk.long_poll_enabled))) == "1"
    for kind in EVENTS & params.keys():
        (vk.enabled_events.add if params[kind] == "1" else vk.enabled_events.discard)(kind)
    return 1


def groups(vk: FakeVk, params: Params) -> Json:
    group = {"id": vk.group_id, "name": "Джинсы на заказ", "screen_name": f"club{vk.group_id}", "type": "group"}
    return {"groups": [group], "profiles": []}


def confirmation_code(vk: FakeVk, params: Params) -> Json:
    return {"code": vk.confirmation_code}


def users(vk: FakeVk, params: Params) -> list[Json]:
    """Unknown people are left out, as VK does."""
    ids = [int(found) for found in re.findall(r"\d+", params.get("user_ids", ""))]
    return [_profile(vk.customers[user_id]) for user_id in ids if user_id in vk.customers]


def screen_name(vk: FakeVk, params: Params) -> Json | list[Json]:
    user_id = int("0" + "".join(re.findall(r"\d", params["screen_name"])))
    return {"type": "user", "object_id": user_id} if user_id in vk.customers else []


def send(vk: FakeVk, params: Params) -> int | list[Json]:
    """With peer_ids the errors are told for each, else as the error of the call."""
    if "peer_ids" not in params:
        return int(_send_to(vk, _peer(params), params)["message_id"])
    answers = []
    for peer_id in map(int, params["peer_ids"].split(",")):
        try:
            answers.append(_send_to(vk, peer_id, params))
        except VkError as error:
            told = {"code": error.code, "description": str(error)}
            answers.append({"peer_id": peer_id, "message_id": 0, "conversation_message_id": 0, "error": told})
    return answers


def _send_to(vk: FakeVk, peer_id: int, params: Params) -> Json:
    random_id, text = int(params["random_id"]), params.get("message", "")
    attachments = tuple(filter(None, params.get("attachment", "").split(",")))
    if sent := vk.sent.get((peer_id, random_id)):
        if sent["text"] != text:
            vk.violations.append(f"messages.send: random_id {random_id} used again for another message: {text!r}")
    else:
        customer = _reachable(vk, peer_id)
        for attached in attachments:
            if "_".join(attached.split("_")[:2]) not in vk.attachments:
                raise VkError(100, f"attachment {attached} is unknown")
        payload = {"payload": params["payload"]} if "payload" in params else {}
        sent = vk.add_message(peer_id, -vk.group_id, text, random_id=random_id, **payload)
        vk.sent[peer_id, random_id] = sent
        vk.inject("message_reply", sent)
        show(customer, sent, json.loads(params.get("keyboard", "{}")), attachments)
    return {"peer_id": peer_id, "message_id": sent["id"], "conversation_message_id": sent["conversation_message_id"]}


def show(customer: Customer, message: Json, keyboard: Json, attachments: tuple[str, ...] = ()) -> None:
    """Put a message of the community on the customer's screen."""
    labels = (button["action"].get("label", "") for row in keyboard.get("buttons", ()) for button in row)
    customer.received.append(
        Received(
            message_id=message["id"],
            text=message["text"],
            buttons=tuple(labels),
            at=time.monotonic(),
            random_id=message["random_id"],
            keyboard=keyboard,
            attachments=attachments,
            conversation_message_id=message["conversation_message_id"],
            from_operator="admin_author_id" in message,
        )
    )


def answer_press(vk: FakeVk, params: Params) -> int:
    """A press can be answered once and for a minute; 100 is what VK says of any other id."""
    user_id, pressed_at = vk.presses.pop(params["event_id"], (0, 0.0))
    if user_id != int(params["user_id"]) or user_id != int(params["peer_id"]) or time.monotonic() - pressed_at > 60:
        raise VkError(100, "event_id is invalid")
    vk.customers[user_id].popups.append(json.loads(params.get("event_data", "{}")))
    return 1


def activity(vk: FakeVk, params: Params) -> int:
    _reachable(vk, _peer(params)).typing.append(time.monotonic())
    return 1


def conversations(vk: FakeVk, params: Params) -> Json:
    """Newest first; unanswered and unread are those in which the customer has the last word."""
    wanted = params.get("filter", "all")
    shown = []
    for peer_id, messages in sorted(vk.dialogs.items(), key=lambda item: -item[1][-1]["id"]):
        unread = [message for message in messages if not message["out"] and message["id"] > vk.read.get(peer_id, 0)]
        last_word = not messages[-1]["out"]
        if (last_word and (unread or wanted != "unread")) or wanted not in ("unread", "unanswered"):
            conversation = {
                "peer": {"id": peer_id, "type": "chat" if peer_id > FIRST_CHAT else "user", "local_id": peer_id},
                "last_message_id": messages[-1]["id"],
                "last_conversation_message_id": messages[-1]["conversation_message_id"],
                "in_read": vk.read.get(peer_id, 0),
                "out_read": messages[-1]["id"],
                "unread_count": len(unread),
                "unanswered": last_word,
                "can_write": {"allowed": peer_id in vk.customers and vk.customers[peer_id].allowed},
            }
            shown.append({"conversation": conversation, "last_message": messages[-1]})
    return _page(vk, shown, params) | {"unread_count": sum(bool(c["conversation"]["unread_count"]) for c in shown)}


def history(vk: FakeVk, params: Params) -> Json:
    messages = vk.dialogs.get(_peer(params), [])
    if "start_message_id" in params:
        messages = [message for message in messages if message["id"] <= int(params["start_message_id"])]
    return _page(vk, messages if params.get("rev") == "1" else messages[::-1], params)


def messages_by_id(vk: FakeVk, params: Params) -> Json:
    """By the id of the community, or by the number within the conversation."""
    key = "id" if "message_ids" in params else "conversation_message_id"
    wanted = {int(found) for found in params.get("message_ids", params.get("cmids", "")).split(",")}
    dialogs = [vk.dialogs.get(int(params["peer_id"]), [])] if "peer_id" in params else list(vk.dialogs.values())
    found = [message for messages in dialogs for message in messages if message[key] in wanted]
    return {"count": len(found), "items": found}


def mark_as_read(vk: FakeVk, params: Params) -> int:
    """A whole conversation, or everything up to the messages named."""
    named = params.get("message_ids", "").split(",")
    for peer_id, messages in vk.dialogs.items():
        whole = params.get("peer_id") == str(peer_id)
        read = [message["id"] for message in messages if whole or str(message["id"]) in named]
        vk.read[peer_id] = max([vk.read.get(peer_id, 0), *read])
    return 1


def is_allowed(vk: FakeVk, params: Params) -> Json:
    customer = vk.customers.get(int(params["user_id"]))
    return {"is_allowed": int(customer is not None and customer.allowed)}


def photo_upload_server(vk: FakeVk, params: Params) -> Json:
    return {"upload_url": f"{vk.url}/upload/photo", "album_id": -64, "user_id": 0, "group_id": vk.group_id}


def save_photo(vk: FakeVk, params: Params) -> list[Json]:
    _, content = _upload(vk, params["photo"])
    return [photo(vk, -vk.group_id, content)["photo"]]


def document_upload_server(vk: FakeVk, params: Params) -> Json:
    return {"upload_url": f"{vk.url}/upload/doc"}


def save_document(vk: FakeVk, params: Params) -> Json:
    name, content = _upload(vk, params["file"])
    return document(vk, -vk.group_id, content, params.get("title") or name)


def _upload(vk: FakeVk, token: str) -> tuple[str, bytes]:
    if token not in vk.uploads:
        raise VkError(105)
    return vk.uploads[token]


def _peer(params: Params) -> int:
    return int(params.get("peer_id") or params["user_id"])


def _reachable(vk: FakeVk, peer_id: int) -> Customer:
    customer = vk.customers.get(peer_id)
    if peer_id > FIRST_CHAT:
        raise VkError(917)
    if customer is not None and customer.blocked:
        raise VkError(900)
    if customer is None or not customer.allowed:
        raise VkError(901)
    return customer


def _profile(customer: Customer) -> Json:
    names = {"first_name": customer.first_name, "last_name": customer.last_name}
    return {"id": customer.user_id, **names, "can_access_closed": True, "is_closed": False}


def _page(vk: FakeVk, items: list[Json], params: Params) -> Json:
    start = int(params.get("offset", 0))
    profiles = {"profiles": [_profile(customer) for customer in vk.customers.values()], "groups": []}
    page = {"count": len(items), "items": items[start : start + int(params.get("count", 20))]}
    return page | (profiles if params.get("extended") == "1" else {})


EVENTS = {
    "message_new",
    "message_reply",
    "message_edit",
    "message_allow",
    "message_deny",
    "message_event",
    "message_read",
    "message_typing_state",
}

METHODS: dict[str, Callable[[FakeVk, Params], Any]] = {
    "groups.getLongPollServer": long_poll_server,
    "groups.getLongPollSettings": long_poll_settings,
    "groups.setLongPollSettings": set_long_poll_settings,
    "groups.getById": groups,
    "groups.getCallbackConfirmationCode": confirmation_code,
    "users.get": users,
    "utils.resolveScreenName": screen_name,
    "messages.send": send,
    "messages.sendMessageEventAnswer": answer_press,
    "messages.setActivity": activity,
    "messages.getConversations": conversations,
    "messages.getHistory": history,
    "messages.getById": messages_by_id,
    "messages.markAsRead": mark_as_read,
    "messages.isMessagesFromGroupAllowed": is_allowed,
    "photos.getMessagesUploadServer": photo_upload_server,
    "photos.saveMessagesPhoto": save_photo,
    "docs.getMessagesUploadServer": document_upload_server,
    "docs.save": save_document,
}
