"""Section kinds: one module a kind, with all that is its own, and the registry of them.

A kind says which articles it may take, in which order and why not others (the half that selection asks for,
`SectionSelectionRules`), and how its entries are written (`SectionKind`). It stands here and not in `select`, because it writes
an edition's entries: selection is handed the registry. Every module of this package is loaded, so that its kind registers itself.
"""

from collections.abc import Iterable, Mapping
from importlib import import_module
from pkgutil import iter_modules

from digest.edition.content.edition_content import EditionSection
from digest.edition.kinds.section_kind import REGISTERED_KINDS, SectionKind

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

# By name, in the order in which they take their pick.
SECTION_KINDS: Mapping[str, SectionKind] = {
    kind.name: kind for kind in sorted(REGISTERED_KINDS, key=lambda kind: kind.pick_order)
}


def list_lead_sections(sections: Iterable[EditionSection]) -> list[EditionSection]:
    """List the sections whose first entry leads an edition."""
    return [section for section in sections if SECTION_KINDS[section.kind].leads_edition]
