"""Rules over what the edition says and shows: lines, sections, links, pictures, and what readers had before."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from digest.collect.fetch.result import FetchError, FetchErrorReason
from digest.collect.texts.urls import usable_canonical_url
from digest.edition.content.edition_content import (
    MAX_PREHEADER_LENGTH,
    MAX_SUBJECT_LENGTH,
    PHONE_SUBJECT_LENGTH,
    SectionEntry,
)
from digest.edition.kinds import lead_sections
from digest.edition.preflight.rule_registry import (
    INTRO_PLACE,
    PREHEADER_PLACE,
    SUBJECT_PLACE,
    PreflightFinding,
    PreflightInput,
    error_finding,
    preflight_rule,
    warning_finding,
)
from subscribers.phrases import name_language

MAX_HEADLINE_LENGTH = 110  # characters; a phone shows more as a wall of bold text


@preflight_rule("held")
def check_completeness(examined: PreflightInput) -> Iterator[PreflightFinding]:
    """An edition that is held (too few stories) is not approved."""
    if examined.incomplete_reason:
        yield error_finding(f"The edition is held: {examined.incomplete_reason}")


@preflight_rule("day")
def check_masthead_day(examined: PreflightInput) -> Iterator[PreflightFinding]:
    """The masthead names the day on which the edition goes out."""
    day, departure_day = examined.content.date, examined.departure_day
    # In another language the same day is written otherwise, which the rule language says.
    if departure_day and day != departure_day and examined.speaks_its_language:
        yield warning_finding(f"The masthead says {day}, and the edition goes out on {departure_day}.")


@preflight_rule("language")
def check_language(examined: PreflightInput) -> Iterator[PreflightFinding]:
    """The edition was drafted in the language that the publication has now."""
    if not examined.speaks_its_language:
        drafted, wanted = examined.drafted_language, examined.file.publication.language
        yield error_finding(
            f"The edition was drafted in {name_language(drafted)}, and the publication is in {name_language(wanted)} now: its readers would "
            "get a mail in two languages. Draft the edition again."
        )


@preflight_rule("sending-days", is_for_admins=True)
def check_sending_days(examined: PreflightInput) -> Iterator[PreflightFinding]:
    """It reaches all readers within a day."""
    if examined.sending_days > 1:
        yield warning_finding(
            f"By the limits on sending it goes out over about {examined.sending_days} days, to {examined.readers:,} readers: the "
            "last have it so much later. See warm_up and send_per_hour of [limits]."
        )


@preflight_rule("subject")
def check_inbox_lines(examined: PreflightInput) -> Iterator[PreflightFinding]:
    """There is a whole subject of at most 60 characters, and a preheader that says something else."""
    line, second = examined.content.subject, examined.content.preheader
    if not line.strip():
        yield error_finding("The subject is empty.", SUBJECT_PLACE)
    if len(line) > MAX_SUBJECT_LENGTH:
        yield warning_finding(
            f"The subject has {len(line)} characters; most programs show {MAX_SUBJECT_LENGTH}, a phone about {PHONE_SUBJECT_LENGTH}.",
            SUBJECT_PLACE,
        )
    if line.endswith("…"):
        yield warning_finding(
            f"“{line}” is cut off where the lead's headline goes on. Write a subject that ends.", SUBJECT_PLACE
        )
    if line and second.casefold().startswith(line.casefold()):
        yield warning_finding("The preheader repeats the subject.", PREHEADER_PLACE)
    if len(second) > MAX_PREHEADER_LENGTH:
        yield warning_finding(
            f"The preheader has {len(second)} characters; inboxes show {MAX_PREHEADER_LENGTH}.", PREHEADER_PLACE
        )


@preflight_rule("intro")
def check_intro_repetition(examined: PreflightInput) -> Iterator[PreflightFinding]:
    """The intro is not word for word that of the edition before."""
    before, intro = examined.previous_edition, examined.content.intro
    if before is not None and intro.strip() and intro.split() == before.intro.split():
        yield warning_finding(
            f"The intro is word for word that of No. {before.number}. Write one for this week.", INTRO_PLACE
        )


@preflight_rule("bare-headlines")
def check_bare_headlines(examined: PreflightInput) -> Iterator[PreflightFinding]:
    """A story without a link says in its section more than its headline."""
    shown = " ".join(examined.text.split())
    for section in examined.content.sections:
        for entry in section.entries:
            opening = " ".join(entry.summary.split()[:6])
            if not entry.url and (not opening or opening not in shown):
                yield warning_finding(
                    f"Of “{entry.headline}” readers get the headline alone: it has no link, and this section shows no summary of "
                    "it. Give it a link, or move it to a section that shows one.",
                    section.title,
                )


@preflight_rule("headlines")
def check_headline_lengths(examined: PreflightInput) -> Iterator[PreflightFinding]:
    """No headline is so long that a phone shows a wall of bold text."""
    for section in examined.content.sections:
        for entry in section.entries:
            if len(entry.headline) > MAX_HEADLINE_LENGTH:
                yield warning_finding(f"“{entry.headline[:60]}…” has {len(entry.headline)} characters.", section.title)


@preflight_rule("sections")
def check_section_counts(examined: PreflightInput) -> Iterator[PreflightFinding]:
    """No section is empty or fuller than the settings allow, and Featured is there."""
    limits = {s.key: s.most for s in examined.file.sections}
    for section in examined.content.sections:
        if not section.entries:
            yield error_finding("The section is empty.", section.title)
        most = limits.get(section.key)
        if most is not None and len(section.entries) > most:
            yield warning_finding(f"{len(section.entries)} entries; the settings allow {most}.", section.title)
    if not any(section.entries for section in lead_sections(examined.content.sections)):
        yield error_finding("Nothing is featured: the edition has no lead.")


@preflight_rule("repeats")
def check_repeated_stories(examined: PreflightInput) -> Iterator[PreflightFinding]:
    """No story stands twice in the edition, and none but one that an editor chose was in one of the last."""
    pinned = {_canonical_or_raw(pin) for pin in examined.file.select.pins}
    notes = {_canonical_or_raw(url): ", and an editor placed it" for url in examined.chosen_urls}
    notes |= dict.fromkeys(pinned, ", and is pinned")
    before = {_canonical_or_raw(s.url): s.edition for s in examined.sent_stories}
    placed = _list_linked_entries(examined)
    counts = Counter(key for _, _, key in placed)
    for title, entry, key in placed:
        if counts[key] > 1:
            yield error_finding(f"“{entry.headline}” stands {counts[key]} times in the edition.", title)
            counts[key] = 0
        if key in before:
            make_finding = warning_finding if key in notes else error_finding
            yield make_finding(f"“{entry.headline}” was in {before[key]}{notes.get(key, '')}.", title)


def _list_linked_entries(examined: PreflightInput) -> list[tuple[str, SectionEntry, str]]:
    """List title of the section, entry, and URL; a story of our own without a page can't be told from others."""
    return [
        (section.title, entry, _canonical_or_raw(entry.url))
        for section in examined.content.sections
        for entry in section.entries
        if entry.url
    ]


