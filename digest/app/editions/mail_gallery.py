"""Every mail that the installation can send, with invented facts: for staff to look at, and to try templates with."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from zoneinfo import ZoneInfo

from digest.app.subscribers.consent_wordings import current_wording
from digest.deliver.compose.message import MessageTemplate
from digest.deliver.compose.notice_mail import NoticeComposer
from digest.deliver.compose.variants import signup_text
from digest.edition.content.edition_content import (
    EditionContent,
    EditionLink,
    EditionSection,
    EntryDate,
    LabelledBlock,
    SectionEntry,
)
from digest.edition.content.mailable_edition import join_fragments
from digest.edition.content.placeholders import LEAVE_SLOT, PREFERENCES_SLOT, SIGNUP_SLOT, SlottedText
from digest.edition.kinds import SECTION_KINDS
from digest.edition.kinds.story_entry import join_date_parts
from digest.edition.rendering.fragments import (
    create_mail_environment,
    publication_frame,
    render_edition,
    render_subject,
)
from digest.edition.rendering.mail_layout import BEST_FACTS
from digest.edition.rendering.sanitiser import RenderingError
from digest.edition.rendering.slot_places import find_misplaced_slots
from digest.settings import Settings
from digest.templating import TemplateMistakeError
from subscribers.consent.preferences import Preferences, describe_preferences
from subscribers.reader_language import ENGLISH, ReaderLanguage

EDITION_KEY = "edition"
_SAMPLE_DAY = date(2026, 11, 20)
_SAMPLE_ZONE = ZoneInfo("America/New_York")
_SAMPLE_SIGNUP, _SAMPLE_MOMENT = (
    datetime(2026, month, day, 9, 14, tzinfo=_SAMPLE_ZONE) for month, day in ((3, 4), (11, 20))
)


@dataclass(frozen=True, slots=True)
class GalleryMail:
    """One mail of the gallery: its key (the folder of its templates below `mail/`), a title, and who gets it when."""

    key: str
    title: str
    occasion: str


READER_MAILS = (
    GalleryMail(EDITION_KEY, "The edition", "To every reader, when it is released."),
    GalleryMail("confirm", "Confirm", "To whoever asked for the newsletter."),
    GalleryMail("remind", "Confirm, once more", "To whoever asked again before confirming."),
    GalleryMail("welcome", "Welcome", "To whoever confirmed."),
    GalleryMail("known", "On the list already", "To a reader who asked again."),
    GalleryMail("link", "New links", "To a reader who lost the links."),
    GalleryMail("ask", "Permission", "Once, to somebody on a list from elsewhere whose consent nothing shows."),
    GalleryMail(
        "stay", "Still wanted?", "Once, to a reader from whom nothing was heard for long, where an admin asks."
    ),
    GalleryMail("choices", "Choices changed", "To a reader, at most once a day, when choices were changed."),
    GalleryMail("data", "My data", "To a reader who asked for the link to their data."),
    GalleryMail("move", "New address", "To the new address of a reader who moves."),
    GalleryMail("moving", "Moving away", "To the old address of a reader who moves."),
    GalleryMail("leave", "Unsubscribe by mail", "To a reader who wrote to the list address in order to leave."),
    GalleryMail("undo", "Take it back", "To somebody who left and asked to undo it."),
    GalleryMail("correction", "Correction", "To those who got an error, where an editor says so."),
)
STAFF_MAILS = (
    GalleryMail("staff", "Invitation", "To a new member of the staff."),
    GalleryMail("deadline", "Deadline", "To the staff before and at the deadline of an edition."),
    GalleryMail("gone", "An article is gone", "To the staff, when the last look misses an article."),
    GalleryMail("alarm", "Alarm", "To the staff, when an alarm pauses an edition."),
    GalleryMail("alert", "Alert", "To the admins, when something needs somebody, and when it is over."),
    GalleryMail("guard", "Guarded action", "To all other admins, at once, when somebody weakens a control."),
    GalleryMail(
        "summary", "Actions on addresses", "To all admins, at most once a day, when subscriber addresses were touched."
    ),
    GalleryMail("seal", "Seal", "To admins, as often as seal_mail_days says."),
    GalleryMail("contact", "Contact form", "To the editors, when somebody writes by the form."),
)


@dataclass(frozen=True, slots=True)
class ShownMail:
    """An email as an invented subscriber gets it."""

    subject: str
    sender_name: str
    sender_address: str
    text: str
    html: str


def find_gallery_mail(key: str) -> GalleryMail | None:
    """Return a mail of the gallery by its key; None for an unknown one."""
    return next((mail for mail in (*READER_MAILS, *STAFF_MAILS) if mail.key == key), None)


def compose_gallery_mail(settings: Settings, key: str) -> ShownMail:
    """Compose one mail of the gallery with its invented facts.

    Raises:
        TemplateMistakeError: a template of the operator's own is broken.
        RenderingError: a template of the operator's own lost a place at which it is cut.
    """
    made = _compose_mail(settings, key)
    text, html = (fill_invented_reader(part, settings) for part in (made.text, made.html or SlottedText("")))
    return ShownMail(made.subject, made.sender_name, made.sender_address, text, html)


def fill_invented_reader(text: SlottedText, settings: Settings) -> str:
    """Fill the slots for an invented subscriber: when and where they signed up, and a token in their links."""
    language = settings.reader_language
    asked = signup_text(_SAMPLE_SIGNUP, language.gettext("your sign-up page"), _SAMPLE_ZONE, language)
    return text.fill({LEAVE_SLOT: "SAMPLE", PREFERENCES_SLOT: "SAMPLE", SIGNUP_SLOT: asked})


def compose_subject(settings: Settings, key: str) -> str:
    """Compose the subject of one mail of the gallery alone, which takes a hundredth of the whole.

    Raises:
        TemplateMistakeError: a template of the operator's own is broken.
    """
    if key == EDITION_KEY:
        return render_subject(sample_content(settings), publication_frame(settings), create_mail_environment(settings))
    return NoticeComposer.from_settings(settings).render_subject(key, sample_facts(settings)[key])


def find_rendering_mistakes(settings: Settings) -> Iterator[str]:
    """Render every mail of the gallery, and say what is wrong with the operator's own templates, each mistake once."""
    said = set[str]()
    for mail in (*READER_MAILS, *STAFF_MAILS):
        try:
            made = _compose_mail(settings, mail.key)
            mistakes = [*_find_misplaced_slots(made, mail.key, settings)]
        except (TemplateMistakeError, RenderingError) as exc:
            mistakes = [str(exc)]
        yield from (mistake for mistake in mistakes if mistake not in said)
        said.update(mistakes)


