"""Jinja2 filters for the email templates, mainly for typography and image sizes."""

import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import lru_cache, partial
from operator import attrgetter
from typing import Any

from markupsafe import Markup

from digest.collect.texts.text_cleanup import split_sentences
from digest.collect.texts.urls import site_name
from digest.edition.content.edition_content import (
    MAX_FOLDED_LENGTH,
    MAX_OPENING_LENGTH,
    EditionImage,
    EditionLink,
    SectionEntry,
)
from digest.edition.content.edition_names import format_issue, format_issue_heading
from digest.edition.kinds import SECTION_KINDS
from digest.edition.kinds.story_entry import format_summary_credit
from digest.edition.rendering.anchors import sources_anchor, story_anchor
from digest.edition.rendering.inline_markup import render_inline_markup, shorten_markup, strip_inline_markup
from digest.edition.rendering.mail_layout import UpcomingDates
from digest.edition.rendering.paragraphs import split_paragraphs
from digest.edition.rendering.text_lines import wrap_text
from subscribers.subscriber_language import SubscriberLanguage

_HOUR = re.compile(r"(?:\b\d{1,2}(?::\d\d)? [ap]\.m\.|\bnoon)(?: [A-Z][A-Z0-9:+-]*)?")
_SPACE_BEFORE_DAY = re.compile(r" (?=\d{1,2}\b)")
NO_BREAK = "\N{NO-BREAK SPACE}"
_TEXT_GLUE = "\x1f"  # the unit separator, which can't occur in an edition's texts


def keep_last_words_together(text: str, max_letters: int = 20) -> str:
    """Join the last two words of a text that has at least five, to avoid a short last line.

    Words with more than `max_letters` letters in total aren't joined, because they could be wider
    than a phone's column.
    """
    head, *last = text.rsplit(" ", 2)
    if head.count(" ") < 2 or len("".join(last)) > max_letters:
        return text
    return f"{head} {NO_BREAK.join(last)}"


def keep_on_one_line(text: str) -> str:
    """Return a short text, such as a date, with its spaces replaced by nonbreaking ones.

    A text of more than 20 characters isn't changed.
    """
    return text.replace(" ", NO_BREAK) if len(text) <= 20 else text


def text_direction(text: str) -> str | None:
    """Return the direction of the first letter that has one (UAX #9, rules P2 and P3), or None."""
    for letter in text:
        kind = unicodedata.bidirectional(letter)
        if kind in {"R", "AL"}:
            return "rtl"
        if kind == "L":
            return "ltr"
    return None


def dir_attribute(text: str, page_direction: str) -> Markup:
    """Return a ` dir` attribute if a text's direction differs from the page's, or an empty string if it doesn't."""
    own = text_direction(text)
    return Markup(f' dir="{own}"') if own and own != page_direction else Markup("")  # noqa: S704 - one of two constants


def fit_image(picture: EditionImage, width: int, height: int) -> tuple[int, int]:
    """Return the size, in CSS pixels, at which an image fits in a box.

    The image keeps its aspect ratio, and is never enlarged.
    """
    own_width, own_height = max(picture.width, 1), max(picture.height, 1)
    scale = min(1.0, width / own_width, height / own_height)
    return max(1, round(own_width * scale)), max(1, round(own_height * scale))


def without_alt_text(picture: EditionImage) -> EditionImage:
    """Return an image with empty alt text, so that screen readers skip it."""
    return replace(picture, alt="")


def list_lines_below_headline(entry: SectionEntry, section_kind: str, language: SubscriberLanguage) -> tuple[str, ...]:
    """Return the lines under a headline in a list, according to the kind of section."""
    return SECTION_KINDS[section_kind].secondary_lines(entry, language)


def story_facts_line(entry: SectionEntry, language: SubscriberLanguage) -> str:
    """Return a story's topic, source, and date as a line for the text part."""
    parts = [
        entry.kicker,
        entry.source_and_date,
        language.gettext("Source: %(credit)s", credit=entry.credit) if entry.has_other_credit else "",
        format_summary_credit(entry, language),
    ]
    # An abbreviated month may end with a period, as in "18 nov."
    return " ".join(part if part.endswith(".") else f"{part}." for part in parts if part)


def intro_opening(intro: str, length: int = MAX_OPENING_LENGTH) -> str:
    """Return the first sentences of an intro, up to `length` characters. The default is the email's length."""
    paragraphs = split_paragraphs(intro)
    return shorten_markup(paragraphs[0], length) if paragraphs else ""


def cuts_off_first_sentence(intro: str) -> bool:
    """Return True if an email shows only part of an intro's first sentence."""
    opening = intro_opening(intro)
    is_truncated = opening.endswith("…") and not split_paragraphs(intro)[0].startswith(opening)
    return is_truncated and len(list(split_sentences(opening))) == 1


NAMED_SOURCES = 2  # number of other reports to name; if only one more is left, it's named, too