def _canonical_or_raw(url: str) -> str:
    return usable_canonical_url(url) or url  # a link that cannot be read is the rule links' matter


MAX_IMAGE_BYTES = 200 * 1024  # bytes
SUPPORTED_TYPES = ("image/jpeg", "image/png", "image/gif")  # what Outlook's Word engine shows


@preflight_rule("images-ours")
def check_image_origins(examined: PreflightInput) -> Iterator[PreflightFinding]:
    """Every picture comes from /media/ of this installation: nobody else sees a reader open the mail."""
    for image in examined.tree.iter("img"):
        source = str(image.get("src") or "")
        if not source.startswith(f"{examined.drafted_base}/media/"):
            yield error_finding(
                f"{source or 'A picture without a source'} is not under {examined.drafted_base}/media/."
            )


@preflight_rule("images-described")
def check_alt_texts(examined: PreflightInput) -> Iterator[PreflightFinding]:
    """Every picture has an alt text (empty for decoration), and the lead's says what is seen."""
    for image in examined.tree.iter("img"):
        if "alt" not in image.attrib:
            yield error_finding(f"{image.get('src')} has no alt text.")
    for section in lead_sections(examined.content.sections):
        lead = section.entries[0] if section.entries else None
        if lead and lead.picture and not lead.picture.alt.strip():
            yield warning_finding(f"The picture of “{lead.headline}” has no description.", section.title)


@preflight_rule("images-sized", is_for_admins=True)
def check_image_dimensions(examined: PreflightInput) -> Iterator[PreflightFinding]:
    """Every picture says its width and height, so that nothing jumps and Outlook keeps the layout."""
    for image in examined.tree.iter("img"):
        if not all(re.fullmatch(r"[1-9]\d*", str(image.get(side) or "")) for side in ("width", "height")):
            yield error_finding(f"{image.get('src')} has no width and height in whole pixels.")


