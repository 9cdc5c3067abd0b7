"""Section kinds and their registry. Each kind has its own module.

A kind determines which articles a section takes, in what order, and why it doesn't take others
(`SectionSelectionRules`, used by selection), and how its entries are built (`SectionKind`). Because
it builds an edition's entries, it's here and not in `select`, which is passed the registry. All
modules of this package are imported, so that their kinds register themselves.
"""

from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from pkgutil import iter_modules

from digest.edition.content.edition_content import EditionSection
from digest.edition.kinds.section_kind import REGISTERED_KINDS, SectionKind

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

# Section kinds by name, in the order in which they choose stories.
SECTION_KINDS: Mapping[str, SectionKind] = {
    kind.name: kind for kind in sorted(REGISTERED_KINDS, key=lambda kind: kind.pick_order)
}


def list_lead_sections(sections: Iterable[EditionSection]) -> list[EditionSection]:
    """Return the sections whose kind provides the edition's lead."""
    return [section for section in sections if SECTION_KINDS[section.kind].leads_edition]


def find_section_before_block(sections: Sequence[EditionSection], key: str) -> EditionSection:
    """Return the section that a labeled block follows.

    It's the one with this key, or else the leading one, or else the first.
    """
    named = [section for section in sections if section.key == key]
    return (named or list_lead_sections(sections) or sections)[0]
