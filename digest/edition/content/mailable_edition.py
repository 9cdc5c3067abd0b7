"""The basis of an edition's emails and pages: its rendered fragments and its header values."""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from html import unescape
from typing import Literal

from digest.edition.content.edition_content import RenderedFragment
from digest.edition.content.fragment_names import PREHEADER_PART, list_excluded_fragments
from digest.edition.content.slotted_text import SlottedText, join_slotted_texts
from digest.settings import Settings
from digest.store.models import Edition

# "short" and "short-text" are the short edition as HTML and as text. "words" fragments are empty;
# their names give numbers of words.
FragmentKind = Literal["html", "text", "web", "page", "short", "short-text", "words"]
MAIL_KINDS: tuple[FragmentKind, ...] = ("html", "text", "short", "short-text")
_HREF = re.compile(r'\shref="([^"]+)"')
_WEB_LINK = re.compile(r"https?://", re.IGNORECASE)


def join_fragments(
    fragments: Collection[RenderedFragment], kind: FragmentKind, omitted_parts: Collection[str] = frozenset()
) -> SlottedText:
    """Join an edition's fragments of one kind in order, leaving out the omitted parts.

    `fragments` are of all kinds. The web copy consists of the "html" fragments, replaced by the
    "web" fragment of the same name where there is one.
    """
    left_out = list_excluded_fragments((fragment.name for fragment in fragments), omitted_parts)
    chosen = [fragment for fragment in fragments if fragment.kind == kind]
    if kind == "web":
        web = {fragment.name: fragment for fragment in chosen}
        chosen = [web.get(fragment.name, fragment) for fragment in fragments if fragment.kind == "html"]
    return join_slotted_texts(fragment.slotted for fragment in chosen if fragment.name not in left_out)


@dataclass(frozen=True, slots=True)
class MailableEdition:
    """An edition with everything that approval covers, as drafted or approved.

    `pieces` are in reading order. `base_url` is the base of the edition's links, without a trailing slash.
    """

    name: str
    number: int
    subject: str
    preheader: str
    sender_name: str
    sender_address: str
    reply_to: str
    list_name: str
    list_id: str
    base_url: str
    pieces: tuple[RenderedFragment, ...]

    def join(self, kind: FragmentKind, omitted_parts: Collection[str] = frozenset()) -> SlottedText:
        """Join the fragments of one kind in order, leaving out the omitted parts.

        See `join_fragments`.
        """
        return join_fragments(self.pieces, kind, omitted_parts)

    def find_preheader(self, omitted_parts: Collection[str]) -> str:
        """Return the preheader for an email that omits the given parts."""
        left_out = list_excluded_fragments((piece.name for piece in self.pieces), omitted_parts)
        html = (piece for piece in self.pieces if piece.kind == "html")
        versions = (piece for piece in html if piece.name.endswith(PREHEADER_PART))
        kept = (unescape(piece.body) for piece in versions if piece.name not in left_out)
        return next(kept, self.preheader)


def list_story_links(mailable: MailableEdition) -> tuple[str, ...]:
    """Return the distinct URLs that an edition's sections link to, in reading order.

    The edition's own pages are omitted.
    """
    pieces = (piece for piece in mailable.pieces if piece.kind == "html")
    sections = "".join(piece.body for piece in pieces if piece.name.startswith("section:"))
    links = filter(_WEB_LINK.match, dict.fromkeys(map(unescape, _HREF.findall(sections))))
    return tuple(link for link in links if not link.startswith(f"{mailable.base_url}/"))


def build_mailable_draft(edition: Edition, pieces: Iterable[RenderedFragment], settings: Settings) -> MailableEdition:
    """Build a mailable edition from the current values of an edition's row, its fragments, and the settings."""
    sender = settings.file.sender
    return MailableEdition(
        name=edition.name,
        number=edition.number,
        subject=edition.subject,
        preheader=edition.preheader,
        sender_name=sender.name,
        sender_address=sender.address,
        reply_to=sender.reply_to,
        list_name=settings.file.publication.name,
        list_id=sender.list_id,
        base_url=settings.link_base,
        pieces=tuple(pieces),
    )
