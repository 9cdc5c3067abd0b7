"""Rendering an edition as fragments: HTML, text, and the web copy's differences.

The complete HTML page is rendered and inlined once, including the parts that are only for the email
or the web copy. Then the two versions are separated and cut into fragments at comments that the
templates write.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import quote

from jinja2 import Environment
from markupsafe import Markup

from digest.edition.content.edition_content import EditionContent, LabeledBlock, RenderedFragment, SectionEntry
from digest.edition.content.edition_names import format_issue
from digest.edition.content.fragment_names import (
    ANY_OPENING,
    WHOLE_OPENING,
    is_continuation_fragment,
    is_opening_fragment,
)
from digest.edition.content.mailable_edition import FragmentKind
from digest.edition.content.slotted_text import LEAVE_SLOT, PREFERENCES_SLOT, SIGNUP_SLOT
from digest.edition.kinds import find_section_before_block
from digest.edition.rendering.css_inlining import inline_css, tie_dots
from digest.edition.rendering.mail_layout import MailLayout, RemainingSection, arrange_email
from digest.edition.rendering.preheader_and_reading_time import count_short_minutes, list_preheaders, write_word_counts
from digest.edition.rendering.sanitizer import RenderingError, sanitize_content, sanitize_text
from digest.edition.rendering.slot_marks import SlotMarks
from digest.edition.rendering.template_filters import join_address_lines, template_filters, tie_dates
from digest.settings import BrandingSettings, HeaderImage, LightAndDarkLogo, Settings
from digest.settings.mail_frequency import MailFrequency
from digest.templating import create_jinja_environment
from subscribers.subscriber_language import ENGLISH, SubscriberLanguage

TALL_LOGO, WIDE_LOGO = 40, 170  # CSS pixels
_HTML_CUT_COMMENT = re.compile(r"<!--cut ([a-z0-9:.+-]+)-->")
_TEXT_CUT_SEPARATOR = re.compile(r"\x1e([a-z0-9:.+-]+)\x1e")  # the record separator, which can't occur in texts


# Marks in templates for parts that are only in the email or its web copy, or only in the full or
# the short edition.
RenderingTarget = Literal["mail", "web", "short"]
_TARGET_PARTS: dict[RenderingTarget, frozenset[str]] = {
    "mail": frozenset({"mail", "full"}),
    "web": frozenset({"web", "full"}),
    "short": frozenset({"mail", "short"}),
}
_TEXT_TARGETS: dict[RenderingTarget, FragmentKind] = {"mail": "text", "short": "short-text"}
# The text mark uses the group separator, which can't occur in an edition's texts.
_HTML_TARGET_MARK, _TEXT_TARGET_MARK = "<!--{}-->", "\x1d{}\x1d"


@dataclass(frozen=True, slots=True)
class PublicationContext:
    """The content that all editions of a publication share, such as its name, address, and design."""

    name: str
    tagline: str
    site: str
    about: str
    language: str
    direction: Literal["ltr", "rtl"]
    base: str  # without a trailing slash
    postal_address: str
    reply_to: str
    look: BrandingSettings
    logo: LightAndDarkLogo | None = None
    header: HeaderImage | None = None
    subscriber_language: SubscriberLanguage = ENGLISH
    frequency: MailFrequency = field(default_factory=MailFrequency)

    @property
    def start(self) -> str:
        """The side where lines start."""
        return "right" if self.direction == "rtl" else "left"

    @property
    def end(self) -> str:
        """The side where lines end."""
        return "left" if self.direction == "rtl" else "right"

    @property
    def has_tall_masthead(self) -> bool:
        """True if the masthead fills so much of a phone's first screen that the intro has to come later."""
        return self.header is not None or (self.logo is not None and self.logo.light_height > TALL_LOGO)

    @property
    def has_wide_logo(self) -> bool:
        """True if a phone has no room for the number and date next to the logo."""
        return self.logo is not None and self.logo.light_width > WIDE_LOGO

    @property
    def postal_line(self) -> str:
        """The postal address on one line, with the publication's name."""
        line = join_address_lines(self.postal_address)
        return line if not line or self.name in line else f"{self.name}, {line}"

    @property
    def write_to(self) -> str:
        """The mailto URL of the reply address (RFC 6068, section 2), for people who read a forwarded email."""
        return f"mailto:{quote(self.reply_to, safe='@')}"


def build_publication_context(settings: Settings) -> PublicationContext:
    """Build the content that all editions share from the settings."""
    publication, sender = settings.file.publication, settings.file.sender
    return PublicationContext(
        name=publication.name,
        tagline=publication.tagline,
        site=publication.site,
        about=publication.about,
        language=publication.language,
        direction=publication.direction,
        base=settings.link_base,
        postal_address=sender.postal_address,
        reply_to=sender.reply_to,
        look=settings.file.branding,
        logo=settings.logo,
        header=settings.header,
        subscriber_language=settings.subscriber_language,
        frequency=settings.mail_frequency,
    )


