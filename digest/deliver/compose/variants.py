"""The messages of an edition: approved fragments joined as a reader's preferences ask, and what is one reader's own in them.

A variant is encoded once. One reader's own are address, ids, tokens, when and where they signed up.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from functools import cached_property, lru_cache
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Session

from digest.deliver.compose import headers
from digest.deliver.compose.identifiers import make_message_id
from digest.deliver.compose.message import MessageTemplate, PlaceholderValues, splice_message
from digest.deliver.compose.variant_limit import (
    MAX_VARIANTS,
    VariantKey,
    choose_variants_within_limit,
    find_nearest_variant,
)
from digest.edition.content.fragment_names import (
    are_omitted,
    count_words_by_part,
    is_alternative_fragment,
    list_fragment_keys,
    list_part_keys,
)
from digest.edition.content.mailable_edition import MailableEdition
from digest.edition.rendering.sanitizer import sanitize_text
from digest.settings import Settings
from digest.store.models import BREAKING_NEWS_NUMBER, Edition
from subscribers.consent.audience import AudienceMember, count_preferences
from subscribers.consent.preferences import Preferences
from subscribers.crypto import link_tokens
from subscribers.crypto.keys import KeyRing
from subscribers.errors import ApplicationError
from subscribers.part_keys import split_part_key
from subscribers.subscriber_language import SubscriberLanguage


@dataclass(frozen=True)
class EditionVariants:
    """The variants of one edition. It lives as long as one send and serves one thread."""

    edition: MailableEdition
    zone: ZoneInfo  # the publication's
    language: SubscriberLanguage  # what readers are written to in
    hidden_preferences: frozenset[str]  # which the publication doesn't offer, and so have no effect
    unsubscribe_mail_domain: str = ""
    feedback_sender_id: str = ""
    # Which it has, 64 at most (at 150 KB each that is 10 MB); None: any, for a single look.
    chosen_variants: set[VariantKey] | None = None
    _templates: dict[VariantKey, MessageTemplate] = field(default_factory=dict)

    @cached_property
    def parts(self) -> frozenset[str]:
        """The keys of the sections and topics that a reader may leave out: none of breaking news."""
        if self.is_breaking_news:
            return frozenset()
        keys = list_part_keys(p.name for p in self.edition.pieces)
        has_topics = "omit_topics" not in self.hidden_preferences
        return keys if has_topics else frozenset(split_part_key(key)[0] for key in keys)

    @property
    def is_breaking_news(self) -> bool:
        """True for an extra edition of breaking news."""
        return self.edition.number == BREAKING_NEWS_NUMBER

    def is_owed(self, preferences: Preferences, today: date) -> bool:
        """Return whether a subscriber with these preferences gets the edition on `today`, a day in the publication's zone."""
        if self.is_breaking_news:
            return "breaking_news" not in self.hidden_preferences and preferences.gets_breaking_news(today)
        return not (preferences.is_paused(today) or omits_every_part(preferences, self.parts))

    @cached_property
    def words(self) -> Mapping[str, int]:
        """The number of words of each part, by its key; none of an edition that an older version drafted."""
        return count_words_by_part(piece.name for piece in self.edition.pieces)

    def has_short_edition(self, omitted: frozenset[str]) -> bool:
        """Return whether the short edition says anything to a reader who left parts out.

        What was drafted by an older version has none, and some sections stand in the full one alone: who is left with nothing gets that.
        """
        return any(not are_omitted(keys, omitted, self.parts) for keys in self._short_parts)

    @cached_property
    def _short_parts(self) -> frozenset[frozenset[str]]:
        """The parts of each fragment of the short edition that says something by itself."""
        names = (piece.name for piece in self.edition.pieces if piece.kind == "short")
        own = (list_fragment_keys(name) for name in names if not is_alternative_fragment(name))
        return frozenset(filter(None, own))

    def template_for(self, preferences: Preferences) -> MessageTemplate | None:
        """Return the message template for a reader's preferences, or None where no part is left."""
        if omits_every_part(preferences, self.parts):
            return None
        variant = self.find_variant(preferences)
        if variant not in self._templates:
            self._templates[variant] = self._compose_template(*variant)
        return self._templates[variant]

    def find_variant(self, preferences: Preferences) -> VariantKey:
        """Return the variant that a reader gets: as they chose, or the nearest fuller one that the edition has."""
        wanted_variant = self.find_wanted_variant(preferences)
        if self.chosen_variants is None:
            return wanted_variant
        # Chosen since they were counted.
        if len(self.chosen_variants) < MAX_VARIANTS:
            self.chosen_variants.add(wanted_variant)
        return find_nearest_variant(wanted_variant, self.chosen_variants, self.words)

    def find_wanted_variant(self, preferences: Preferences) -> VariantKey:
        """Return the variant that a reader's preferences ask for."""
        omitted = list_omitted_parts(preferences, self.parts)
        is_short = preferences.short and self.has_short_edition(omitted)
        return VariantKey(omitted, preferences.text_only, is_short)

    def limit_to(self, subscribers: Mapping[VariantKey, int]) -> "EditionVariants":
        """Return the variants of the same edition as so many readers want each, with no more of them than an edition may have."""
        return replace(self, chosen_variants=set(choose_variants_within_limit(subscribers)), _templates={})

    def _compose_template(self, omitted: frozenset[str], text_only: bool, is_short: bool) -> MessageTemplate:  # noqa: FBT001 - a key of the cache
        edition, base = self.edition, self.edition.base_url
        return MessageTemplate(
            subject=edition.subject,
            sender_name=edition.sender_name,
            sender_address=edition.sender_address,
            reply_to=edition.reply_to,
            text=edition.join("short-text" if is_short else "text", omitted),
            html=None if text_only else edition.join("short" if is_short else "html", omitted),
            list_id=(edition.list_name, edition.list_id),
            unsubscribe_url_prefix=f"{base}/u/",
            unsubscribe_mail_domain=self.unsubscribe_mail_domain,
            extra_headers={
                "List-Archive": f"<{base}/>",
                "List-Help": f"<{base}/privacy>",
                "List-Owner": f"<mailto:{edition.reply_to or edition.sender_address}>",
                "List-Post": "NO",  # RFC 2369, section 3.4: nobody can post
                "Precedence": "bulk",  # keeps vacation programs quiet, as the next one does at Exchange
                "X-Auto-Response-Suppress": "OOF, AutoReply",
            }
            | self._feedback_header(),
        )

    def _feedback_header(self) -> dict[str, str]:
        """Return Feedback-ID, if wanted: campaign, customer, kind of email, and sender ID, as Gmail's documentation has it."""
        kind = "breaking-news" if self.is_breaking_news else "edition"
        fields = (self.edition.name, self.edition.list_id.partition(".")[0], kind, self.feedback_sender_id)
        return {"Feedback-ID": ":".join(fields)} if self.feedback_sender_id else {}


