"""The publisher's branding in emails: its colors are used everywhere, and none of ours remain."""

import re

from digest.deliver.compose.notice_mail import NoticeComposer
from digest.edition.content.edition_content import EditionContent
from digest.edition.content.mailable_edition import join_fragments
from digest.edition.preflight.contrast_rules import check_contrast
from digest.edition.preflight.rule_registry import PreflightInput
from digest.edition.rendering.fragments import build_publication_context, create_mail_environment, render_edition
from digest.settings import BrandingSettings, Settings
from digest.web.filters import build_branding_styles
from tests.settings.test_branding import TEAL

OURS = {value for value in BrandingSettings().model_dump().values() if str(value).startswith("#")} - {"#FFFFFF"}
SETTINGS = Settings.model_validate({"base_url": "https://news.example.org", "file": {"branding": TEAL}})


def as_message(html: str) -> bytes:
    return b"Content-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n" + html.encode()


def test_every_colour_of_an_edition_is_the_publishers_and_can_be_read(full_content: EditionContent) -> None:
    pieces = render_edition(full_content, build_publication_context(SETTINGS), create_mail_environment(SETTINGS))
    html = join_fragments(pieces, "html").text
    colours = {colour.upper() for colour in re.findall(r"#[0-9A-Fa-f]{6}\b", html)}
    assert not colours & OURS
    assert {value for value in TEAL.values() if str(value).startswith("#")} <= colours
    assert "Georgia" not in html
    assert "color:#00606B;border-top:4px solid" in html
    assert ".bar{border-color:#00606B!important}" in html
    examined = PreflightInput(as_message(html), {}, full_content, SETTINGS.file, SETTINGS.link_base)
    assert not list(check_contrast(examined))


def test_a_notice_wears_it_too() -> None:
    names = ("confirm_url", "until", "asked_at", "wording", "where")
    facts = dict.fromkeys(names, "https://news.example.org/confirm/x")
    html = NoticeComposer.from_settings(SETTINGS).compose_notice("confirm", facts).html
    assert html is not None
    colours = {colour.upper() for colour in re.findall(r"#[0-9A-Fa-f]{6}\b", html.text)}
    assert not colours & OURS
    assert {"#00606B", "#6FD0DB"} <= colours
    assert ".bar{border-color:#00606B!important}" in html.text


def test_pages_get_it_as_variables_and_nothing_where_it_is_ours() -> None:
    assert build_branding_styles(BrandingSettings()) == ""
    shapes, light, dark = build_branding_styles(SETTINGS.file.branding).split("@media")
    assert "--link: #00606B; --signal: #8A2C5E;" in light
    assert "--paper: #F8FBFB; --tint: #F1F5F5;" in light
    assert "--bar: 4px; --bar-color: var(--link);" in shapes
    assert "--link: #6FD0DB; --signal: #F09AC4;" in dark
