"""Samples of every email that the installation can send.

They're filled with made-up data, for staff to view and for testing templates.
"""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from pydantic import TypeAdapter

from digest.app.subscribers.consent_texts import build_consent_text
from digest.deliver.compose.message import MessageTemplate
from digest.deliver.compose.notice_mail import NoticeComposer
from digest.deliver.compose.variants import format_signup_text
from digest.edition.content.edition_content import EditionContent, EditionSection, LabeledBlock, SectionEntry
from digest.edition.content.mailable_edition import join_fragments
from digest.edition.content.slotted_text import LEAVE_SLOT, PREFERENCES_SLOT, SIGNUP_SLOT, SlottedText
from digest.edition.kinds import SECTION_KINDS
from digest.edition.kinds.story_entry import join_date_parts
from digest.edition.part_titles import list_part_titles
from digest.edition.rendering.fragments import (
    build_publication_context,
    create_mail_environment,
    render_edition,
    render_subject,
)
from digest.edition.rendering.mail_layout import BEST_FACTS
from digest.edition.rendering.sanitizer import RenderingError
from digest.edition.rendering.slot_places import find_misplaced_slots
from digest.settings import Settings
from digest.templating import TemplateMistakeError
from subscribers.consent.preferences import Preferences, describe_preferences
from subscribers.subscriber_language import SubscriberLanguage

EDITION_KEY = "edition"
_SAMPLE_DAY = date(2026, 11, 20)
_SAMPLE_ZONE = ZoneInfo("America/New_York")
_SAMPLE_SIGNUP = datetime(2026, 3, 4, 9, 14, tzinfo=_SAMPLE_ZONE)
_SAMPLE_MOMENT = datetime(2026, 11, 20, 9, 14, tzinfo=_SAMPLE_ZONE)


@dataclass(frozen=True, slots=True)
class SampleEmail:
    """One of the emails that the installation sends, for rendering with made-up data.

    `key` is the name of its template folder under `mail/`, and `occasion` says who gets it and
    when.
    """

    key: str
    title: str
    occasion: str


_GALLERY = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))
SUBSCRIBER_MAILS = tuple(SampleEmail(**mail) for mail in _GALLERY["readers"])
STAFF_MAILS = tuple(SampleEmail(**mail) for mail in _GALLERY["staff"])


@dataclass(frozen=True, slots=True)
class RenderedSample:
    """An email as a made-up subscriber would get it."""

    subject: str
    sender_name: str
    sender_address: str
    text: str
    html: str


def find_sample_email(key: str) -> SampleEmail | None:
    """Return the sample email with this key, or None if the key is unknown."""
    return next((mail for mail in (*SUBSCRIBER_MAILS, *STAFF_MAILS) if mail.key == key), None)


def compose_sample_email(settings: Settings, key: str) -> RenderedSample:
    """Render a sample email with its made-up data.

    Raises:
        TemplateMistakeError: one of the operator's own templates has a mistake.
        RenderingError: one of the operator's own templates lacks a place to split it.
    """
    return _fill_sample(settings, _compose_mail(settings, key))


def compose_sample_notice(settings: Settings, key: str, facts: Mapping[str, str]) -> RenderedSample:
    """Render a transactional email that contains real data for a made-up subscriber.

    Raises:
        TemplateMistakeError: one of the operator's own templates has a mistake.
    """
    return _fill_sample(settings, NoticeComposer.from_settings(settings).compose_notice(key, facts))


def _fill_sample(settings: Settings, message: MessageTemplate) -> RenderedSample:
    text = fill_sample_placeholders(message.text, settings)
    html = fill_sample_placeholders(message.html or SlottedText(""), settings)
    return RenderedSample(message.subject, message.sender_name, message.sender_address, text, html)


def fill_sample_placeholders(text: SlottedText, settings: Settings) -> str:
    """Fill placeholders with the data of a made-up subscriber.

    They get a sign-up time and source, and sample tokens in links.
    """
    language = settings.subscriber_language
    signup_words = format_signup_text(_SAMPLE_SIGNUP, language.gettext("your sign-up page"), _SAMPLE_ZONE, language)
    return text.fill({LEAVE_SLOT: "SAMPLE", PREFERENCES_SLOT: "SAMPLE", SIGNUP_SLOT: signup_words})


def compose_sample_subject(settings: Settings, key: str) -> str:
    """Render only the subject of a sample email, which is about 100 times as fast as rendering all of it.

    Raises:
        TemplateMistakeError: one of the operator's own templates has a mistake.
    """
    if key == EDITION_KEY:
        return render_subject(
            make_sample_content(settings), build_publication_context(settings), create_mail_environment(settings)
        )
    return NoticeComposer.from_settings(settings).render_subject(key, make_sample_notice_facts(settings)[key])


def find_rendering_mistakes(settings: Settings) -> Iterator[str]:
    """Render every sample email, and yield each mistake in the operator's own templates once."""
    known_mistakes = set[str]()
    for mail in (*SUBSCRIBER_MAILS, *STAFF_MAILS):
        try:
            message = _compose_mail(settings, mail.key)
            mistakes = [*_find_misplaced_slots(message, mail.key, settings)]
        except (TemplateMistakeError, RenderingError) as exc:
            mistakes = [str(exc)]
        yield from (mistake for mistake in mistakes if mistake not in known_mistakes)
        known_mistakes.update(mistakes)


def _find_misplaced_slots(message: MessageTemplate, key: str, settings: Settings) -> Iterator[str]:
    for file, part in (("body.txt", message.text), ("body.html", message.html)):
        if part is not None:
            for mistake in find_misplaced_slots(part, settings.link_base, is_html=file == "body.html"):
                yield f"In mail/{key}/{file}, {mistake}"