def create_variants(edition: MailableEdition, settings: Settings) -> EditionVariants:
    """Create the variants of an edition, or of an approved version of it."""
    file = settings.file
    return EditionVariants(
        edition,
        file.publication.zone,
        settings.subscriber_language,
        file.preferences.hidden,
        settings.unsubscribe_mail_domain,
        file.sender.feedback_id,
    )


def count_variant_subscribers(session: Session, variants: EditionVariants) -> Counter[VariantKey]:
    """Count the readers on the list by the variant that they want; those who left out every part want none."""
    subscribers_by_variant: Counter[VariantKey] = Counter()
    for preferences, subscribers in count_preferences(session):
        if not omits_every_part(preferences, variants.parts):
            subscribers_by_variant[variants.find_wanted_variant(preferences)] += subscribers
    return subscribers_by_variant


def list_omitted_parts(preferences: Preferences, parts: frozenset[str]) -> frozenset[str]:
    """Return which of an edition's parts, by their keys, a reader left out: whole sections, and topics.

    A section of which every part is left out is among them, by its own key.
    """
    return _list_omitted_parts(preferences.omit, preferences.omit_topics, parts)


@lru_cache(maxsize=4096)  # once for each combination, not for each reader
def _list_omitted_parts(
    omitted_sections: frozenset[str], omitted_topics: frozenset[str], parts: frozenset[str]
) -> frozenset[str]:
    omitted: set[str] = set()
    kept_sections: set[str] = set()
    for key in parts:
        section_key, topic_key = split_part_key(key)
        if section_key in omitted_sections or (topic_key and topic_key in omitted_topics):
            omitted |= {key, section_key}
        else:
            kept_sections.add(section_key)
    return frozenset(omitted - kept_sections)


