"""The variants of an edition: approved fragments put together as a reader chose, each encoded once."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

from digest.db import Edition, Fragment
from digest.deliver.letters import Letter
from digest.edition.content import Piece
from digest.edition.rendering import page
from digest.settings import Settings
from subscribers.choices import Choices

SECTION = "section:"  # how the names of the pieces that a reader may leave out begin
MOST = 64  # letters kept ready; at 150 KB each that is 10 MB


@dataclass(frozen=True)
class Variants:
    """The letters of one edition. It lives as long as one send and serves one thread."""

    edition: Edition
    pieces: tuple[Piece, ...]
    settings: Settings
    _letters: dict[tuple[frozenset[str], bool], Letter] = field(default_factory=dict)

    @cached_property
    def sections(self) -> frozenset[str]:
        """The names of the pieces that a reader may leave out."""
        return sections_of(p.name for p in self.pieces)

    def letter(self, choices: Choices) -> Letter | None:
        """Give the letter for a reader's choices, or None where no section is left."""
        if nothing_left(choices, self.sections):
            return None
        wanted = (_omitted(choices, self.sections), choices.text_only)
        if wanted not in self._letters:
            if len(self._letters) >= MOST:
                del self._letters[next(iter(self._letters))]
            self._letters[wanted] = self._write(*wanted)
        return self._letters[wanted]

    def _write(self, omitted: frozenset[str], text_only: bool) -> Letter:  # noqa: FBT001 - a key of the cache
        file, base = self.settings.file, self.settings.base
        sender = file.sender
        return Letter(
            subject=self.edition.subject,
            sender_name=sender.name,
            sender_address=sender.address,
            reply_to=sender.reply_to,
            date=self.edition.release_at.astimezone(file.publication.zone),
            text=page(self.pieces, "text", omitted),
            html=None if text_only else page(self.pieces, "html", omitted),
            list_id=(file.publication.name, sender.list_id),
            one_click=f"{base}/u/",
            extra={
                "List-Archive": f"<{base}/>",
                "List-Help": f"<{base}/privacy>",
                "List-Owner": f"<mailto:{sender.reply_to or sender.address}>",
                "List-Post": "NO",  # RFC 2369, 3.4: nobody can post
                "Precedence": "bulk",  # keeps vacation programs quiet, as the next one does at Exchange
                "X-Auto-Response-Suppress": "OOF, AutoReply",
            },
        )


def variants_of(edition: Edition, fragments: Iterable[Fragment], settings: Settings) -> Variants:
    """Take an edition and its fragments, in their order."""
    ordered = sorted(fragments, key=lambda f: f.position)
    return Variants(edition, tuple(Piece(f.kind, f.name, f.body) for f in ordered), settings)


def sections_of(names: Iterable[str]) -> frozenset[str]:
    """Pick the names of sections out of the names of pieces."""
    return frozenset(name for name in names if name.startswith(SECTION))


def nothing_left(choices: Choices, sections: frozenset[str]) -> bool:
    """Say whether a reader left out every section that there is: then they are owed no message."""
    return bool(sections) and _omitted(choices, sections) == sections


def _omitted(choices: Choices, sections: frozenset[str]) -> frozenset[str]:
    return frozenset(SECTION + key for key in choices.omit) & sections