def _find_misplaced_slots(made: MessageTemplate, key: str, settings: Settings) -> Iterator[str]:
    for file, part in (("body.txt", made.text), ("body.html", made.html)):
        if part is not None:
            for mistake in find_misplaced_slots(part, settings.link_base, is_html=file == "body.html"):
                yield f"In mail/{key}/{file}, {mistake}"


def _compose_mail(settings: Settings, key: str) -> MessageTemplate:
    if key == EDITION_KEY:
        return _compose_edition(settings)
    return NoticeComposer.from_settings(settings).compose_notice(key, sample_facts(settings)[key])


def _compose_edition(settings: Settings) -> MessageTemplate:
    frame, environment, sender = publication_frame(settings), create_mail_environment(settings), settings.file.sender
    content = sample_content(settings)
    pieces = render_edition(content, frame, environment)
    return MessageTemplate(
        subject=render_subject(content, frame, environment),
        sender_name=sender.name,
        sender_address=sender.address,
        reply_to=sender.reply_to,
        text=join_fragments(pieces, "text"),
        html=join_fragments(pieces, "html"),
    )


def sample_facts(settings: Settings) -> dict[str, Mapping[str, str]]:
    """Return the invented facts of every notice by its kind, as `digest.deliver.send.notices.notice_sending` would write them."""
    base, language = settings.link_base, settings.reader_language
    wording = current_wording(settings)
    until, asked_at = language.weekday_date(date(2026, 11, 27)), language.moment(_SAMPLE_MOMENT)
    staff_until = ENGLISH.weekday_date(date(2026, 11, 27))
    desk_page = f"{base}/desk/editions/2026-W47"
    admin_pages = {"log_url": f"{base}/admin/audit", "staff_url": f"{base}/admin/staff"}
    asked = {
        "wording": wording.text,
        "where": language.gettext("your sign-up page"),
        "asked_at": asked_at,
        "until": until,
        "confirm_url": f"{base}/confirm/SAMPLE",
    }
    sections = [(section.key, section.title_in(language)) for section in settings.file.sections]
    gone = "New bridge inspections from March (the page is not there any more)"
    return {
        "confirm": asked,
        "remind": asked,
        "ask": {**asked, "where": language.gettext("a list from another service")},
        "welcome": {
            **asked,
            "confirmed_at": language.moment(_SAMPLE_MOMENT.replace(minute=16)),
            "next_number": "148",
            "next_day": language.weekday_date(date(2026, 11, 27)),
            "next_hour": language.hour_in_zone(_SAMPLE_MOMENT.replace(hour=6, minute=0)),
            "sender": settings.file.sender.address,
            "newest_number": "147",
            **dict.fromkeys(BEST_FACTS, ""),
            "best_first": _SAMPLE_HEADLINE,
            "best_first_url": f"{base}/editions/2026-W47",
            "best_first_note": f"Infrastructure · {language.short_month_day(date(2026, 11, 18))}",
            "best_second": "New flood maps move 41,000 homes",
            "best_second_url": f"{base}/editions/2026-W47",
            "best_second_note": f"Disaster response · {language.short_month_day(date(2026, 11, 17))}",
            "deadline": "Comments on rules for drones above public events",
            "deadline_when": language.weekday_month_day(date(2026, 12, 2)),
            "deadline_url": f"{base}/editions/2026-W47",
            "newest_url": f"{base}/editions/2026-W47",
        },
        "stay": {
            **asked,
            "asked_day": language.full_date(_SAMPLE_SIGNUP.date()),
            "url": f"{base}/stay/SAMPLE",
            "takes_off": "yes",
        },
        "known": {},
        "link": {},
        "leave": {},
        "choices": {
            "after": describe_preferences(Preferences(frozenset({sections[-1][0]})), sections, language),
            "before": describe_preferences(Preferences(), sections, language),
            "url": f"{base}/restore/SAMPLE",
            "until": until,
        },
        "data": {"url": f"{base}/my-data/SAMPLE", "until": language.moment(_SAMPLE_MOMENT.replace(day=21))},
        "move": {"url": f"{base}/address/SAMPLE", "until": until, "masked": "d•••@county.example"},
        "moving": {"masked": "d•••@city.example"},
        "undo": {"url": f"{base}/undo/SAMPLE", "until": until},
        "correction": {
            "number": "147",
            "headline": _SAMPLE_HEADLINE,
            "was": "Inspections begin in May.",
            "becomes": "Inspections begin in March.",
            "why": "We misread the schedule.",
            "signature": f"{language.full_date(date(2026, 11, 21))}, Dana Reyes",
            "address": f"{base}/editions/2026-W47",
        },
        "staff": {"role": "editor", "signs_in": "", "url": f"{base}/staff/SAMPLE", "until": staff_until},
        "deadline": {
            "title": "No. 147 waits for approval",
            "heading": "No. 147 waits for approval",
            "say": "No. 147 is not approved. It is to go out on Friday, November 20, 6 a.m., and can be approved until then.",
            "state": "",
            "button": "Open the edition",
            "address": desk_page,
            "subject": _SAMPLE_HEADLINE,
            "preheader": "Also: a flood drill by night; a call for radio repairs",
            "preview": "Inspectors look at every bridge by May.\n\nFEATURED STORIES\n1. " + _SAMPLE_HEADLINE,
        },
        "gone": {
            "edition": "2026-W47",
            "number": "147",
            "release": "Friday, November 20, 6 a.m.",
            "stories": gone,
            "stopped": "yes",
            "address": desk_page,
        },
        "alarm": {
            "number": "147",
            "reason": "6 of 1,000 readers complained",
            "handed_over": "1,000",
            "waiting": "11,408",
            "address": f"{desk_page}/sending",
        },
        "alert": {
            "heading": "Something needs you",
            "opened": "Nothing comes in from Harbor Safety: refusing since 2026-11-13: it answers 403.",
            "over": "Over since Nov 20 05:10 EST: The backup of Nov 20 02:30 EST failed: /backups: no room.",
            "address": f"{settings.link_base}/desk/",
        },
        "guard": {
            "who": "Dana Reyes (staff 3)",
            "did": "changed settings: sender.reply_to",
            "face": "at the desk",
            "done_at": "November 20, 2026, 09:14 EST",
            "concern": "who email comes from, and where replies and links lead",
            "about_you": "",
            **admin_pages,
        },
        "summary": {
            "since": "November 19, 2026, 10:02 EST",
            "done_at": "November 20, 2026, 03:00 EST",
            "lines": "Dana Reyes (staff 3) viewed a subscriber's address (4 times)\nterminal:digest exported the subscriber list",
            **admin_pages,
        },
        "seal": {
            "sealed_at": "November 20, 2026, 03:00 EST",
            "counts": "12,408 people, 31,022 events, 214 suppressions",
            "seal": "3fa9c21e" * 8,
            "seal_start": "3fa9c21e3fa9c21e",
            "fault": "",
        },
        "contact": {
            "message": "Your calendar lists the drill a day early.\nIt is on the 24th.",
            "reply": "reader@example.org",
        },
    }


