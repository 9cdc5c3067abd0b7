"""The needs of email clients with their own engines, in every email: Outlook, Roundcube, Thunderbird, and WebKit."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from lxml import html as lxml_html

from digest.app.editions.sample_emails import STAFF_MAILS, SUBSCRIBER_MAILS, compose_sample_email
from digest.edition.content.edition_content import EditionContent, EditionImage
from digest.edition.content.mailable_edition import FragmentKind, join_fragments
from digest.edition.rendering.fragments import build_publication_context, create_mail_environment, render_edition
from digest.settings import Settings
from tests.tools.email_clients import CLIENTS, take_client_pictures

OURS = Settings.model_validate({"base_url": "https://news.example.org"})
EDITION_KINDS: tuple[FragmentKind, ...] = ("html", "short", "web")
KEYS = [*EDITION_KINDS, *(mail.key for mail in (*SUBSCRIBER_MAILS, *STAFF_MAILS) if mail.key != "edition")]
CELLS = {"td", "th"}


@pytest.fixture(scope="module")
def emails(full_content: EditionContent) -> dict[str, str]:
    """Give the HTML of an edition in each of its forms, and of every other email."""
    sponsor, *blocks = full_content.blocks
    image = EditionImage("e" * 64, 560, 315, alt="A handset on a fire engine", credit="Northline")
    content = replace(full_content, blocks=(replace(sponsor, picture=image), *blocks))
    pieces = render_edition(content, build_publication_context(OURS), create_mail_environment(OURS))
    edition = {str(kind): join_fragments(pieces, kind).text for kind in EDITION_KINDS}
    return edition | {key: compose_sample_email(OURS, key).html for key in KEYS if key not in edition}


def list_styles(html: str) -> Iterator[tuple[Any, dict[str, str]]]:
    """List the elements that have inline styles, with their declarations."""
    for element in lxml_html.document_fromstring(html).xpath("//*[@style]"):
        declarations = (part.partition(":") for part in element.get("style").split(";"))
        yield element, {name.strip(): value.strip() for name, _, value in declarations if name.strip()}


def list_padded(html: str) -> list[str]:
    """List the elements with padding that Outlook ignores (caniemail, css-padding)."""
    return [
        f"{element.tag}: {name}"
        for element, style in list_styles(html)
        for name, value in style.items()
        if element.tag not in CELLS and name.startswith("padding") and value not in {"0", "0px"}
    ]


@pytest.mark.parametrize("key", KEYS)
def test_padding_is_on_cells_only(emails: dict[str, str], key: str) -> None:
    assert list_padded(emails[key]) == []
    assert not lxml_html.document_fromstring(emails[key]).xpath("//ul | //ol"), "Outlook ignores the padding of lists"


def test_padding_elsewhere_is_found() -> None:
    assert list_padded('<p style="margin:0;padding:0 0 4px">a</p><td style="padding:4px">b</td>') == ["p: padding"]


@pytest.mark.parametrize("key", KEYS)
def test_a_border_takes_the_color_of_its_cell(emails: dict[str, str], key: str) -> None:
    """Thunderbird's dark mode changes colors of text alone: a border with a color of its own vanishes."""
    borders = [value for _, style in list_styles(emails[key]) for name, value in style.items() if "border" in name]
    assert borders
    assert [value for value in borders if "#" in value] == []


@pytest.mark.parametrize("key", KEYS)
def test_outlook_has_the_color_of_every_border(emails: dict[str, str], key: str) -> None:
    """Word's engine draws a border without a color of its own in black."""
    comment = "".join(re.findall(r"<!--\[if mso\]><xml>.*?<!\[endif\]-->", emails[key], re.DOTALL))
    rules = re.findall(r"([.\w,]+)\{border-color:(#\w{6})!important\}", comment)
    outlook_colors = {name.removeprefix("."): color for names, color in rules for name in names.split(",")}
    for cell, style in list_styles(emails[key]):
        if any(name.startswith("border-") and value.endswith("solid") for name, value in style.items()):
            named = [name for name in cell.get("class").split() if name in outlook_colors]
            assert [outlook_colors[name] for name in named] == [style["color"]]


@pytest.mark.parametrize("key", KEYS)
def test_every_link_but_buttons_and_images_is_underlined_inline(emails: dict[str, str], key: str) -> None:
    """Roundcube's style sheet removes lines that aren't inline."""
    page = lxml_html.document_fromstring(emails[key])
    links = [
        link for link in page.xpath("//a[@href]") if not link.xpath(".//img") and "go-a" not in link.get("class", "")
    ]
    assert links
    assert [a.text_content() for a in links if "text-decoration:underline" not in a.get("style", "")] == []


@pytest.mark.parametrize("key", EDITION_KINDS)
def test_an_image_is_no_higher_than_its_height_if_it_is_blocked(emails: dict[str, str], key: str) -> None:
    """WebKit draws a blocked image as a square as wide as the email otherwise, without its description."""
    images = lxml_html.document_fromstring(emails[key]).xpath("//img")
    assert images
    for image in images:
        assert f"max-height:{image.get('height')}px" in image.get("style")


@pytest.mark.parametrize("key", EDITION_KINDS)
def test_a_blocked_image_has_room_for_two_lines_of_its_description(emails: dict[str, str], key: str) -> None:
    """WebKit draws an image that it doesn't load without any height, unless one is given."""
    images = [(image, style) for image, style in list_styles(emails[key]) if image.tag == "img" and image.get("alt")]
    assert images
    for image, style in images:
        height = style["min-height"] if style.get("height") == "auto" else image.get("height")
        assert int(height.removesuffix("px")) >= 2 * 20


def test_a_blocked_thumbnail_has_room_for_five_lines_of_its_description(emails: dict[str, str]) -> None:
    thumbnails = [style for image, style in list_styles(emails["html"]) if "thumb-i" in image.get("class", "")]
    assert thumbnails
    for style in thumbnails:
        assert int(style["max-height"].removesuffix("px")) >= 5 * int(style["line-height"].removesuffix("px"))


@pytest.mark.parametrize("key", KEYS)
def test_the_body_has_no_class(emails: dict[str, str], key: str) -> None:
    """Roundcube binds the style block to a class that it gives the body, but the email's own class replaces it."""
    body = lxml_html.document_fromstring(emails[key]).find("body")
    assert body is not None
    assert body.get("class") is None
    assert "body,.paper{background-color:#12161C!important}" in emails[key]


@pytest.mark.parametrize("key", KEYS)
def test_text_in_a_cell_with_a_border_has_a_color_class_of_its_own(emails: dict[str, str], key: str) -> None:
    """The cell's color is its border's."""
    for cell, style in list_styles(emails[key]):
        if not any(name.startswith("border") and name != "border-radius" for name in style):
            continue
        for text in cell.xpath(".//text()[normalize-space()]"):
            inside = [e for e in (text.getparent(), *text.getparent().iterancestors()) if cell in e.iterancestors()]
            assert any(re.search(r"(?:^|;)color:", element.get("style", "")) for element in inside), str(text)


def test_an_email_client_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.tools.email_clients.shutil.which", lambda _tool: None)
    lines = list(take_client_pictures(b"", "", tmp_path))
    assert len(lines) == len(CLIENTS)
    assert all("LEFT OUT" in line and "not installed" in line for line in lines)
