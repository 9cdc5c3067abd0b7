"""Where the messages of an edition say what is corrected: in their subject, their preview line, and which fragments of their bodies."""

import re
from dataclasses import dataclass
from functools import cached_property
from html import unescape

from digest.deliver.compose.variant_limit import VariantKey
from digest.edition.content.corrected_content import correct_quote
from digest.edition.content.edition_content import RenderedFragment
from digest.edition.content.fragment_names import list_omitted_fragments
from digest.edition.content.mailable_edition import MailableEdition
from digest.edition.rendering.sanitiser import sanitise_text

_TAG = re.compile(r"<[^>]*>")
# Lines are folded and words bound together as a part and a language ask for it.
_BETWEEN_LETTERS = re.compile("[\\s\N{ZERO WIDTH SPACE}\N{ZERO WIDTH NON-JOINER}\N{WORD JOINER}\N{SOFT HYPHEN}]+")


@dataclass(frozen=True)
class ErrorPlaces:
    """Where an edition says one text of a story.

    Args:
        mailable: the edition as it went out.
        url: the story's link in it.
        sent: the text as it went out.
        becomes: how it should read; a subject that was cut before the two differ says nothing wrong.
    """

    mailable: MailableEdition
    url: str
    sent: str
    becomes: str

    def stand_in(self, variant: VariantKey) -> bool:
        """Return whether the message of a variant says it; true where that cannot be known."""
        if self._in_subject or (self._in_preheader and not variant.text_only):
            return True
        if not self._fragments:
            return True
        left_out = list_omitted_fragments({name for _, name in self._fragments}, variant.omitted)
        kinds = {"short-text" if variant.is_short else "text"}
        if not variant.text_only:
            kinds.add("short" if variant.is_short else "html")
        return any(kind in kinds and name not in left_out for kind, name in self._fragments)

    @cached_property
    def _in_subject(self) -> bool:
        return says_text(self.mailable.subject, self.sent, self.becomes)

    @cached_property
    def _in_preheader(self) -> bool:
        return says_text(self.mailable.preheader, self.sent, self.becomes)

    @cached_property
    def _fragments(self) -> frozenset[tuple[str, str]]:
        """The kinds and names of the fragments that say the text word for word; where none does, of those that link the story."""
        mailed = [piece for piece in self.mailable.pieces if piece.kind in {"html", "text", "short", "short-text"}]
        saying = frozenset((p.kind, p.name) for p in mailed if _squeeze(self.sent) in _squeeze(_read_words(p)))
        return saying or frozenset((p.kind, p.name) for p in mailed if self.url in unescape(p.body))


def says_text(line: str, sent: str, becomes: str) -> bool:
    """Return whether a line says a text, whole, or cut by an ellipsis behind a word in which it differs from the corrected one."""
    said, wanted, right = _squeeze(line), _squeeze(sent), _squeeze(becomes)
    return wanted in said or correct_quote(said, wanted, right) != said


def _read_words(piece: RenderedFragment) -> str:
    return unescape(_TAG.sub("", piece.body)) if piece.kind in {"html", "short"} else piece.body


def _squeeze(text: str) -> str:
    return _BETWEEN_LETTERS.sub("", sanitise_text(text)).casefold()
