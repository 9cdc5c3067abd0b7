"""Rules for an edition's content: opening lines, sections, links, images, and earlier stories."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from digest.collect.fetch.result import FetchError, FetchErrorReason
from digest.collect.texts.urls import usable_canonical_url
from digest.edition.content.edition_content import (
    MAX_OPENING_LENGTH,
    MAX_PREHEADER_LENGTH,
    MAX_SUBJECT_LENGTH,
    PHONE_SUBJECT_LENGTH,
    SectionEntry,
)
from digest.edition.content.stated_dates import find_deadline_days, find_mentioned_days
from digest.edition.kinds import list_lead_sections
from digest.edition.preflight.rule_registry import (
    INTRO_PLACE,
    PREHEADER_PLACE,
    SUBJECT_PLACE,
    UPDATE_DRAFT,
    PreflightFinding,
    PreflightInput,
    error_finding,
    preflight_rule,
    warning_finding,
)
from digest.edition.rendering.mail_layout import find_next_deadline, list_dated_entries
from digest.edition.rendering.template_filters import cuts_off_first_sentence
from digest.store.models import BREAKING_NEWS_NUMBER
from subscribers.english_text import count_with_noun, month_day, name_language

MAX_HEADLINE_LENGTH = 110  # maximum number of characters; longer ones are a wall of bold text on a phone


@preflight_rule("held")
def check_enough_stories(examined: PreflightInput) -> Iterator[PreflightFinding]:
    """The edition has enough stories to be approved."""
    if examined.incomplete_reason:
        yield error_finding(
            f"The edition is incomplete: {examined.incomplete_reason}.", "Add stories, or wait for the next draft."
        )


@preflight_rule("day")
def check_masthead_day(examined: PreflightInput) -> Iterator[PreflightFinding]:
    """The masthead shows the day on which the edition is sent."""
    day, send_day = examined.content.date, examined.send_day
    # In another language, the day is written differently. The rule "language" reports that.
    if send_day and day != send_day and examined.is_in_current_language:
        is_overdue = day == examined.release_day
        yield warning_finding(
            f"The masthead says {day}, but the edition's send date is {send_day}.",
            "Move the overdue edition in the calendar if the day matters." if is_overdue else UPDATE_DRAFT,
            is_fixed_by_update=not is_overdue,
        )


@preflight_rule("language")
def check_drafted_language(examined: PreflightInput) -> Iterator[PreflightFinding]:
    """The edition was drafted in the language that the publication has now."""
    if not examined.is_in_current_language:
        drafted, publication_language = examined.drafted_language, examined.file.publication.language
        yield error_finding(
            f"The edition was drafted in {name_language(drafted)}, but the publication's language is now {name_language(publication_language)}.",
            UPDATE_DRAFT,
            is_fixed_by_update=True,
        )


@preflight_rule("sending-days", is_for_admins=True)
def check_sending_duration(examined: PreflightInput) -> Iterator[PreflightFinding]:
    """The edition reaches all subscribers within a day."""
    if examined.sending_days > 1:
        yield warning_finding(
            f"With the current limits, sending to {examined.subscribers:,} subscribers takes about {examined.sending_days} days.",
            "Raise the sending limits under Settings to send faster.",
            settings="limits",
        )


@preflight_rule("subject")
def check_subject_and_preheader(examined: PreflightInput) -> Iterator[PreflightFinding]:
    """The subject is complete and has at most 60 characters, and the preheader doesn't repeat it."""
    line, second = examined.content.subject, examined.content.preheader
    if not line.strip():
        yield error_finding("The subject is empty.", "Enter a subject.", SUBJECT_PLACE)
    if len(line) > MAX_SUBJECT_LENGTH:
        yield warning_finding(
            f"The subject has {len(line)} characters. Most email apps show {MAX_SUBJECT_LENGTH}, and phones about {PHONE_SUBJECT_LENGTH}.",
            "Shorten the subject.",
            SUBJECT_PLACE,
        )
    if line.endswith("…"):
        yield warning_finding(
            f"“{line}” cuts off the lead story's headline.", "Write a complete subject.", SUBJECT_PLACE
        )
    if line and second.casefold().startswith(line.casefold()):
        yield warning_finding("The preheader repeats the subject.", "Write a different preheader.", PREHEADER_PLACE)
    if len(second) > MAX_PREHEADER_LENGTH:
        yield warning_finding(
            f"The preheader has {len(second)} characters. Inboxes show {MAX_PREHEADER_LENGTH}.",
            "Shorten the preheader.",
            PREHEADER_PLACE,
        )


