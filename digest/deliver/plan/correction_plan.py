"""The audience of a correction: subscribers whose message contained the error.

Whether it did depends on the variant that they got. The error can be in the subject, the preheader,
and the fragments of the body.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from html import unescape
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from digest.deliver.compose.variant_limit import (
    FULLEST_VARIANTS,
    MAX_VARIANTS,
    VariantKey,
    choose_variants_within_limit,
)
from digest.deliver.compose.variants import EditionVariants, count_variant_subscribers, create_variants
from digest.deliver.plan.delivery_plan import is_delivery_of_edition
from digest.edition.approval.approved_versions import read_mailable_edition
from digest.edition.archive.corrections import find_sent_text
from digest.edition.content.corrected_content import correct_repeated_text
from digest.edition.content.edition_content import RenderedFragment
from digest.edition.content.fragment_names import PREHEADER_PART, list_excluded_fragments
from digest.edition.content.mailable_edition import MailableEdition
from digest.edition.rendering.sanitizer import sanitize_text
from digest.settings import Settings
from digest.store.correction_models import Correction
from digest.store.delivery_models import Delivery, DeliveryState
from digest.store.engine import Database
from digest.store.models import Edition
from subscribers.consent import audience
from subscribers.consent.preferences import Preferences, find_preferences_at
from subscribers.store.database import MAX_TRANSACTION_ROWS

_TAG = re.compile(r"<[^>]*>")
# Parts and languages differ in how lines are folded and words are joined.
_BETWEEN_LETTERS = re.compile("[\\s\N{ZERO WIDTH SPACE}\N{ZERO WIDTH NON-JOINER}\N{WORD JOINER}\N{SOFT HYPHEN}]+")


# The kinds of fragments in a message, by whether it's the short edition and whether it's text only.
_FRAGMENT_KINDS = {
    (False, False): {"html", "text"},
    (False, True): {"text"},
    (True, False): {"short", "short-text"},
    (True, True): {"short-text"},
}


@dataclass(frozen=True)
class CorrectedTextLocations:
    """The places in an edition where a certain text of a story appears.

    Args:
        mailable: the edition as it was sent.
        url: the story's link in it.
        sent: the text as it was sent.
        new_text: the corrected text. A subject truncated before the two differ doesn't count.
    """

    mailable: MailableEdition
    url: str
    sent: str
    new_text: str

    def is_in_variant(self, variant: VariantKey) -> bool:
        """Return True if a variant's message contains the text, or if no fragment does."""
        if self._in_subject or not self._fragments:
            return True
        left_out = list_excluded_fragments((piece.name for piece in self.mailable.pieces), variant.omitted)
        kinds = _FRAGMENT_KINDS[variant.is_short, variant.text_only]
        return any(kind in kinds and name not in left_out for kind, name in self._fragments)

    @cached_property
    def _in_subject(self) -> bool:
        return contains_uncorrected_text(self.mailable.subject, self.sent, self.new_text)

    def _is_uncorrected(self, line: str) -> bool:
        return contains_uncorrected_text(line, self.sent, self.new_text)

    @cached_property
    def _fragments(self) -> frozenset[tuple[str, str]]:
        """The kinds and names of the fragments that contain the text, or else of those that link to the story.

        Preheaders that contain a part of the text are included.
        """
        kinds, error_text = frozenset().union(*_FRAGMENT_KINDS.values()), _squeeze(self.sent)
        mailed = [piece for piece in self.mailable.pieces if piece.kind in kinds]
        saying = [piece for piece in mailed if error_text in _squeeze(_read_words(piece))]
        linking = [piece for piece in mailed if self.url in unescape(piece.body)]
        preheaders = [piece for piece in mailed if piece.name.endswith(PREHEADER_PART)]
        in_part = [piece for piece in preheaders if self._is_uncorrected(_read_words(piece))]
        stating = [*(saying or linking), *in_part]
        return frozenset((piece.kind, piece.name) for piece in stating)


def contains_uncorrected_text(line: str, sent: str, new_text: str) -> bool:
    """Return True if a line contains the text as sent.

    It may be complete, or truncated after the first difference from the new text.
    """
    line_text, error_text, right = _squeeze(line), _squeeze(sent), _squeeze(new_text)
    return error_text in line_text or correct_repeated_text(line_text, error_text, right) != line_text


def _read_words(piece: RenderedFragment) -> str:
    return unescape(_TAG.sub("", piece.body)) if piece.kind in {"html", "short"} else piece.body


def _squeeze(text: str) -> str:
    return _BETWEEN_LETTERS.sub("", sanitize_text(text)).casefold()


# Subscribers whose delivery has an unknown status may have gotten the error, so they get the correction.
GOT_STATES = (DeliveryState.ACCEPTED, DeliveryState.UNCERTAIN)