def limit_listed_sources(also: tuple[EditionLink, ...]) -> tuple[EditionLink, ...]:
    """Return the sources to name in the email: the first two, or all three if there are exactly three."""
    return also if len(also) <= NAMED_SOURCES + 1 else also[:NAMED_SOURCES]


def keep_hour_on_one_line(text: str) -> str:
    """Put nonbreaking spaces into times of day, such as "5 p.m. ET"."""
    return _HOUR.sub(lambda match: match[0].replace(" ", NO_BREAK), text)


def tie_dates(text: str, language: SubscriberLanguage, glue: str = NO_BREAK) -> str:
    """Join the month and day of each date in a text, or in HTML, with `glue`.

    Examples are "November 30" and "30 novembre".
    """
    months, day_and_month = _list_month_names(language)

    def tie(space: re.Match[str]) -> str:
        return glue if text.endswith(months, 0, space.start()) else " "

    # A month can precede few of the spaces, and looking for one of its names everywhere takes ten times as long.
    return day_and_month.sub(rf"\1{glue}", _SPACE_BEFORE_DAY.sub(tie, text))


@lru_cache(maxsize=4)
def _list_month_names(language: SubscriberLanguage) -> tuple[tuple[str, ...], re.Pattern[str]]:
    """Return the names and abbreviations of months, and a pattern for a day up to the space before a month."""
    names = sorted({name.rstrip(".") for name in (*language.month_names, "Sept")}, key=len, reverse=True)
    before_month = re.compile(rf"(\d) (?=(?:{'|'.join(map(re.escape, names))})\b)")
    return tuple(f"{name}{period}" for name in names for period in ("", ".")), before_month


@lru_cache(maxsize=1024, typed=True)  # an edit changes few of an edition's texts
def wrap_edition_text(text: str, language: SubscriberLanguage) -> str:
    """Wrap a text for an email's text part without breaking dates."""
    return wrap_text(tie_dates(text, language, _TEXT_GLUE)).replace(_TEXT_GLUE, " ")


def group_by_topic(
    entries: Iterable[SectionEntry], language: SubscriberLanguage
) -> list[tuple[str, list[SectionEntry]]]:
    """Group entries by topic, preserving their order.

    Those without a topic are under "Other news".
    """
    groups: dict[str, list[SectionEntry]] = {}
    for entry in entries:
        groups.setdefault(entry.kicker or language.gettext("Other news"), []).append(entry)
    return list(groups.items())


def minify_css(css: str, page_direction: str) -> Markup:
    """Return one of our style sheets without comments or blank lines.

    For right-to-left pages, it's mirrored.
    """
    css = re.sub(r"/\*.*?\*/", "", css, flags=re.DOTALL)
    css = re.sub(r"\n+", "\n", css).strip()
    if page_direction == "rtl":
        swap = {"left": "right", "right": "left"}
        css = re.sub(r"\b(left|right)\b", lambda match: swap[match[0]], css)
    return Markup(css)  # noqa: S704 - the operator's own file, not the world's text


def template_filters(language: SubscriberLanguage) -> dict[str, Callable[..., Any]]:
    """Return the email templates' filters for the subscribers' language."""
    return {
        "anchor": sources_anchor,
        "bound": keep_on_one_line,
        "bound_hour": keep_hour_on_one_line,
        "by_topic": partial(group_by_topic, language=language),
        "credited": attrgetter("has_other_credit"),
        "dates_title": partial(write_dates_title, language=language),
        "facts": partial(story_facts_line, language=language),
        "fit": fit_image,
        "folded": partial(intro_opening, length=MAX_FOLDED_LENGTH),
        "full_date": language.full_date,
        "host": lambda url: site_name(url) or url,
        "inline_markup": render_inline_markup,
        "issue": partial(format_issue, language=language),
        "issue_heading": partial(format_issue_heading, language=language),
        "lean": minify_css,
        "month_day": language.month_day,
        "named_sources": limit_listed_sources,
        "opening": intro_opening,
        "nb": keep_last_words_together,
        "paragraphs": split_paragraphs,
        "plain_markup": strip_inline_markup,
        "quiet": partial(list_lines_below_headline, language=language),
        "section_style": lambda kind: SECTION_KINDS[kind].style,
        "story_anchor": story_anchor,
        "short_date": language.short_date,
        "short_month": language.short_month,
        "summary_note": partial(format_summary_credit, language=language),
        "unspoken": without_alt_text,
        "way": dir_attribute,
        "wrap": partial(wrap_edition_text, language=language),
    }


def write_dates_title(dates: UpcomingDates, language: SubscriberLanguage) -> str:
    """Return a title such as "Deadlines and events to December 4"."""
    return language.gettext(
        "%(title)s to %(day)s", title=language.translate_text(dates.title), day=language.month_day(dates.last_day)
    )


def join_address_lines(text: str) -> str:
    """Join the lines of a postal address with commas."""
    lines = (line.strip(" ,") for line in text.splitlines())
    return ", ".join(filter(None, lines))