@preflight_rule("images-kept")
def check_stored_images(examined: PreflightInput) -> Iterator[PreflightFinding]:
    """Every picture is kept here, as JPEG, PNG or GIF, and weighs at most 200 KB."""
    for image in examined.tree.iter("img"):
        source = str(image.get("src") or "")
        name = source.rsplit("/", 1)[-1]
        facts = examined.pictures.get(name)
        if facts is None:
            yield error_finding(f"{source} is not kept here: readers would see nothing. Draft again.")
        elif facts.content_type not in SUPPORTED_TYPES:
            yield error_finding(f"{source} is {facts.content_type}: some mail programs show nothing.")
        elif facts.size > MAX_IMAGE_BYTES:
            yield error_finding(f"{source} weighs {facts.size // 1024} KB; 200 KB is the limit.")


@preflight_rule("logo", is_for_admins=True)
def check_masthead_logo(examined: PreflightInput) -> Iterator[PreflightFinding]:
    """Where the settings name a logo, the masthead shows it."""
    if examined.file.look.logo and not examined.tree.xpath("//h1//img"):
        yield error_finding(
            f"look.logo names {examined.file.look.logo}, and the masthead does not show it: it is not kept here, or was added after "
            "this draft. Add it with 'digest media add FILE', and draft again."
        )


@preflight_rule("withdrawn")
def check_withdrawn_articles(examined: PreflightInput) -> Iterator[PreflightFinding]:
    """Visitors can still read every article that it links, by what collecting and drafting saw last."""
    for address, headline in examined.content.linked_articles.items():
        if reason := examined.withdrawn.get(address):
            yield error_finding(
                f"Visitors can't read “{headline}” anymore: {reason}. Remove it. If it's public again, draft the edition again."
            )


_FORBIDDEN = 403
_MAX_LINKS_NAMED = 3


@preflight_rule("own-links")
def check_own_links(examined: PreflightInput) -> Iterator[PreflightFinding]:
    """On approval, or on request: visitors can read every page of the own site that it links."""
    headlines = examined.content.linked_articles
    for address, look in examined.own_pages.items():
        named = f"“{headlines[address]}” ({address})" if address in headlines else address
        if look.is_gone:
            yield error_finding(
                f"Visitors can't read {named}: {look.reason}. Make the page public, or remove the link."
            )
        elif look.status == _FORBIDDEN:
            yield error_finding(
                f"Your site doesn't let us read {named}, so we can't tell if visitors can: {look.failure}."
            )
    unread = {a: look.failure for a, look in examined.own_pages.items() if look.failure and look.status != _FORBIDDEN}
    if unread:
        yield _unread_finding(unread)


def _unread_finding(failures: Mapping[str, str]) -> PreflightFinding:
    named = "; ".join(f"{address}: {failure}" for address, failure in list(failures.items())[:_MAX_LINKS_NAMED])
    more = f"; and {len(failures) - _MAX_LINKS_NAMED} more" if len(failures) > _MAX_LINKS_NAMED else ""
    count = "1 link" if len(failures) == 1 else f"{len(failures)} links"
    return warning_finding(
        f"Couldn't check as a visitor {count} to your site. Open them in a private browser window. {named}{more}."
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
    """Every link is a whole https or mailto address; plain http is pointed out."""
    for address in examined.links:
        parts = urlsplit(address)
        if address.startswith("#"):
            continue
        is_sound = parts.scheme == "mailto" or (parts.scheme == "https" and bool(parts.hostname))
        if not parts.scheme:
            yield error_finding(f"{address or 'An empty link'} is relative: it leads nowhere from a mail.")
        elif parts.scheme == "http" and not _stays_here(address, examined):
            yield warning_finding(
                f"{address} is plain http: whoever stands between the reader and that site can read along."
            )
        elif parts.scheme != "http" and not is_sound:
            yield error_finding(f"{address} is no web or mail address.")


def _stays_here(address: str, examined: PreflightInput) -> bool:
    return examined.links_may_stay_here and address.startswith(examined.base)


@preflight_rule("dead-links")
def check_dead_links(examined: PreflightInput) -> Iterator[PreflightFinding]:
    """Online only: every link answers, and none leads elsewhere for good."""
    if examined.fetcher is None:
        return
    for address in examined.links:
        if not address.startswith("http") or address.startswith(examined.base):
            continue
        try:
            answer = examined.fetcher.get(address)
        except FetchError as exc:
            make_finding = error_finding if exc.reason in DEAD_LINK_REASONS else warning_finding
            yield make_finding(f"{address}: {exc}")
            continue
        if answer.moved_to:
            yield warning_finding(f"{address} has moved to {answer.moved_to}.")