def omits_every_part(preferences: Preferences, parts: frozenset[str]) -> bool:
    """Return whether a reader left out every one of an edition's parts; then they are owed no message."""
    return bool(parts) and parts <= list_omitted_parts(preferences, parts)


_MAX_UNSUBSCRIBE_LENGTH = 77  # a relay of a large provider turns a longer List-Unsubscribe into encoded words
_SPECIMEN_TOKEN = "reader-token-goes-here"  # noqa: S105 - as long as a token, in a specimen


class ComposeError(ApplicationError):
    """No sound message can be written; the message says which field or setting is at fault."""


def fill_placeholders(
    subscriber: AudienceMember,
    message_id: str,
    date: datetime,
    *,
    keys: KeyRing,
    zone: ZoneInfo,
    language: SubscriberLanguage,
) -> PlaceholderValues:
    """Return the values of the slots in a subscriber's message; `message_id` and `date` go into its header.

    Raises:
        DecryptionError: the reader's address does not open.
    """
    to, number, generation = subscriber.decrypt_address(keys), subscriber.number, subscriber.link_generation
    return PlaceholderValues(
        to=to,
        message_id=message_id,
        date=headers.date_value(date, zone),
        leave_token=link_tokens.make_link_token(keys, number, "leave", generation, address=to),
        preferences_token=link_tokens.make_link_token(keys, number, "preferences", generation, address=to),
        signup_text=write_signup_text(subscriber.asked_at, subscriber.asked_where, zone, language),
    )


def compose_sample_message(mailable: MailableEdition, edition: Edition, settings: Settings) -> bytes:
    """Compose the message that a reader of every section gets, for an invented reader: to preview and check.

    Its Date is the edition's release, so that the same edition gives the same bytes.
    """
    variants = create_variants(mailable, settings)
    template = variants.template_for(Preferences())
    if template is None:
        raise ComposeError(f"{edition.name} has no sections. Draft it again.")
    zone, language = settings.file.publication.zone, settings.subscriber_language
    return splice_message(
        template,
        PlaceholderValues(
            to="reader@example.org",
            message_id=make_message_id(f"edition:{edition.name}", "specimen", settings.file.sender.list_id),
            date=headers.date_value(edition.release_at, zone),
            leave_token=_SPECIMEN_TOKEN,
            preferences_token=_SPECIMEN_TOKEN,
            signup_text=write_signup_text(edition.opens_at, language.gettext("the sign-up page"), zone, language),
        ),
    )


def write_signup_text(asked_at: datetime, page_name: str, zone: ZoneInfo, language: SubscriberLanguage) -> str:
    """Return when and where a reader asked for the mail: "March 4, 2026, at hls.today"."""
    return _signup_words(asked_at.astimezone(zone).date(), page_name, language)


# Many readers asked on one day in one place. Kept for each language as it is at that moment, its translations included.
@lru_cache(maxsize=4096)
def _signup_words(asked_on: date, page_name: str, language: SubscriberLanguage) -> str:
    place, day = sanitize_text(page_name), language.full_date(asked_on)
    if not place:
        return day
    return language.pgettext("when and where a reader signed up", "%(day)s, at %(place)s", day=day, place=place)


def check_unsubscribe_url_length(base_url: str) -> None:
    """Check that a reader's List-Unsubscribe is short enough to arrive intact.

    Raises:
        ComposeError: the base URL is too long.
    """
    length = len(f"<{base_url}/u/") + 22 + 1
    if length > _MAX_UNSUBSCRIBE_LENGTH:
        raise ComposeError(
            f"DIGEST_BASE_URL ({base_url}) makes List-Unsubscribe {length} characters long, and some providers "
            f"corrupt it if it's longer than 77. Use a shorter host."
        )
