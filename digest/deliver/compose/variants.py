"""The messages of an edition: fragments selected by a subscriber's preferences, plus the subscriber's values.

Each variant is encoded once. The subscriber's values are the address, IDs, tokens, and when and
where they signed up.
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
    is_alternative_fragment,
    list_fragment_keys,
    list_part_keys,
    read_word_counts,
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
    """The variants of an edition, for one send and one thread."""

    edition: MailableEdition
    zone: ZoneInfo  # the publication's time zone
    language: SubscriberLanguage  # the language of emails to subscribers
    hidden_preferences: frozenset[str]  # preferences that the publication doesn't offer; they have no effect
    unsubscribe_mail_domain: str = ""
    feedback_sender_id: str = ""
    # At most 64 variants (about 10 MB, at 150 KB each). None allows any variant, for a single preview.
    chosen_variants: set[VariantKey] | None = None
    _templates: dict[VariantKey, MessageTemplate] = field(default_factory=dict)

    @cached_property
    def parts(self) -> frozenset[str]:
        """The keys of the sections and topics that a subscriber can omit. Empty for breaking news."""
        if self.is_breaking_news:
            return frozenset()
        keys = list_part_keys(p.name for p in self.edition.pieces)
        has_topics = "omit_topics" not in self.hidden_preferences
        return keys if has_topics else frozenset(split_part_key(key)[0] for key in keys)

    @property
    def is_breaking_news(self) -> bool:
        """True if the edition is an extra one with breaking news."""
        return self.edition.number == BREAKING_NEWS_NUMBER

    def is_owed_to(self, preferences: Preferences, today: date) -> bool:
        """Return True if a subscriber with these preferences gets the edition, disregarding their frequency.

        `today` determines whether their emails are paused.
        """
        if self.is_breaking_news:
            return "breaking_news" not in self.hidden_preferences and preferences.gets_breaking_news(today)
        return not (preferences.is_paused(today) or omits_every_part(preferences, self.parts))

    @cached_property
    def words(self) -> Mapping[str, int]:
        """The number of words in each part, by key."""
        return read_word_counts(piece.name for piece in self.edition.pieces)

    def has_short_edition(self, omitted: frozenset[str]) -> bool:
        """Return True if the short edition has any content for a subscriber who omitted the given parts.

        Some sections appear only in the full edition. Subscribers for whom nothing would be left
        get the full edition.
        """
        return any(not are_omitted(keys, omitted, self.parts) for keys in self._short_parts)

    @cached_property
    def _short_parts(self) -> frozenset[frozenset[str]]:
        """The parts of each fragment of the short edition, except for alternative fragments."""
        names = (piece.name for piece in self.edition.pieces if piece.kind == "short")
        own = (list_fragment_keys(name) for name in names if not is_alternative_fragment(name))
        return frozenset(filter(None, own))

    def template_for(self, preferences: Preferences) -> MessageTemplate | None:
        """Return the message template for a subscriber's preferences, or None if no part is left."""
        if omits_every_part(preferences, self.parts):
            return None
        variant = self.find_variant(preferences)
        if variant not in self._templates:
            self._templates[variant] = self._compose_template(*variant)
        return self._templates[variant]

    def find_variant(self, preferences: Preferences) -> VariantKey:
        """Return the variant that a subscriber gets.

        It's the one they want or, if the limit is reached, the nearest fuller one. Below the limit,
        the variant they want is added to `chosen_variants`.
        """
        wanted_variant = self.find_wanted_variant(preferences)
        if self.chosen_variants is None:
            return wanted_variant
        # Subscribers may have chosen new combinations since they were counted.
        if len(self.chosen_variants) < MAX_VARIANTS:
            self.chosen_variants.add(wanted_variant)
        return find_nearest_variant(wanted_variant, self.chosen_variants, self.words)

    def find_wanted_variant(self, preferences: Preferences) -> VariantKey:
        """Return the variant that matches a subscriber's preferences."""
        omitted = list_omitted_parts(preferences, self.parts)
        is_short = preferences.short and self.has_short_edition(omitted)
        return VariantKey(omitted, preferences.text_only, is_short)

    def limit_to_most_wanted(self, subscribers: Mapping[VariantKey, int]) -> "EditionVariants":
        """Return a copy that's limited to the variants that most subscribers want.

        `subscribers` is the number of subscribers who want each variant.
        """
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
                "List-Post": "NO",  # posting isn't allowed (RFC 2369, section 3.4)
                "Precedence": "bulk",  # suppresses automatic replies; the next one does so in Exchange
                "X-Auto-Response-Suppress": "OOF, AutoReply",
            }
            | self._feedback_header(),
        )

    def _feedback_header(self) -> dict[str, str]:
        """Return the Feedback-ID header, if it's set, in Gmail's format: campaign, customer, email kind, sender ID."""
        kind = "breaking-news" if self.is_breaking_news else "edition"
        fields = (self.edition.name, self.edition.list_id.partition(".")[0], kind, self.feedback_sender_id)
        return {"Feedback-ID": ":".join(fields)} if self.feedback_sender_id else {}


