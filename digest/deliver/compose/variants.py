"""The variants of an edition: approved fragments put together as a reader chose, each encoded once."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

from digest.deliver.compose.message import MessageTemplate
from digest.edition.content import RenderedFragment
from digest.edition.rendering.fragments import join_fragments
from digest.settings import Settings
from digest.store.models import Edition, Fragment
from subscribers.consent.preferences import Preferences

SECTION_PREFIX = "section:"  # how the names of the pieces that a reader may leave out begin
MAX_CACHED_VARIANTS = 64  # letters kept ready; at 150 KB each that is 10 MB


@dataclass(frozen=True)
class EditionVariants:
    """The letters of one edition. It lives as long as one send and serves one thread."""

    edition: Edition
    pieces: tuple[RenderedFragment, ...]
    settings: Settings
    _templates: dict[tuple[frozenset[str], bool], MessageTemplate] = field(default_factory=dict)

    @cached_property
    def sections(self) -> frozenset[str]:
        """The names of the pieces that a reader may leave out."""
        return section_names(p.name for p in self.pieces)

    def template_for(self, choices: Preferences) -> MessageTemplate | None:
        """Give the letter for a reader's choices, or None where no section is left."""
        if omits_every_section(choices, self.sections):
            return None
        wanted = (_omitted_sections(choices, self.sections), choices.text_only)
        if wanted not in self._templates:
            if len(self._templates) >= MAX_CACHED_VARIANTS:
                del self._templates[next(iter(self._templates))]
            self._templates[wanted] = self._compose_template(*wanted)
        return self._templates[wanted]

    def _compose_template(self, omitted: frozenset[str], text_only: bool) -> MessageTemplate:  # noqa: FBT001 - a key of the cache
        file, base = self.settings.file, self.settings.link_base
        sender = file.sender
        return MessageTemplate(
            subject=self.edition.subject,
            sender_name=sender.name,
            sender_address=sender.address,
            reply_to=sender.reply_to,
            date=self.edition.release_at.astimezone(file.publication.zone),
            text=join_fragments(self.pieces, "text", omitted),
            html=None if text_only else join_fragments(self.pieces, "html", omitted),
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


def build_variants(edition: Edition, fragments: Iterable[Fragment], settings: Settings) -> EditionVariants:
    """Take an edition and its fragments, in their order."""
    ordered = sorted(fragments, key=lambda f: f.position)
    return EditionVariants(edition, tuple(RenderedFragment(f.kind, f.name, f.body) for f in ordered), settings)


def section_names(names: Iterable[str]) -> frozenset[str]:
    """Pick the names of sections out of the names of pieces."""
    return frozenset(name for name in names if name.startswith(SECTION_PREFIX))


def omits_every_section(choices: Preferences, sections: frozenset[str]) -> bool:
    """Say whether a reader left out every section that there is: then they are owed no message."""
    return bool(sections) and _omitted_sections(choices, sections) == sections


def _omitted_sections(choices: Preferences, sections: frozenset[str]) -> frozenset[str]:
    return frozenset(SECTION_PREFIX + key for key in choices.omit) & sections