@preflight_rule("intro")
def check_intro(examined: PreflightInput) -> Iterator[PreflightFinding]:
    """The intro differs from the previous edition's, and its first sentence fits the email."""
    before, words = examined.previous_edition, examined.content.intro.split()
    if before is not None and words and words == before.intro.split():
        yield warning_finding(f"The intro is the same as in No. {before.number}.", "Write a new intro.", INTRO_PLACE)
    if cuts_off_first_sentence(examined.content.intro):
        yield warning_finding(
            f"The email cuts off the intro's first sentence after {MAX_OPENING_LENGTH} characters.",
            "Shorten the sentence.",
            INTRO_PLACE,
        )


@preflight_rule("bare-headlines")
def check_unlinked_headlines(examined: PreflightInput) -> Iterator[PreflightFinding]:
    """A story without a link shows more than a headline in its section."""
    page_text = " ".join(examined.text.split())
    for section in examined.content.sections:
        for entry in section.entries:
            opening = " ".join(entry.summary.split()[:6])
            if not entry.url and (not opening or opening not in page_text):
                yield warning_finding(
                    f"“{entry.headline}” will show only a headline: the story has no link, and this section "
                    "hides summaries.",
                    "Add a link, or move the story to a section with summaries.",
                    section.title,
                )


@preflight_rule("headlines")
def check_headline_lengths(examined: PreflightInput) -> Iterator[PreflightFinding]:
    """Headlines are short enough to read on a phone."""
    for section in examined.content.sections:
        for entry in section.entries:
            if len(entry.headline) > MAX_HEADLINE_LENGTH:
                yield warning_finding(
                    f"“{entry.headline[:60]}…” has {len(entry.headline)} characters.",
                    "Shorten the headline.",
                    section.title,
                )


@preflight_rule("sections")
def check_section_counts(examined: PreflightInput) -> Iterator[PreflightFinding]:
    """Each section has stories, but no more than the settings allow, and there's a lead story."""
    limits = {s.key: s.most for s in examined.file.sections}
    for section in examined.content.sections:
        if not section.entries:
            yield error_finding("The section is empty.", "Add a story to the section.", section.title)
        most = limits.get(section.key)
        if most is not None and len(section.entries) > most:
            yield warning_finding(
                f"The section has {len(section.entries)} stories. The settings allow {most}.",
                f"Remove {count_with_noun(len(section.entries) - most, 'story', 'stories')}.",
                section.title,
            )
    if not any(section.entries for section in list_lead_sections(examined.content.sections)):
        yield error_finding("The edition has no lead story.", "Add a featured story.")


@preflight_rule("earlier-dates", must_be_confirmed=True)
def check_dates_before_next_deadline(examined: PreflightInput) -> Iterator[PreflightFinding]:
    """No text mentions an unannounced date before the next deadline or, if there's none, states a deadline."""
    content = examined.content
    deadline = find_next_deadline(content.sections)
    announced = {dated.when.day for dated in list_dated_entries(content.sections)}
    for title, source, day in find_mentioned_days(content) if deadline else find_deadline_days(content):
        if day in announced:
            continue
        if deadline is None:
            yield warning_finding(
                f"{source} states a deadline, {month_day(day)}, but the edition announces none.",
                "Check whether something is due then.",
                title,
            )
        elif day < deadline.when.day:
            yield warning_finding(
                f"{source} mentions {month_day(day)}, but the next deadline is {month_day(deadline.when.day)}.",
                "Check whether something is due earlier.",
                title,
            )


@preflight_rule("repeats")
def check_repeated_stories(examined: PreflightInput) -> Iterator[PreflightFinding]:
    """The edition has no duplicates, and repeats a recent story only if an editor chose it."""
    pinned = {_canonical_or_raw(pin) for pin in examined.file.select.pins}
    notes = {_canonical_or_raw(url): " and was added by an editor" for url in examined.chosen_urls}
    notes |= dict.fromkeys(pinned, " and is pinned")
    before = {_canonical_or_raw(s.url): s.edition for s in examined.sent_stories}
    placed = _list_linked_entries(examined)
    counts = Counter(key for _, _, key in placed)
    for title, entry, key in placed:
        if counts[key] > 1:
            yield error_finding(
                f"“{entry.headline}” appears {counts[key]} times in the edition.", "Remove the duplicates.", title
            )
            counts[key] = 0
        if key in before:
            make_finding = warning_finding if key in notes else error_finding
            advice = "Check that the story should be repeated." if key in notes else "Remove the story."
            yield make_finding(f"“{entry.headline}” was in {before[key]}{notes.get(key, '')}.", advice, title)


