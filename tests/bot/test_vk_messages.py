"""What a message or press of VK is to us: one message, several, or nothing."""

from __future__ import annotations

import pytest

from bot.channels.vk_messages import read_message, read_press

from ..messengers.fake_vk import FakeVk
from ..messengers.vk_customer import attachment, document, photo


@pytest.fixture
def vk():
    return FakeVk()


@pytest.fixture
def customer(vk):
    return vk.customer(501_000)


def read(message):
    return read_message(message, 777)


def test_a_message_has_the_key_of_its_place_in_the_conversation(customer):
    """Not of the event that brings it: a repair finds it in the conversation, without any event."""
    customer.says("привет")

    (found,) = read(customer.says("где\x00 мой заказ?\r\n"))

    assert (found.key, found.sender_id, found.channel) == ("vk:777:501000:2", "vk:501000", "vk")
    assert (found.kind, found.text, found.language, found.display_name) == ("text", "где мой заказ?", None, "")


def test_the_start_button_is_a_start_with_the_parameter_of_the_link(customer):
    for ref in (None, "link-token"):
        (found,) = read(customer.starts(ref))
        assert (found.kind, found.payload, found.text) == ("start", ref, "")


def test_a_link_into_a_conversation_that_exists_comes_with_the_next_words(customer):
    message = customer.says("где мой заказ?", ref="link-token")

    assert [(found.kind, found.payload, found.text) for found in read(message)] == [
        ("start", "link-token", ""),
        ("text", None, "где мой заказ?"),
    ]


def test_a_photo_waits_at_vk_in_its_largest_size_and_its_caption_is_a_message(vk, customer):
    picture, caption = read(customer.sends_photo(b"large photo", "вот так сидят"))

    file = picture.remote_file
    assert (picture.kind, picture.album, file["size"], file["type"]) == ("photo", None, None, "image/jpeg")
    assert vk.files[file["id"].removeprefix(vk.url)] == b"large photo"
    assert (caption.kind, caption.text, caption.key) == ("text", "вот так сидят", f"{picture.key}:caption")


def test_the_files_of_one_message_are_an_album(vk, customer):
    files = [photo(vk, 1, b"a"), photo(vk, 1, b"b"), document(vk, 1, b"%PDF", "чек.pdf")]

    *album, caption = read(customer.says("и чек", attachments=files))

    assert [(found.kind, found.key, found.album, found.album_whole) for found in album] == [
        ("photo", f"vk:777:501000:1:{number}", "vk:777:501000:1", True) for number in (1, 2, 3)
    ]
    assert (album[2].remote_file["type"], album[2].remote_file["size"]) == ("application/pdf", 4)
    assert caption.text == "и чек"


def test_a_file_that_we_do_not_take_is_told_to_be_what_it_is(vk, customer):
    """The gateway refuses it by its type, in words, before it is fetched."""
    video = customer.says("", attachments=[attachment(vk, "video", 1, {"title": "примерка"})])
    archive = customer.says("", attachments=[attachment(vk, "doc", 1, {"ext": "zip", "url": "https://vk.example/1"})])

    assert [read(message)[0].remote_file["type"] for message in (video, archive)] == ["video/mp4", "application/zip"]


@pytest.mark.parametrize(
    ("kind", "sent"),
    [
        ("voice", lambda customer: customer.sends_voice()),
        ("sticker", lambda customer: customer.sends_sticker()),
        ("place", lambda customer: customer.sends_location()),
        ("forget", lambda customer: customer.says("/Forget")),
        ("text", lambda customer: customer.sends_market_item("Джинсы", "есть в наличии?")),
    ],
)
def test_each_kind_of_message_is_known(customer, kind, sent):
    assert [found.kind for found in read(sent(customer))] == [kind]


def test_what_says_nothing_is_left_out(vk, customer):
    wall = attachment(vk, "wall", 1, {"text": "запись"})

    assert read(customer.sends_market_item("Джинсы")) == []
    assert read(customer.says("", attachments=[wall])) == []
    assert read(customer.says("", fwd_messages=[{"text": "пересланное"}])) == []


@pytest.mark.parametrize(("peer_id", "from_id"), [(2_000_000_001, 501_000), (-5, -5), (501_000, -777)])
def test_chats_communities_and_ourselves_are_left_out(vk, peer_id, from_id):
    assert read(vk.add_message(peer_id, from_id, "не нам")) == []


def test_a_chosen_button_has_our_key_and_the_words_that_it_sent(customer):
    (found,) = read(customer.says("Всё верно", payload='{"key": "k3y_of-it"}'))

    assert (found.kind, found.button, found.text) == ("button", "k3y_of-it", "Всё верно")


@pytest.mark.parametrize("payload", ["{", "[]", '{"key": 7}', '{"key": "\\u0000"}', "[" * 900, '{"command": "x"}'])
def test_a_payload_of_somebody_elses_making_is_only_text(customer, payload):
    assert [(found.kind, found.text) for found in read(customer.says("привет", payload=payload))] == [
        ("text", "привет")
    ]


@pytest.mark.parametrize("payload", [{"key": "k3y"}, '{"key": "k3y"}'])
def test_a_press_comes_with_its_payload_read_or_written(payload):
    """VK's schema says text, and VK sends an object."""
    press = {"user_id": 501_000, "peer_id": 501_000, "event_id": "4f", "payload": payload}

    (found,) = read_press(press, 777)

    assert (found.key, found.kind, found.button) == ("vk:777:event:4f", "button", "k3y")
    assert read_press(press | {"payload": {"anything": 1}}, 777) == []
    assert read_press(press | {"peer_id": 2_000_000_001}, 777) == []
