"""The variants of an edition: approved fragments joined as a reader's preferences ask, each encoded once."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

from digest.deliver.compose.message import MessageTemplate
from digest.edition import placeholders
from digest.edition.content import RenderedFragment
from digest.edition.rendering.fragments import join_fragments
from digest.settings import Settings
from digest.store.models import Edition, Fragment
from subscribers.consent.preferences import Preferences

SECTION_PREFIX = "section:"  # begins the names of the fragments that a reader may leave out
MAX_CACHED_VARIANTS = 64  # at 150 KB each that is 10 MB


@dataclass(frozen=True)
class EditionVariants:
    """The variants of one edition. It lives as long as one send and serves one thread."""

    edition: Edition
    pieces: tuple[RenderedFragment, ...]
    settings: Settings
    _templates: dict[tuple[frozenset[str], bool], MessageTemplate] = field(default_factory=dict)

    @cached_property
    def sections(self) -> frozenset[str]:
        """The names of the fragments that a reader may leave out."""
        return section_names(p.name for p in self.pieces)

    def template_for(self, preferences: Preferences) -> MessageTemplate | None:
        """Return the message template for a reader's preferences, or None where no section is left."""
        if omits_every_section(preferences, self.sections):
            return None
        variant = (_omitted_sections(preferences, self.sections), preferences.text_only)
        if variant not in self._templates:
            if len(self._templates) >= MAX_CACHED_VARIANTS:
                del self._templates[next(iter(self._templates))]
            self._templates[variant] = self._compose_template(*variant)
        return self._templates[variant]

    def _compose_template(self, omitted: frozenset[str], text_only: bool) -> MessageTemplate:  # noqa: FBT001 - a key of the cache
        file, base = self.settings.file, self.settings.link_base
        sender = file.sender
        return MessageTemplate(
            subject=self.edition.subject,
            sender_name=sender.name,
            sender_address=sender.address,
            reply_to=sender.reply_to,
            text=join_fragments(self.pieces, "text", omitted),
            html=None if text_only else self._join_html(omitted),
            list_id=(file.publication.name, sender.list_id),
            unsubscribe_url_prefix=f"{base}/u/",
            extra_headers={
                "List-Archive": f"<{base}/>",
                "List-Help": f"<{base}/privacy>",
                "List-Owner": f"<mailto:{sender.reply_to or sender.address}>",
                "List-Post": "NO",  # RFC 2369, 3.4: nobody can post
                "Precedence": "bulk",  # keeps vacation programs quiet, as the next one does at Exchange
                "X-Auto-Response-Suppress": "OOF, AutoReply",
            },
        )

    def _join_html(self, omitted: frozenset[str]) -> str:
        html = join_fragments(self.pieces, "html", omitted)
        return html.replace(placeholders.SIGNUP_ORIGIN_PLACEHOLDER, placeholders.SIGNUP_HTML_PLACEHOLDER)


def build_variants(edition: Edition, fragments: Iterable[Fragment], settings: Settings) -> EditionVariants:
    """Make the variants of an edition out of its fragments."""
    ordered = sorted(fragments, key=lambda f: f.position)
    return EditionVariants(edition, tuple(RenderedFragment(f.kind, f.name, f.body) for f in ordered), settings)


def section_names(names: Iterable[str]) -> frozenset[str]:
    """Return those of the fragments' names that are sections."""
    return frozenset(name for name in names if name.startswith(SECTION_PREFIX))


def omits_every_section(preferences: Preferences, sections: frozenset[str]) -> bool:
    """Return whether a reader left out every section; then they are owed no message."""
    return bool(sections) and _omitted_sections(preferences, sections) == sections


def _omitted_sections(preferences: Preferences, sections: frozenset[str]) -> frozenset[str]:
    return frozenset(SECTION_PREFIX + key for key in preferences.omit) & sections