@preflight_rule("older-stories")
def check_older_stories(examined: PreflightInput) -> Iterator[PreflightFinding]:
    """Every story is from the edition's week, or from the day before breaking news."""
    is_weekly = examined.content.number != BREAKING_NEWS_NUMBER
    limit = "before this edition’s week" if is_weekly else "more than a day before this edition"
    for section in examined.content.sections:
        for entry in section.entries:
            if entry.is_older:
                yield warning_finding(
                    f"“{entry.headline}” is from {entry.date}, {limit}.",
                    "Check that the story is still news.",
                    section.title,
                )


def _list_linked_entries(examined: PreflightInput) -> list[tuple[str, SectionEntry, str]]:
    """Return the entries that have a URL, each with its section's title and its canonical URL."""
    return [
        (section.title, entry, _canonical_or_raw(entry.url))
        for section in examined.content.sections
        for entry in section.entries
        if entry.url
    ]


def _canonical_or_raw(url: str) -> str:
    return usable_canonical_url(url) or url  # the rule "links" reports unreadable links


MAX_IMAGE_BYTES = 200 * 1024  # bytes
MAX_ALT_LENGTH = 125  # characters; screen readers read longer descriptions in pieces
SUPPORTED_TYPES = ("image/jpeg", "image/png", "image/gif")  # types that Outlook's Word engine can display


@preflight_rule("images-ours")
def check_image_origins(examined: PreflightInput) -> Iterator[PreflightFinding]:
    """Images are served from this installation's /media/, so no one else can see when an email is opened."""
    for image in examined.tree.iter("img"):
        source = str(image.get("src") or "")
        if not source.startswith(f"{examined.drafted_base}/media/"):
            yield error_finding(
                f"{source or 'An image without a source'} isn't served from {examined.drafted_base}/media/.",
                "Choose the image again.",
            )


@preflight_rule("images-described")
def check_alt_texts(examined: PreflightInput) -> Iterator[PreflightFinding]:
    """Images have alt text (empty for decoration), and the lead's image has a description of at most 125 characters."""
    for image in examined.tree.iter("img"):
        if "alt" not in image.attrib:
            yield error_finding(f"The image {image.get('src')} has no alt text.", "Draft the edition again.")
    for section in list_lead_sections(examined.content.sections):
        lead = section.entries[0] if section.entries else None
        alt = lead.picture.alt.strip() if lead and lead.picture else None
        if lead and alt == "":
            yield warning_finding(
                f"The image for “{lead.headline}” has no description.", "Describe the image.", section.title
            )
        elif lead and alt and len(alt) > MAX_ALT_LENGTH:
            yield warning_finding(
                f"The description of the image for “{lead.headline}” has {len(alt)} characters. Screen readers read all of "
                f"it in one go, so use at most {MAX_ALT_LENGTH} characters.",
                "Shorten the description.",
                section.title,
            )


@preflight_rule("images-sized", is_for_admins=True)
def check_image_dimensions(examined: PreflightInput) -> Iterator[PreflightFinding]:
    """Images have a width and height, so the layout doesn't shift, and Outlook keeps it."""
    for image in examined.tree.iter("img"):
        sides = (str(image.get(side) or "") for side in ("width", "height"))
        if not all(re.fullmatch(r"[1-9]\d*", side) for side in sides):
            yield error_finding(
                f"The image {image.get('src')} doesn't have a width and height in whole pixels.",
                "Add the missing attributes to the template.",
            )


@preflight_rule("images-kept")
def check_stored_images(examined: PreflightInput) -> Iterator[PreflightFinding]:
    """Images are stored here as JPEG, PNG, or GIF files of at most 200 KB."""
    for image in examined.tree.iter("img"):
        source = str(image.get("src") or "")
        name = source.rsplit("/", 1)[-1]
        facts = examined.pictures.get(name)
        if facts is None:
            yield error_finding(f"The image {source} isn't stored here.", "Draft the edition again.")
        elif facts.content_type not in SUPPORTED_TYPES:
            yield error_finding(
                f"The image {source} is {facts.content_type}, which some email apps can't show.",
                "Choose another image.",
            )
        elif facts.size > MAX_IMAGE_BYTES:
            yield error_finding(
                f"The image {source} is {facts.size // 1024} KB. The limit is 200 KB.", "Choose a smaller image."
            )