def _compose_mail(settings: Settings, key: str) -> MessageTemplate:
    if key == EDITION_KEY:
        return _compose_edition(settings)
    return NoticeComposer.from_settings(settings).compose_notice(key, make_sample_notice_facts(settings)[key])


def _compose_edition(settings: Settings) -> MessageTemplate:
    frame, environment, sender = (
        build_publication_context(settings),
        create_mail_environment(settings),
        settings.file.sender,
    )
    content = make_sample_content(settings)
    pieces = render_edition(content, frame, environment)
    return MessageTemplate(
        subject=render_subject(content, frame, environment),
        sender_name=sender.name,
        sender_address=sender.address,
        reply_to=sender.reply_to,
        text=join_fragments(pieces, "text"),
        html=join_fragments(pieces, "html"),
    )


def make_sample_notice_facts(settings: Settings) -> dict[str, Mapping[str, str]]:
    """Return made-up facts for every kind of transactional email.

    They have the same form as in `digest.deliver.send.notices.notice_sending`.
    """
    values = list_sample_values(settings)
    facts: dict[str, dict[str, str]] = {
        mail.key: {} for mail in (*SUBSCRIBER_MAILS, *STAFF_MAILS) if mail.key != EDITION_KEY
    }
    for key in ("confirm", "remind", "ask", "welcome", "stay"):
        facts[key] |= _GALLERY["asked"]
    facts["welcome"] |= dict.fromkeys(BEST_FACTS, "")
    for key, own in _GALLERY["facts"].items():
        facts[key] |= own
    for own in facts.values():
        own |= {name: text.format_map(values) for name, text in own.items()}
    return {**facts}


def list_sample_values(settings: Settings) -> Mapping[str, str]:
    """Return the values that replace the names in braces in the sample facts."""
    base, language, moment = settings.link_base, settings.subscriber_language, _SAMPLE_MOMENT
    parts = list_part_titles(settings, language)
    only_last = Preferences(frozenset({parts[-1][0]}))
    return {
        "base": base,
        "desk": f"{base}/desk/editions/2026-W47",
        "edition": f"{base}/editions/2026-W47",
        "sender": settings.file.sender.address,
        "wording": build_consent_text(settings).text,
        "sign_up_page": language.gettext("your sign-up page"),
        "other_list": language.gettext("a list from another service"),
        "every_section": describe_preferences(Preferences(), parts, language),
        "one_section": describe_preferences(only_last, parts, language),
        "asked_day": language.full_date(_SAMPLE_SIGNUP.date()),
        "asked_at": language.moment(moment),
        "confirmed_at": language.moment(moment.replace(minute=16)),
        "next_morning": language.moment(moment.replace(day=21)),
        "next_hour": language.hour_in_zone(moment.replace(hour=6, minute=0)),
        "nov_17": language.short_month_day(date(2026, 11, 17)),
        "nov_18": language.short_month_day(date(2026, 11, 18)),
        "corrected_day": language.full_date(date(2026, 11, 21)),
        "until": language.weekday_date(date(2026, 11, 27)),
        "deadline_day": language.weekday_month_day(date(2026, 12, 2)),
    }


def make_sample_content(settings: Settings) -> EditionContent:
    """Return a made-up edition with the publication's own sections.

    It has every kind of entry and a labeled block.
    """
    language = settings.subscriber_language
    sections = [
        EditionSection(
            section.key,
            section.kind,
            section.title_in(language),
            SECTION_KINDS[section.kind].format_section_note(section, _SAMPLE_MOMENT, language),
            tuple(
                _write_dates(entry, language)
                for entry in _SAMPLE_ENTRIES.get(section.kind, _SAMPLE_ENTRIES["featured"])
            ),
        )
        for section in settings.file.sections
    ]
    publication = settings.file.publication
    return EditionContent(
        name="2026-W47",
        number=147,
        subject=_SAMPLE_ENTRIES["featured"][0].headline,
        preheader="Also: a flood drill by night; a call for radio repairs",
        date=language.weekday_date(_SAMPLE_DAY),
        minutes=5,
        intro=publication.intro or "Three inspections, one drill: this week is about *looking twice*.",
        editor=publication.editor or "An editor",
        sections=tuple(sections),
        blocks=(LabeledBlock("sample", "sponsor", "Rugged tablets for field crews", "Example Devices", "Made up."),),
        released_on=_SAMPLE_DAY,
    )


def _write_dates(entry: SectionEntry, language: SubscriberLanguage) -> SectionEntry:
    """Return a sample entry with its dates translated from English."""
    date_text = language.short_month_day(date(2026, 11, 18)) if entry.date else ""
    when = entry.when
    if when is None:
        return replace(entry, date=date_text)
    hour = _SAMPLE_HOURS.get(when.day)
    written = [language.weekday_month_day(when.day)]
    if hour:
        written.append(language.hour_in_zone(hour))
    label = language.translate_text(when.label)
    return replace(entry, when=replace(when, text=join_date_parts(written, language), label=label))


_SAMPLE_HOURS = {
    date(2026, 11, 24): datetime(2026, 11, 24, 9, tzinfo=_SAMPLE_ZONE),
    date(2026, 11, 30): datetime(2026, 11, 30, 17, tzinfo=_SAMPLE_ZONE),
}


_SAMPLE_ENTRIES = TypeAdapter(dict[str, tuple[SectionEntry, ...]]).validate_python(_GALLERY["entries"])
_SAMPLE_ENTRIES |= dict.fromkeys(("featured", "most-read", "topics"), _SAMPLE_ENTRIES["stories"])
_SAMPLE_ENTRIES["stories"] = _SAMPLE_ENTRIES["featured"][1:]
