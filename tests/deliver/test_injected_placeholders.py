"""No text becomes a placeholder: with every field, every escape, and every provider, tokens stay in their places."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import fields, replace
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import lxml.html
import pytest

from digest.app.editions.sample_emails import STAFF_MAILS, SUBSCRIBER_MAILS, make_sample_notice_facts
from digest.deliver.compose.message import MessageTemplate, PlaceholderValues
from digest.deliver.compose.notice_mail import NoticeComposer
from digest.deliver.compose.variants import create_variants, format_signup_text
from digest.deliver.providers.base import HandoverStatus, OutgoingMessage, Provider
from digest.deliver.providers.registry import open_provider
from digest.deliver.providers.sendgrid.provider import SendGridProvider
from digest.edition.content.edition_content import EditionContent, EditionSection, LabeledBlock, SectionEntry
from digest.edition.content.mailable_edition import build_mailable_draft
from digest.edition.rendering.fragments import (
    PublicationContext,
    build_publication_context,
    create_mail_environment,
    render_edition,
)
from digest.settings import Settings
from digest.store.models import Edition, EditionState
from subscribers.consent.preferences import Preferences
from subscribers.subscriber_language import ENGLISH
from tests.deliver.conftest import DATE_VALUE, delivery_settings
from tests.deliver.fake_sendgrid import API_KEY, FakeSendGrid
from tests.deliver.mark_recorder import MarkRecorder
from tests.deliver.smtp_servers import RecordingHandler, run_smtp_server
from tests.moments import RELEASE

HOME = "https://news.example.org"
LEAVE, PREFERENCES = "LeaveLeaveLeaveLeaveLe", "PrefsPrefsPrefsPrefsPr"
SIGNED_UP = "March 4, 2026"
OWN_LINKS = {f"{HOME}/u/{LEAVE}", f"{HOME}/preferences/{PREFERENCES}", f"{HOME}/preferences/{PREFERENCES}#my-data"}

# As placeholders were written once, are named now, and are written by other products.
NAMES = ("~leave-token~", "~preferences-token~", "~asked-for-it~", "~asked-for-it-html~", "~fact-url~")
SPELLINGS = (*NAMES, "leave-token", '[0,"leave-token"]', "{{ leave }}", "{{leave}}", "-leave-", "%leave%", "<%leave%>")
ESCAPES: dict[str, Callable[[str], str]] = {
    "none": lambda mark: mark,
    "backslash": lambda mark: re.sub(r"(\W)", r"\\\1", mark),
    "two backslashes": lambda mark: mark.replace("~", r"\\~"),
    "decimal entity": lambda mark: mark.replace("~", "&#126;"),
    "hexadecimal entity": lambda mark: mark.replace("~", "&#x7e;").replace("-", "&#45;"),
    "named entity": lambda mark: mark.replace("~", "&tilde;").replace("{", "&lbrace;"),
    "nested entity": lambda mark: mark.replace("~", "&amp;#126;"),
    "backslash and entity": lambda mark: mark.replace("~", r"\&#126;"),
    "percent": lambda mark: mark.replace("~", "%7E").replace("{", "%7B"),
    "nested percent": lambda mark: mark.replace("~", "%257E"),
    "percent and entity": lambda mark: mark.replace("~", "&#37;7E"),
    "quoted-printable": lambda mark: mark.replace("~", "=7E"),
    "soft line break": lambda mark: mark.replace("-", "-=\r\n"),
    "split by emphasis": lambda mark: mark.replace("token", "*token*"),
    "split by a tag": lambda mark: mark.replace("token", "<b></b>token"),
    "split by a comment": lambda mark: mark.replace("token", "<!-- -->token"),
    "split by an invisible character": lambda mark: mark.replace("token", "\u200b\u00ad\x00token"),
    "nested in itself": lambda mark: mark[: len(mark) // 2] + mark + mark[len(mark) // 2 :],
    "JSON": lambda mark: mark.replace("~", "\\u007e"),
}  # fmt: skip
PLANTED = [escape(mark) for mark in SPELLINGS for escape in ESCAPES.values()]
EVERYTHING = " ".join(PLANTED)
INTRO = "\n\n".join(
    f"{words} [a](https://elsewhere.example/?r={words}) [b](<https://elsewhere.example/?x={HOME}/u/{words}>) [c]({HOME}/u/{words})"
    for words in PLANTED
)
# Written by the program: names, kinds, dates, and sizes.
NO_TEXT = {
    "kind",
    "key",
    "id",
    "hash",
    "edition",
    "name",
    "width",
    "height",
    "number",
    "minutes",
    "day",
    "moment",
    "end",
}
NO_TEXT |= {"last_day", "first_day", "released_on", "after", "summary_origin", "is_official", "why_is_written"}


def plant(value: Any, key: str = "") -> Any:
    """Write everything into each text of an edition, and behind each URL."""
    if key in NO_TEXT or value is None:
        return value
    if isinstance(value, dict):
        return {name: plant(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [plant(item) for item in value]
    if key == "url":
        return f"{value}?{EVERYTHING}" if value else value
    return EVERYTHING if isinstance(value, str) else value


def plant_content(content: EditionContent) -> EditionContent:
    planted: dict[str, Any] = plant(content.as_json())
    planted["blocks"] = [{**block, "name": EVERYTHING} for block in planted["blocks"]]
    return EditionContent.from_json({**planted, "intro": INTRO})


def plant_frame(frame: PublicationContext) -> PublicationContext:
    return replace(
        frame,
        name=EVERYTHING,
        tagline=EVERYTHING,
        about=EVERYTHING,
        postal_address=EVERYTHING,
        site=f"{frame.site}?{EVERYTHING}",
        reply_to="~leave-token~@news.example.org",
    )


def compose_everything(settings: Settings, content: EditionContent) -> dict[str, MessageTemplate]:
    """Compose the full and the short edition, and every notice, from planted texts."""
    frame, content = plant_frame(build_publication_context(settings)), plant_content(content)
    pieces = render_edition(content, frame, create_mail_environment(settings))
    edition = Edition(name=content.name, release_at=RELEASE, state=EditionState.DRAFT)
    edition.subject, edition.number, edition.preheader = EVERYTHING, content.number, EVERYTHING
    mailable = replace(build_mailable_draft(edition, pieces, settings), sender_name=EVERYTHING, list_name=EVERYTHING)
    variants = create_variants(mailable, settings)
    templates = {
        "edition": variants.template_for(Preferences()),
        "five minutes": variants.template_for(Preferences(short=True)),
        "some sections": variants.template_for(Preferences(omit=frozenset({"events"}), text_only=True)),
    }
    composer, facts = NoticeComposer(settings, frame), make_sample_notice_facts(settings)
    for mail in (*SUBSCRIBER_MAILS, *STAFF_MAILS):
        if mail.key in facts:
            planted = {name: f"{value} {EVERYTHING}" if value else "" for name, value in facts[mail.key].items()}
            templates[mail.key] = composer.compose_notice(mail.key, planted)
    return {name: template for name, template in templates.items() if template}


def make_messages(templates: Mapping[str, MessageTemplate]) -> list[OutgoingMessage]:
    """Make a message of each template, for a subscriber whose list says everything of where they signed up."""
    origin = format_signup_text(RELEASE.replace(month=3, day=4), EVERYTHING, RELEASE.tzinfo, ENGLISH)  # type: ignore[arg-type]  # any zone
    assert origin.startswith(SIGNED_UP)
    return [
        OutgoingMessage(
            f"{n:026}",
            "edition",
            template,
            PlaceholderValues(
                f"r{n}@example.org", f"<{n}@x.example.org>", DATE_VALUE, LEAVE, PREFERENCES, origin[:1500]
            ),
        )
        for n, template in enumerate(templates.values())
    ]


# --- what arrives on the other side of each provider ---------------------------------------------------------

Arrived = dict[str, str]  # the header fields and bodies of a message, by name


def read_message(raw: bytes) -> Arrived:
    message = message_from_bytes(raw, policy=policy.default)
    assert isinstance(message, EmailMessage)
    bodies = {part.get_content_type(): part.get_content() for part in message.walk() if not part.is_multipart()}
    return {name: str(value) for name, value in message.items()} | bodies


@contextmanager
def open_outbox(folder: Path) -> Iterator[tuple[Provider, Callable[[], list[Arrived]]]]:
    yield (
        open_provider(delivery_settings(folder, f"outbox:{folder}")),
        lambda: [read_message(file.read_bytes()) for file in sorted(folder.rglob("*.eml"))],
    )


@contextmanager
def open_smtp(folder: Path) -> Iterator[tuple[Provider, Callable[[], list[Arrived]]]]:
    handler = RecordingHandler()
    with run_smtp_server(handler) as port:
        url = f"smtp://127.0.0.1:{port}?starttls=off"
        yield (
            open_provider(delivery_settings(folder, url)),
            lambda: [read_message(raw) for _, _, raw in handler.messages],
        )


@contextmanager
def open_sendgrid(_: Path) -> Iterator[tuple[Provider, Callable[[], list[Arrived]]]]:
    with FakeSendGrid() as fake:
        yield (
            SendGridProvider(API_KEY, fake.host),
            lambda: [
                fill_request(body, person) for body in fake.accepted_bodies for person in body["personalizations"]
            ],
        )


def fill_request(body: Mapping[str, Any], person: Mapping[str, Any]) -> Arrived:
    """Fill a request as SendGrid could at worst: everywhere, and in what was filled in, too."""

    def substitute(text: str) -> str:
        for _ in range(2):
            for mark, value in person["substitutions"].items():
                text = text.replace(mark, value)
        return text

    filled = {part["type"]: part["value"] for part in body["content"]}
    filled |= {"Subject": body["subject"], "From": str(body["from"])} | body["headers"]
    own: Arrived = person.get("headers", {})
    return {name: substitute(text) for name, text in filled.items()} | own


PROVIDERS: Sequence[Callable[[Path], AbstractContextManager[tuple[Provider, Callable[[], list[Arrived]]]]]] = (
    open_outbox,
    open_smtp,
    open_sendgrid,
)


def find_leaks(arrived: Arrived) -> Iterator[str]:
    """Name each place of a token, or of when and where its owner signed up, that isn't one of ours."""
    for name, text in arrived.items():
        if name == "text/html":
            yield from find_html_leaks(text)
        elif name == "text/plain":
            leaking = (w for w in text.split() if (LEAVE in w or PREFERENCES in w) and w not in OWN_LINKS)
            yield from (f"text: {word[:90]}" for word in leaking)
        elif (LEAVE in text or PREFERENCES in text) and (name, text) != ("List-Unsubscribe", f"<{HOME}/u/{LEAVE}>"):
            yield f"{name}: {text[:90]}"
        if name.startswith("text/") and text.count(SIGNED_UP) > 1:
            yield f"{name}: the sign-up is in it {text.count(SIGNED_UP)} times"