@dataclass(frozen=True, slots=True)
class CorrectionAudience:
    """The numbers of subscribers who got an edition, by whether their messages contained the error.

    `accepted` and `uncertain` count the deliveries that contained it. `gone` counts the recipients
    of these who have unsubscribed or been erased since.
    """

    accepted: int = 0
    uncertain: int = 0
    spared: int = 0  # got a message without the error
    gone: int = 0

    @property
    def recipients(self) -> int:
        """The number of subscribers who get the correction."""
        return self.accepted + self.uncertain - self.gone

    @property
    def checked_count(self) -> int:
        """The number of subscribers who got the edition, with or without the error."""
        return self.accepted + self.uncertain + self.spared

    def __add__(self, other: "CorrectionAudience") -> "CorrectionAudience":
        """Return the sum of two batches' counts."""
        return CorrectionAudience(
            self.accepted + other.accepted,
            self.uncertain + other.uncertain,
            self.spared + other.spared,
            self.gone + other.gone,
        )


@dataclass(frozen=True, slots=True)
class RecipientBatch:
    """A page of subscribers: the person numbers of those who get the correction, and the counts for the whole page."""

    recipients: tuple[int, ...]
    counts: CorrectionAudience


def read_recipient_batches(
    database: Database, correction: Correction, edition: Edition, settings: Settings
) -> Iterator[RecipientBatch]:
    """Yield the subscribers who got the error, in pages of at most 1,000.

    Each page is read in a separate transaction.
    """
    with database.read() as session:
        spread = _read_error_spread(session, correction, edition, settings)
    after = 0
    while True:
        with database.read() as session:
            rows = _read_deliveries(session, edition, after)
            if not rows:
                return
            yield _sort_page(session, spread, rows)
        after = rows[-1].person


@dataclass(frozen=True)
class _ErrorSpread:
    """The variants that contain the error. Unrecorded variants are inferred from the subscribers' preferences."""

    places: CorrectedTextLocations
    variants: EditionVariants
    # The variants that the edition probably had, judging by today's preferences. None means any.
    likely_kept: frozenset[VariantKey] | None
    _decided: dict[VariantKey, bool] = field(default_factory=dict)

    def reaches_variant(self, variant: VariantKey) -> bool:
        """Return True if a variant's message contained the error."""
        if variant not in self._decided:
            self._decided[variant] = self.places.is_in_variant(variant)
        return self._decided[variant]

    def reaches_chooser(self, preferences: Preferences) -> bool:
        """Return True if a subscriber whose variant wasn't recorded probably got the error."""
        wanted_variant = self.variants.find_wanted_variant(preferences)
        full = VariantKey(frozenset(), wanted_variant.text_only, is_short=False)
        return self.reaches_variant(
            wanted_variant if self.likely_kept is None or wanted_variant in self.likely_kept else full
        )


def _read_error_spread(session: Session, correction: Correction, edition: Edition, settings: Settings) -> _ErrorSpread:
    mailable = read_mailable_edition(session, edition, settings)
    variants = create_variants(mailable, settings)
    subscribers_by_variant = count_variant_subscribers(session, variants)
    # If there were fewer combinations than the limit, the edition had every variant that was wanted.
    chosen_variants = (
        choose_variants_within_limit(subscribers_by_variant)
        if len(subscribers_by_variant) > MAX_VARIANTS - len(FULLEST_VARIANTS)
        else None
    )
    return _ErrorSpread(
        places=CorrectedTextLocations(
            mailable, correction.url, find_sent_text(session, correction), correction.becomes
        ),
        variants=variants,
        likely_kept=chosen_variants,
    )


def _read_deliveries(session: Session, edition: Edition, after: int) -> Sequence[Any]:
    query = (
        select(Delivery.person, Delivery.state, Delivery.handed_at, Delivery.due_at, Delivery.variant)
        .where(is_delivery_of_edition(edition.name), Delivery.person > after, Delivery.state.in_(GOT_STATES))
        .order_by(Delivery.person)
        .limit(MAX_TRANSACTION_ROWS)
    )
    return session.execute(query).all()


def _sort_page(session: Session, spread: _ErrorSpread, rows: Sequence[Any]) -> RecipientBatch:
    # A restored backup may be from before the messages were claimed, and so lack their variants.
    unnoted = {row.person: row.handed_at or row.due_at for row in rows if row.variant is None}
    choices = find_preferences_at(session, unnoted)

    def got_error(row: Any) -> bool:
        if row.variant is None:
            return spread.reaches_chooser(choices[row.person])
        return spread.reaches_variant(VariantKey.from_text(row.variant))

    received_rows = list(filter(got_error, rows))
    mailable = audience.filter_mailable(session, [row.person for row in received_rows])
    states = Counter(row.state for row in received_rows)
    counts = CorrectionAudience(
        accepted=states[DeliveryState.ACCEPTED],
        uncertain=states[DeliveryState.UNCERTAIN],
        spared=len(rows) - len(received_rows),
        gone=len(received_rows) - len(mailable),
    )
    return RecipientBatch(tuple(row.person for row in received_rows if row.person in mailable), counts)
