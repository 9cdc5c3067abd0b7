"""A story written out, with summary, picture and who else reported it: for Featured and the operator's own sections."""

from collections.abc import Mapping
from dataclasses import replace
from zoneinfo import ZoneInfo

from digest.collect.text_cleanup import shorten_text
from digest.collect.urls import strip_tracking
from digest.edition.content import EditionLink, PictureCuts, SectionEntry
from digest.edition.kinds.section_kind import displayed_credit, displayed_date, plain_entry
from digest.select.lead_reasons import explain_lead
from digest.select.values import PlacedStory

LEAD_WORDS, ROW_WORDS = 40, 30  # of the summary
NAMED_PUBLISHERS = 2  # of those who also reported it; the web copy names all


def write_row(placed: PlacedStory, zone: ZoneInfo, pictures: Mapping[str, PictureCuts]) -> SectionEntry:
    """Write a story as a row with a small picture."""
    article, also = placed.scored.story.lead, placed.scored.story.also_reported
    cuts = pictures.get(article.image or "")
    return replace(
        plain_entry(article),
        kicker=placed.scored.topic or "",
        summary=shorten_text(article.summary, ROW_WORDS),
        credit=displayed_credit(article),
        date=displayed_date(article, zone),
        also=tuple(EditionLink(a.publisher, strip_tracking(a.link)) for a in also[:NAMED_PUBLISHERS]),
        more=max(0, len(also) - NAMED_PUBLISHERS),
        picture=cuts.thumb if cuts else None,
    )


def write_lead(placed: PlacedStory, zone: ZoneInfo, pictures: Mapping[str, PictureCuts]) -> SectionEntry:
    """Write the story that leads the edition: a large picture, why it leads, and earlier articles on its matter."""
    article = placed.scored.story.lead
    cuts = pictures.get(article.image or "")
    return replace(
        write_row(placed, zone, pictures),
        summary=shorten_text(article.summary, LEAD_WORDS),
        why=f"{explain_lead(placed.scored)}.",
        related=tuple(EditionLink(a.title, strip_tracking(a.link), displayed_date(a, zone)) for a in placed.related),
        picture=cuts.lead if cuts else None,
    )
