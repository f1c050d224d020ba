from __future__ import annotations

import pytest

from bot.demo.letters import read_letter, safe_html

PIXEL = b"\x89PNG\r\n\x1a\n"


def cleaned(html, pictures=None):
    return safe_html(html, (pictures or {}).get)


@pytest.mark.parametrize(
    "html",
    [
        "<script>alert(1)</script>",
        '<p onclick="alert(1)">x</p>',
        '<a href="javascript:alert(1)">x</a>',
        "<style>body{background:url(http://spy.example)}</style>",
        '<p style="background-image:url(http://spy.example)">x</p>',
        '<link rel="stylesheet" href="http://spy.example">',
        '<iframe src="http://spy.example"></iframe>',
        '<form action="http://spy.example"><input></form>',
        '<a href="//spy.example">x</a>',
        '<base href="http://spy.example">',
        '<meta http-equiv="refresh" content="0;url=http://spy.example">',
    ],
)
def test_html_of_a_letter_can_do_nothing(html):
    assert not any(word in cleaned(html).html for word in ("alert", "spy.example", "<form", "<input"))


def test_remote_pictures_are_counted_and_not_loaded():
    """A mail program does not tell the sender that his letter was opened."""
    body = cleaned('<p><img src="https://spy.example/1.png" alt="logo"></p>')

    assert body.remote_images == 1
    assert "spy.example" not in body.html


def test_pictures_of_the_letter_itself_are_shown():
    assert 'src="/parts/2"' in cleaned('<img src="cid:photo">', {"photo": "/parts/2"}).html


def test_links_open_outside_the_frame():
    html = cleaned('<a href="https://shop.example/confirm">x</a>').html

    assert 'target="_blank"' in html
    assert 'rel="noopener noreferrer"' in html


def test_attachments_are_listed_without_pictures_inside_the_text(letter):
    message = letter(html='<img src="cid:inside">')
    message.get_body(("html",)).add_related(PIXEL, "image", "png", cid="<inside>")
    message.add_attachment(PIXEL, "image", "png", filename="../фото.png")
    message.add_attachment("a,b", subtype="csv", filename="order.csv")

    read = read_letter(message.as_bytes())

    assert [(part.name, part.is_image) for part in read.attachments] == [("фото.png", True), ("order.csv", False)]


def test_an_svg_is_never_shown_by_the_browser(letter):
    """It is a picture that may hold a script."""
    message = letter()
    message.add_attachment(b"<svg/>", "image", "svg+xml", filename="x.svg")

    assert [part.is_image for part in read_letter(message.as_bytes()).attachments] == [False]


def test_headers_are_read_in_words():
    read = read_letter(b"Subject: =?utf-8?b?0JTQttC40L3RgdGL?=\r\n =?utf-8?q?_48213?=\r\n\r\nx")

    assert read.subject == "Джинсы 48213"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"Subject: =?nonsense?b?!!!?=\r\n\r\n\xff\xfe",
        b"Content-Type: text/plain; charset=klingon\r\n\r\nhello",
        b"Content-Type: multipart/mixed\r\n\r\nno boundary",
        b"Date: never\r\nFrom: ,,,<>\r\n\r\n",
    ],
)
def test_a_broken_letter_is_shown_as_well_as_it_can_be(raw):
    read_letter(raw)


def test_a_letter_of_html_alone_has_a_plain_text_too():
    read = read_letter(b"Content-Type: text/html; charset=utf-8\r\n\r\n<p>Hello <b>there</b></p>")

    assert read.text == "Hello there"
