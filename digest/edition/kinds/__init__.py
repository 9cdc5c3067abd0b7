"""Section kinds: one module a kind, with all that is its own, and the registry of them.

A kind says which articles it takes, in which order and why not others (the half that selection asks for,
`SectionPicker`), and how its entries are written (`SectionKind`). It stands here and not in `select`, because it writes
an edition's entries: selection is handed the registry.
"""

from collections.abc import Iterable, Mapping

from digest.edition.content.edition_content import EditionSection
from digest.edition.kinds.events import EventSection
from digest.edition.kinds.featured import FeaturedSection
from digest.edition.kinds.most_read import MostReadSection
from digest.edition.kinds.opportunities import OpportunitySection
from digest.edition.kinds.own_topics import OwnTopicsSection
from digest.edition.kinds.products import ProductSection
from digest.edition.kinds.section_kind import SectionKind
from digest.edition.kinds.topics import TopicSection

# By name, in the order in which they take their pick.
SECTION_KINDS: Mapping[str, SectionKind] = {
    kind.name: kind
    for kind in (
        *(FeaturedSection(), MostReadSection(), OwnTopicsSection(), TopicSection()),
        *(ProductSection(), EventSection(), OpportunitySection()),
    )
}


def lead_sections(sections: Iterable[EditionSection]) -> list[EditionSection]:
    """List the sections whose first entry leads an edition."""
    return [section for section in sections if SECTION_KINDS[section.kind].leads_edition]