def create_mail_environment(settings: Settings) -> Environment:
    """Return the Jinja2 environment for editions. Operator templates override built-in ones.

    It's cached with its compiled templates. Templates that have changed are compiled again.
    """
    return create_localized_mail_environment(settings.templates, settings.subscriber_language)


@lru_cache(maxsize=4)
def create_localized_mail_environment(operator_folder: Path | None, language: SubscriberLanguage) -> Environment:
    """Return the environment of `create_mail_environment` for a given language, such as the staff's."""
    pages = create_jinja_environment(operator_folder, language)
    pages.filters.update(template_filters(language))
    return pages


def render_edition(
    content: EditionContent, frame: PublicationContext, environment: Environment
) -> tuple[RenderedFragment, ...]:
    """Sanitize an edition's content, and return its fragments. See `render_sanitized_edition`."""
    return render_sanitized_edition(sanitize_content(content), frame, environment)


def render_sanitized_edition(
    content: EditionContent, frame: PublicationContext, environment: Environment
) -> tuple[RenderedFragment, ...]:
    """Return an edition's fragments in reading order: all html, then web, text, short-text, page, short, and words.

    An html or text fragment is named `head`, `intro`, `block:<id>`, `foot`, or after the sections
    that it belongs to (`digest.edition.content.fragment_names`). A web fragment differs from the
    html fragment of the same name. The four page fragments make up the web edition. The short and
    short-text fragments make up the short edition. `join_fragments` joins fragments again.

    Args:
        content: the edition's content as returned by `sanitize_content`.
        frame: the shared content of editions.
        environment: the environment from `create_mail_environment`.

    Raises:
        RenderingError: a link isn't a web URL, or a template removed a comment for cutting or
            changed a placeholder.
    """
    marks = SlotMarks()
    context = _template_context(content, frame, marks)
    page = environment.get_template("mail/edition/body.html").render({**context, **_cutting_marks("html")})
    both = tie_dates(marks.write(inline_css(marks.split(page))), frame.subscriber_language)
    text = environment.get_template("mail/edition/body.txt").render({**context, **_cutting_marks("text")})
    html = list(_cut_fragments(_keep_only("mail", both), "html"))
    short = _cut_fragments(_keep_only("short", both), "short")
    mailed = {piece.name: piece.body for piece in html}
    copied = _cut_fragments(_keep_only("web", both), "web")
    web = (piece for piece in copied if piece.body != mailed.get(piece.name))
    pages = render_page_fragments(environment, {**context, **_cutting_marks("page")})
    texts = (
        _space_text_fragment(piece)
        for target, kind in _TEXT_TARGETS.items()
        for piece in _cut_fragments(_keep_only(target, text, _TEXT_TARGET_MARK), kind)
    )
    pieces = chain(html, web, texts, pages, short, write_word_counts(content))
    return tuple(_separate_slots(piece, marks) for piece in pieces)


def _separate_slots(fragment: RenderedFragment, marks: SlotMarks) -> RenderedFragment:
    slotted = marks.split(fragment.body)
    return replace(fragment, body=slotted.text, slots=slotted.slots)


def render_subject(content: EditionContent, frame: PublicationContext, environment: Environment) -> str:
    """Return the subject of an edition's email as a single line."""
    template = environment.get_template("mail/edition/subject.txt")
    return sanitize_text(template.render(content=content, frame=frame))


def _template_context(content: EditionContent, frame: PublicationContext, marks: SlotMarks) -> dict[str, Any]:
    web_copy, layout = (
        f"{frame.base}/editions/{quote(content.name)}",
        arrange_email(content, has_tall_masthead=frame.has_tall_masthead),
    )
    preferences = f"{frame.base}/preferences/{marks.mark(PREFERENCES_SLOT)}"
    return {
        "content": content,
        "frame": frame,
        "layout": layout,
        "short_minutes": count_short_minutes(layout),
        "short_openings": (WHOLE_OPENING, ANY_OPENING),
        "preheaders": list_preheaders(content, frame.subscriber_language, frame.tagline or frame.name),
        "blocks_after": _blocks_by_section(content),
        "web_copy": web_copy,
        "leave": f"{frame.base}/u/{marks.mark(LEAVE_SLOT)}",
        "preferences": preferences,
        "breaking_news_off": f"{preferences}/breaking-news",
        "my_data": f"{preferences}#my-data",
        "asked": marks.mark(SIGNUP_SLOT),
        "share": build_share_links(web_copy, f"{frame.name} {format_issue(content.number, frame.subscriber_language)}"),
    }


def _cutting_marks(kind: FragmentKind) -> dict[str, Callable[[str], str]]:
    """Return the functions that templates use to write the comments at which pages are cut.

    The comments are Markup, because they must not be escaped.
    """
    mark = _TEXT_TARGET_MARK if kind == "text" else _HTML_TARGET_MARK
    return {
        "cut": (lambda name: Markup(f"<!--cut {name}-->"))  # noqa: S704 - section keys are checked settings
        if kind == "html"
        else (lambda name: f"\x1e{name}\x1e"),
        "only": lambda part: Markup(mark.format(part)),  # noqa: S704 - written by the template
        "end": lambda part: Markup(mark.format(f"/{part}")),  # noqa: S704 - written by the template
    }