@preflight_rule("logo", is_for_admins=True)
def check_masthead_logo(examined: PreflightInput) -> Iterator[PreflightFinding]:
    """If there's a logo in the settings, the masthead shows it."""
    if examined.file.branding.logo and not examined.tree.xpath("//h1//img"):
        yield error_finding(
            f"The masthead doesn't show the publication's logo, {examined.file.branding.logo}.",
            "Add the logo with 'digest media add FILE', then draft the edition again.",
        )


@preflight_rule("withdrawn")
def check_withdrawn_articles(examined: PreflightInput) -> Iterator[PreflightFinding]:
    """Visitors could read every linked article when it was last collected or checked."""
    for address, headline in examined.content.linked_articles.items():
        if reason := examined.withdrawn.get(address):
            yield error_finding(
                f"Visitors can't read “{headline}” anymore: {reason}.",
                "Remove the story. If its page is public again, draft the edition again.",
            )


_FORBIDDEN = 403
_MAX_LINKS_NAMED = 3


@preflight_rule("own-links")
def check_links_to_own_site(examined: PreflightInput) -> Iterator[PreflightFinding]:
    """Visitors can read every linked page of your site. Checked on approval or on request."""
    headlines = examined.content.linked_articles
    unread: dict[str, str] = {}
    for address, page_result in examined.own_pages.items():
        link_name = f"“{headlines[address]}” ({address})" if address in headlines else address
        if page_result.is_gone:
            yield error_finding(
                f"Visitors can't read {link_name}: {page_result.reason}.", "Make the page public, or remove the link."
            )
        elif page_result.status == _FORBIDDEN:
            yield error_finding(
                f"Your site blocked the check of {link_name}: {page_result.failure}.",
                "Open the page in a private browser window, and allow the check on your site.",
            )
        elif page_result.failure:
            unread[address] = page_result.failure
    if unread:
        yield _unread_finding(unread)


def _unread_finding(failures: Mapping[str, str]) -> PreflightFinding:
    failure_list = "; ".join(f"{address}: {failure}" for address, failure in list(failures.items())[:_MAX_LINKS_NAMED])
    more = f"; and {len(failures) - _MAX_LINKS_NAMED} more" if len(failures) > _MAX_LINKS_NAMED else ""
    count = count_with_noun(len(failures), "link")
    return warning_finding(
        f"Couldn't check {count} to your site: {failure_list}{more}.", "Open each link in a private browser window."
    )


DEAD_LINK_REASONS = frozenset(
    {
        FetchErrorReason.MISSING,
        FetchErrorReason.GONE,
        FetchErrorReason.BAD_URL,
        FetchErrorReason.REFUSED_ADDRESS,
        FetchErrorReason.DNS,
    }
)


@preflight_rule("links")
def check_link_addresses(examined: PreflightInput) -> Iterator[PreflightFinding]:
    """Links are complete https or mailto URLs. http is a warning."""
    for address in filter(_is_unsound, examined.links):
        may_be_open = examined.links_may_stay_here and address.startswith(examined.base)
        scheme = urlsplit(address).scheme
        if not scheme:
            yield error_finding(
                f"{address or 'A link'} isn't a complete URL.", "Enter a URL that begins with https://."
            )
        elif scheme != "http":
            yield error_finding(f"{address} isn't a URL or email link.", "Correct or remove the link.")
        elif not may_be_open:
            yield warning_finding(f"{address} uses http, which isn't encrypted.", "Use https if the site supports it.")


def _is_unsound(address: str) -> bool:
    parts = urlsplit(address)
    is_web = parts.scheme == "https" and bool(parts.hostname)
    return not (is_web or parts.scheme == "mailto" or address.startswith("#"))


@preflight_rule("dead-links")
def check_dead_links(examined: PreflightInput) -> Iterator[PreflightFinding]:
    """Links work and haven't moved permanently. Online only."""
    if examined.fetcher is None:
        return
    for address in examined.links:
        if not address.startswith("http") or address.startswith(examined.base):
            continue
        try:
            answer = examined.fetcher.get(address)
        except FetchError as exc:
            make_finding = error_finding if exc.reason in DEAD_LINK_REASONS else warning_finding
            yield make_finding(f"Couldn't open {address}: {exc}.", "Correct or remove the link.")
            continue
        if answer.moved_to:
            yield warning_finding(f"{address} has moved to {answer.moved_to}.", "Update the link.")