def create_variants(edition: MailableEdition, settings: Settings) -> EditionVariants:
    """Return the variants of an edition or of an approved version of it."""
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
    """Count subscribers by the variant they want, leaving out those who omitted every part."""
    subscribers_by_variant: Counter[VariantKey] = Counter()
    for preferences, subscribers in count_preferences(session):
        if not omits_every_part(preferences, variants.parts):
            subscribers_by_variant[variants.find_wanted_variant(preferences)] += subscribers
    return subscribers_by_variant


def list_omitted_parts(preferences: Preferences, parts: frozenset[str]) -> frozenset[str]:
    """Return the keys of an edition's sections and topics that a subscriber omitted.

    A section is included if all of its parts are omitted.
    """
    return _list_omitted_parts(preferences.omit, preferences.omit_topics, parts)


@lru_cache(maxsize=4096)  # once per combination, not per subscriber
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
    """Return True if a subscriber omitted all parts of an edition and therefore isn't owed a message."""
    return bool(parts) and parts <= list_omitted_parts(preferences, parts)


# A large provider's relay turns a longer List-Unsubscribe into encoded words.
_MAX_UNSUBSCRIBE_LENGTH = 77
_SPECIMEN_TOKEN = "reader-token-goes-here"  # noqa: S105 - as long as a real token, for the sample message


class ComposeError(ApplicationError):
    """Raised when a valid message can't be composed.

    The message names the field or setting at fault.
    """


def fill_placeholders(
    subscriber: AudienceMember,
    message_id: str,
    date: datetime,
    *,
    keys: KeyRing,
    zone: ZoneInfo,
    language: SubscriberLanguage,
) -> PlaceholderValues:
    """Return the values of the slots in a subscriber's message.

    `message_id` and `date` go into its header.

    Raises:
        DecryptionError: the subscriber's address can't be decrypted.
    """
    to, number, generation = subscriber.decrypt_address(keys), subscriber.number, subscriber.link_generation
    return PlaceholderValues(
        to=to,
        message_id=message_id,
        date=headers.format_date_value(date, zone),
        leave_token=link_tokens.make_link_token(keys, number, "leave", generation, address=to),
        preferences_token=link_tokens.make_link_token(keys, number, "preferences", generation, address=to),
        signup_text=format_signup_text(subscriber.asked_at, subscriber.asked_where, zone, language),
    )


def compose_sample_message(mailable: MailableEdition, edition: Edition, settings: Settings) -> bytes:
    """Compose the full message for a fictional subscriber, for use in previews and checks.

    Its Date is the edition's send time, so the same edition always results in the same bytes.
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
            date=headers.format_date_value(edition.release_at, zone),
            leave_token=_SPECIMEN_TOKEN,
            preferences_token=_SPECIMEN_TOKEN,
            signup_text=format_signup_text(edition.opens_at, language.gettext("the sign-up page"), zone, language),
        ),
    )


def format_signup_text(asked_at: datetime, page_name: str, zone: ZoneInfo, language: SubscriberLanguage) -> str:
    """Return when and where a subscriber signed up, such as "March 4, 2026, at hls.today"."""
    return _signup_words(asked_at.astimezone(zone).date(), page_name, language)


# Many subscribers signed up on the same day and page. The cache key includes the language with its
# translations.
@lru_cache(maxsize=4096)
def _signup_words(asked_on: date, page_name: str, language: SubscriberLanguage) -> str:
    place, day = sanitize_text(page_name), language.full_date(asked_on)
    if not place:
        return day
    return language.pgettext("when and where a reader signed up", "%(day)s, at %(place)s", day=day, place=place)


def check_unsubscribe_url_length(base_url: str) -> None:
    """Raise an error if List-Unsubscribe is too long to arrive intact.

    Raises:
        ComposeError: the base URL is too long.
    """
    length = len(f"<{base_url}/u/") + 22 + 1
    if length > _MAX_UNSUBSCRIBE_LENGTH:
        raise ComposeError(
            f"DIGEST_BASE_URL ({base_url}) makes List-Unsubscribe {length} characters long, and some providers "
            f"corrupt it if it's longer than 77. Use a shorter host name."
        )
