"""Section kinds and their registry; each kind has a module of its own.

A kind determines which articles it takes, in what order, and why it doesn't take others (`SectionSelectionRules`, used
by selection), and how its entries are built (`SectionKind`). Because it builds an edition's entries, it's here and not
in `select`; selection is passed the registry. All modules of this package are imported, so that their kinds register
themselves.
"""

from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from pkgutil import iter_modules

from digest.edition.content.edition_content import EditionSection
from digest.edition.kinds.section_kind import REGISTERED_KINDS, SectionKind

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

# By name, in the order in which they choose stories.
SECTION_KINDS: Mapping[str, SectionKind] = {
    kind.name: kind for kind in sorted(REGISTERED_KINDS, key=lambda kind: kind.pick_order)
}


def list_lead_sections(sections: Iterable[EditionSection]) -> list[EditionSection]:
    """Return the sections of a kind whose first entry leads an edition."""
    return [section for section in sections if SECTION_KINDS[section.kind].leads_edition]


def find_section_before_block(sections: Sequence[EditionSection], key: str) -> EditionSection:
    """Return the section that a labeled block follows: the one with this key, else the leading one, else the first."""
    named = [section for section in sections if section.key == key]
    return (named or list_lead_sections(sections) or sections)[0]