_SAMPLE_HEADLINE = "New bridge inspections from March"


def sample_content(settings: Settings) -> EditionContent:
    """Return an invented edition with the publication's own sections, every kind of entry and a labelled block in it."""
    language = settings.reader_language
    sections = [
        EditionSection(
            section.key,
            section.kind,
            section.title_in(language),
            SECTION_KINDS[section.kind].section_note(section, _SAMPLE_MOMENT, language),
            tuple(_write_dates(entry, language) for entry in _SAMPLE_ENTRIES.get(section.kind, _SAMPLE_ROWS)),
        )
        for section in settings.file.sections
    ]
    publication = settings.file.publication
    return EditionContent(
        name="2026-W47",
        number=147,
        subject=_SAMPLE_HEADLINE,
        preheader="Also: a flood drill by night; a call for radio repairs",
        date=language.weekday_date(_SAMPLE_DAY),
        minutes=5,
        intro=publication.intro or "Three inspections, one drill: this week is about *looking twice*.",
        editor=publication.editor or "An editor",
        sections=tuple(sections),
        blocks=(LabelledBlock("sample", "sponsor", "Rugged tablets for field crews", "Example Devices", "Made up."),),
        released_on=_SAMPLE_DAY,
    )


def _write_dates(entry: SectionEntry, language: ReaderLanguage) -> SectionEntry:
    """Write the dates of an invented entry, which stand in English in it, as readers read them."""
    date_text, when = language.short_month_day(date(2026, 11, 18)) if entry.date else "", entry.when
    if when is None:
        return replace(entry, date=date_text)
    hour = _SAMPLE_HOURS.get(when.day)
    written = [language.weekday_month_day(when.day), *([language.hour_in_zone(hour)] if hour else [])]
    label = language.translate_text(when.label)
    return replace(entry, when=replace(when, text=join_date_parts(written, language), label=label))