def find_html_leaks(html: str) -> Iterator[str]:
    hrefs = [a.get("href", "") for a in lxml.html.document_fromstring(html).iter("a")]
    for token in (LEAVE, PREFERENCES):
        own = sum(href in OWN_LINKS for href in hrefs if token in href)
        if html.count(token) != own:
            around = [html[max(0, found.start() - 60) : found.end()] for found in re.finditer(token, html)]
            yield f"HTML: {html.count(token)} {token[:5]}, {own} in links of ours: {around}"


@pytest.fixture(scope="module")
def templates(full_content: EditionContent, tmp_path_factory: pytest.TempPathFactory) -> dict[str, MessageTemplate]:
    return compose_everything(delivery_settings(tmp_path_factory.mktemp("home")), full_content)


@pytest.mark.parametrize("open_side", PROVIDERS, ids=[open_side.__name__ for open_side in PROVIDERS])
def test_no_token_leaves_its_place_whatever_is_written_into_every_field(
    open_side: Callable[[Path], AbstractContextManager[tuple[Provider, Callable[[], list[Arrived]]]]],
    templates: dict[str, MessageTemplate],
    tmp_path: Path,
) -> None:
    messages = make_messages(templates)
    with open_side(tmp_path) as (provider, read_arrived):
        outcome = provider.send_batch(messages, MarkRecorder())
        provider.close()
        arrived = read_arrived()
    assert [o.result for o in outcome.outcomes] == [HandoverStatus.ACCEPTED] * len(messages)
    assert len(arrived) == len(templates)
    assert [leak for message in arrived for leak in find_leaks(message)] == []
    assert sum(LEAVE in text for message in arrived for text in message.values()) > 10, "links of ours are filled"
    assert sum("elsewhere.example" in message.get("text/html", "") for message in arrived) == 1


def test_every_text_of_an_edition_was_planted(full_content: EditionContent) -> None:
    content = plant_content(full_content)
    entries = (entry for section in content.sections for entry in section.entries)
    parts: list[EditionContent | EditionSection | LabeledBlock | SectionEntry] = [content, *content.sections]
    unplanted = {
        field.name
        for block in (*parts, *content.blocks, *entries)
        for field in fields(block)
        if isinstance(text := getattr(block, field.name), str) and text and NAMES[0] not in text
    }
    assert unplanted <= NO_TEXT
