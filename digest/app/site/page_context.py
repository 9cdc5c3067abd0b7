"""The context of the subscriber pages, built from the installation."""

from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from digest.app.subscribers.consent_texts import build_consent_text
from digest.app.subscribers.signup_settings import build_signup_limits
from digest.deliver.compose.variant_limit import MAX_VARIANTS
from digest.deliver.providers.registry import describe_address_recipients, translate_recipient_description
from digest.deliver.retention.delivery_disclosures import list_delivery_disclosures, make_delivery_erasure_callback
from digest.deliver.send.notices import notice_queue
from digest.edition.edition_queries import count_merged_subscribers, find_upcoming_edition
from digest.edition.kinds import SECTION_KINDS
from digest.edition.part_titles import list_part_titles
from digest.edition.rendering.fragments import build_publication_context
from digest.installation.opened_installation import Installation
from digest.settings import Settings
from digest.timetable import ScheduleRule
from subscribers.callback_types import Clock
from subscribers.consent.disclosures import AddressDisclosure
from subscribers.english_text import join_words
from subscribers.pages.context import PageContext, SiteDetails
from subscribers.signup.rate_limits import NetworkQuota
from subscribers.subscriber_language import SubscriberLanguage
from subscribers.transfer.exports import DataController

_DAY_NAMES = ("Mondays", "Tuesdays", "Wednesdays", "Thursdays", "Fridays", "Saturdays", "Sundays")


def build_page_context(installation: Installation, clock: Clock) -> PageContext:
    """Return the context for the subscriber pages.

    See `subscribers.pages.context`.

    Raises:
        InstallationError: the installation has no keys.
    """
    settings = installation.settings
    publication, limits = settings.file.publication, settings.file.limits
    language = settings.subscriber_language

    def first_edition(session: Session, now: datetime) -> str:
        upcoming = find_upcoming_edition(session, settings, now)
        day = language.weekday_date(upcoming.release_at.astimezone(publication.zone))
        issue = language.gettext("No. %(number)s", number=upcoming.number)
        return language.gettext("%(issue)s arrives on %(day)s.", issue=issue, day=day)

    def deliveries(session: Session, number: int, language: SubscriberLanguage) -> tuple[AddressDisclosure, ...]:
        return list_delivery_disclosures(session, number, settings, language)

    return PageContext(
        site=_site_details(settings),
        language=language,
        wording=build_consent_text(settings),
        wording_with_breaking_news=build_consent_text(settings, breaking_news=True),
        database=installation.database,
        keys=installation.keys,
        unsubscribe_log=installation.unsubscribe_log,
        clock=clock,
        queue=notice_queue.make_notice_queue(installation.keys, settings, clock),
        list_deliveries=deliveries,
        delivery_retention=timedelta(days=settings.file.retention.delivery_days),
        forget_deliveries=make_delivery_erasure_callback(installation.keys, clock),
        controller=build_data_controller(settings),
        base_url=settings.link_base,
        release_days=settings.mail_frequency.days,
        signup_limits=build_signup_limits(settings),
        contact_quota=NetworkQuota(limits.contact_per_network, limits.contact_first, limits.contact_further),
        evidence_retention=timedelta(days=settings.file.retention.evidence_days),
        describe_first_edition=first_edition,
        find_variant_limit=lambda session: MAX_VARIANTS if count_merged_subscribers(session) else 0,
        translate_recipient_description=lambda described: translate_recipient_description(
            described, settings, language
        ),
        trusted_proxies=limits.proxies,
    )


def build_data_controller(settings: Settings) -> DataController:
    """Return the data controller: the publication and its contact details."""
    publication, sender = settings.file.publication, settings.file.sender
    return DataController(publication.name, sender.reply_to, sender.postal_address, publication.site)


def _site_details(settings: Settings) -> SiteDetails:
    """Return the site details shown on subscriber pages."""
    publication, sender, language = settings.file.publication, settings.file.sender, settings.subscriber_language
    return SiteDetails(
        name=publication.name,
        tagline=publication.tagline,
        about=publication.about,
        home=publication.site,
        language=publication.language,
        direction=publication.direction,
        zone=publication.zone,
        reply_to=sender.reply_to,
        postal_address=build_publication_context(settings).postal_line,
        section_contents={
            section.key: SECTION_KINDS[section.kind].describe_contents(section, language)
            for section in settings.file.sections
        },
        recipients=describe_address_recipients(settings, language),
        hidden_preferences=settings.file.preferences.hidden,
        parts=list_part_titles(settings, language),
    )


def describe_release_days(rule: ScheduleRule) -> str:
    """Return the days of a schedule in words, such as "Mondays and Thursdays" or "every day".

    For a schedule without days, return "as it comes".
    """
    days = [_DAY_NAMES[day] for day in sorted(rule.days)]
    if not days or len(days) == len(_DAY_NAMES):
        return "every day" if days else "as it comes"
    return join_words(days)
