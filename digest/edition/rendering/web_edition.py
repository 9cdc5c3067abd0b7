"""The web edition: what an edition's page says, in three pieces that approval signs with the mail's.

The page around them is the site's, and made when it is asked for: addresses, the editions before and after, the field to sign up.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from jinja2 import Environment

from digest.edition.content.edition_content import RenderedFragment, SectionEntry
from digest.edition.rendering.mail_layout import MailLayout, SectionPart

PagePiece = Literal["top", "contents", "body"]
_DATES_AFTER = 3  # headlines, in the list of contents


@dataclass(frozen=True, slots=True)
class PageContents:
    """The list of contents: the headlines of what leads, among them the dates, then the other sections."""

    headlines: tuple[SectionEntry, ...]
    dates_after: int  # of the headlines
    sections: tuple[SectionPart, ...]


def list_page_contents(layout: MailLayout) -> PageContents:
    """List what an edition's page holds, in its order."""
    lead = layout.lead
    rows = next((part for part in layout.sections if lead and part.fragment == f"{lead.fragment}.rows"), None)
    headlines = (*((lead.entry,) if lead else ()), *(rows.section.entries if rows else ()))
    sections = tuple(part for part in layout.sections if part is not rows and part.section.entries)
    return PageContents(headlines, min(_DATES_AFTER, len(headlines)), sections)


def render_page_fragments(environment: Environment, context: Mapping[str, Any]) -> Iterator[RenderedFragment]:
    """Render the pieces of an edition's page from the context of its mail."""
    page = list_page_contents(context["layout"])
    for piece in get_args(PagePiece):
        body = environment.get_template(f"web/edition/{piece}.html").render(**context, page=page)
        yield RenderedFragment("page", piece, "\n".join(line for line in body.splitlines() if line.strip()) + "\n")