_SAMPLE_HOURS = {
    date(2026, 11, 24): datetime(2026, 11, 24, 9, tzinfo=_SAMPLE_ZONE),
    date(2026, 11, 30): datetime(2026, 11, 30, 17, tzinfo=_SAMPLE_ZONE),
}


def _sample_story(headline: str, slug: str, **values: str | tuple[EditionLink, ...]) -> SectionEntry:
    return SectionEntry(
        headline,
        f"https://press.example.org/{slug}",
        kicker="Bridges",
        source="Example Press",
        date="Nov 18",
        **values,  # type: ignore[arg-type]  # names of SectionEntry's own fields
    )


_SAMPLE_ROWS = (
    _sample_story(
        _SAMPLE_HEADLINE,
        "bridges",
        summary="Every bridge of the county is looked at twice, by two crews that do not compare notes before they are done.",
        why="four sources carried it",
        also=tuple(
            EditionLink(f"Example {name}", f"https://{name.lower()}.example.org/bridges")
            for name in ("Post", "Sun", "Radio", "Mail")
        ),
        related=(EditionLink("The list of 2025", "https://press.example.org/list", "Nov 2, 2025"),),
    ),
    _sample_story(
        "A flood drill by night",
        "drill",
        summary="Crews walked the levee in the dark, with lamps and one map.",
        note="An editor was there.",
    ),
    _sample_story(
        "Four towns share one radio channel", "radio", summary="The channel is to be ready before the winter."
    ),
)
_SAMPLE_ENTRIES: Mapping[str, tuple[SectionEntry, ...]] = {
    "featured": _SAMPLE_ROWS,
    "stories": _SAMPLE_ROWS[1:],
    "most-read": _SAMPLE_ROWS,
    "topics": _SAMPLE_ROWS,
    "products": (
        SectionEntry(
            "A lamp for wet hands", "https://shop.example.com/lamp", summary="It floats.", details=("Example Lamps",)
        ),
        SectionEntry(
            "A map that folds itself", "https://shop.example.com/map", summary="Nearly.", details=("Example Maps",)
        ),
    ),
    "events": (
        SectionEntry(
            "Levee walk",
            "https://events.example.org/levee",
            when=EntryDate("event", date(2026, 11, 24), "Tuesday, November 24, 9 a.m. ET", "Event"),
            details=("Riverside", "Free"),
        ),
        SectionEntry(
            "Spring conference",
            "https://events.example.org/spring",
            when=EntryDate("event", date(2027, 3, 4), "Thursday, March 4", "Event"),
            details=("Denver", "$120"),
        ),
    ),
    "opportunities": (
        SectionEntry(
            "Call for radio repairs",
            "https://bids.example.org/radio",
            when=EntryDate("deadline", date(2026, 11, 30), "Monday, November 30, 5 p.m. ET", "Deadline"),
            details=("For small firms",),
        ),
    ),
}