def build_share_links(address: str, title: str) -> dict[str, str]:
    """Return links for sharing a page, by service.

    They don't contain scripts or a subscriber's token.
    """
    url, subject = quote(address, safe=""), quote(title)
    return {
        "mail": f"mailto:?subject={subject}&body={url}",
        "linkedin": f"https://www.linkedin.com/sharing/share-offsite/?url={url}",
        "facebook": f"https://www.facebook.com/sharer/sharer.php?u={url}",
        "bluesky": f"https://bsky.app/intent/compose?text={subject}%20{url}",
    }


def _blocks_by_section(content: EditionContent) -> dict[str, list[LabeledBlock]]:
    """Return the labeled blocks by the key of the section that they follow."""
    placed: dict[str, list[LabeledBlock]] = {section.key: [] for section in content.sections}
    if placed:
        for block in content.blocks:
            placed[find_section_before_block(content.sections, block.after).key].append(block)
    return placed


def _keep_only(target: RenderingTarget, rendered: str, mark: str = _HTML_TARGET_MARK) -> str:
    """Return a rendered page with only the parts meant for everyone or for `target`."""
    kept_parts = _TARGET_PARTS[target]
    for part in ("mail", "web", "full", "short"):
        begin, end = mark.format(part), mark.format(f"/{part}")
        if part not in kept_parts:
            rendered = _remove_enclosed(rendered, begin, end)
        rendered = rendered.replace(begin, "").replace(end, "")
    return rendered


def _remove_enclosed(text: str, begin: str, end: str) -> str:
    """Remove everything from each `begin` to the next `end`."""
    kept, start = [], 0
    while (first := text.find(begin, start)) >= 0 and (last := text.find(end, first)) >= 0:
        kept.append(text[start:first])
        start = last + len(end)
    return "".join((*kept, text[start:]))


def _cut_fragments(rendered: str, kind: FragmentKind) -> Iterator[RenderedFragment]:
    parts = (_TEXT_CUT_SEPARATOR if kind in {"text", "short-text"} else _HTML_CUT_COMMENT).split(rendered)
    names = ["head", *parts[1::2]]
    if names[-1] != "foot" or len(set(names)) != len(names):
        raise RenderingError(
            f"mail/edition/body.{'txt' if kind in {'text', 'short-text'} else 'html'} was cut into "
            f"{', '.join(names)}: put one cut() before each section and one before the footer"
        )
    for name, body in zip(names, parts[0::2], strict=True):
        yield RenderedFragment(kind=kind, name=name, body=body)


def _space_text_fragment(fragment: RenderedFragment) -> RenderedFragment:
    """Return a text fragment preceded by two blank lines, or one if it continues a block.

    A fragment that's empty or at the top has no blank lines.
    """
    lines = "\n".join(map(str.rstrip, fragment.body.strip().splitlines()))
    body = re.sub(r"\n{4,}", "\n\n\n", lines) + "\n" if lines else ""
    if body and not is_opening_fragment(fragment.name):
        body = f"\n{body}" if is_continuation_fragment(fragment.name) else f"\n\n{body}"
    return replace(fragment, body=body)


# --- the web edition -------------------------------------------------------------------------------------------

PagePiece = Literal["top", "lead", "contents", "body"]
_DATES_AFTER = 2  # number of headlines before the dates in the table of contents


@dataclass(frozen=True, slots=True)
class TableOfContents:
    """The table of contents below the lead.

    It has more headlines from the lead's section, with the dates among them, and then the other sections.
    """

    headlines: tuple[SectionEntry, ...]
    dates_after: int  # number of headlines before the dates
    sections: tuple[RemainingSection, ...]


def build_table_of_contents(layout: MailLayout) -> TableOfContents:
    """Return the table of contents of an edition's page, in page order."""
    lead = layout.lead
    rows = next((part for part in layout.sections if lead and part.fragment == f"{lead.fragment}.rows"), None)
    headlines = rows.section.entries if rows else ()
    sections = tuple(part for part in layout.sections if part is not rows and part.section.entries)
    return TableOfContents(headlines, min(_DATES_AFTER, len(headlines)), sections)


def render_page_fragments(environment: Environment, context: Mapping[str, Any]) -> Iterator[RenderedFragment]:
    """Yield the fragments of an edition's page, rendered with the context of its email."""
    page = build_table_of_contents(context["layout"])
    for piece in get_args(PagePiece):
        body = environment.get_template(f"web/edition/{piece}.html").render(**context, page=page)
        lines = [line for line in body.splitlines() if line.strip()]
        tied = tie_dates(tie_dots("\n".join(lines) + "\n"), context["frame"].subscriber_language)
        yield RenderedFragment("page", piece, tied)
