"""The content of a transactional email, decrypted and expressed in words."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

from digest.deliver.compose.notice_mail import choose_notice_language
from digest.deliver.send.claims.delivery_claims import ClaimedDelivery
from digest.edition.approval.approval_check import read_signed_content
from digest.edition.archive.correction_check import is_correction_approved
from digest.edition.archive.corrections import list_corrections
from digest.edition.content.corrected_content import correct_for_email
from digest.edition.edition_queries import find_latest_public_edition, find_upcoming_edition
from digest.edition.part_titles import list_part_titles
from digest.edition.rendering.mail_layout import BEST_FACTS, describe_top_stories
from digest.edition.rendering.sanitizer import sanitize_text
from digest.settings import Settings
from digest.store.engine import Database
from subscribers.consent.preferences import describe_preferences
from subscribers.crypto.keys import KeyRing
from subscribers.lifecycle import preference_changes
from subscribers.subscriber_language import SubscriberLanguage

# The page that a token of each kind opens. All other tokens open the confirmation page.
_TOKEN_PAGES = {
    "data": "my-data",
    "move": "address",
    "moving": "address/stop",
    "undo": "undo",
    "choices": "restore",
    "stay": "stay",
    "staff": "staff",
}
# These aren't in every queued email.
_OPTIONAL_FACTS = (
    "about_you",
    "by_you",
    "undo_url",
    "signs_in",
    "verifies",
    "to_editor",
    "by_editor",
    "reason",
    "several",
)
_MOMENTS = ("asked_at", "confirmed_at", "sealed_at", "since", "done_at")
# These facts aren't shown unchanged.
_UNWRITTEN = frozenset({"token", "expires_at", "first_change", "sent_from", "test_of", "to"})


@dataclass(frozen=True, slots=True)
class ClaimedNotice(ClaimedDelivery):
    """A claimed transactional email with its kind and content."""

    kind: str
    facts: Mapping[str, Any]


def build_template_facts(
    database: Database, settings: Settings, keys: KeyRing, notice: ClaimedNotice
) -> dict[str, str]:
    """Return the content of a transactional email, expressed in words.

    It's the same at every attempt, so that the message is, too.
    """
    stored, zone = notice.facts, settings.file.publication.zone
    language = choose_notice_language(settings, notice.kind)
    facts = dict.fromkeys(_OPTIONAL_FACTS, "")
    facts |= {name: value for name, value in stored.items() if name not in _UNWRITTEN}
    moments = {name: datetime.fromisoformat(stored[name]).astimezone(zone) for name in _MOMENTS if name in stored}
    facts |= {name: language.moment(moment) for name, moment in moments.items()}
    if "message" in stored:
        facts["message"] = "\n".join(sanitize_text(line) for line in stored["message"].splitlines())
    if "token" in stored:
        facts |= _link_facts(settings, notice, language)
    if notice.kind == "welcome":
        facts |= _edition_facts(database, settings, keys, notice)
    own_facts = _OWN_FACTS.get(notice.kind)
    return facts | own_facts(database, settings, notice) if own_facts else facts


def _link_facts(settings: Settings, notice: ClaimedNotice, language: SubscriberLanguage) -> dict[str, str]:
    stored = notice.facts
    signs_in = bool(stored.get("signs_in"))
    page = "desk/link" if signs_in else _TOKEN_PAGES.get(notice.kind, "confirm")
    leads_on = f"?edition={quote(stored['test_of'])}" if stored.get("test_of") else ""
    write_end = language.moment if signs_in or notice.kind == "data" else language.weekday_date
    return {
        "confirm_url": f"{settings.link_base}/confirm/{stored['token']}",
        "url": f"{settings.link_base}/{page}/{stored['token']}{leads_on}",
        "by_you": "yes" if stored.get("signs_in") == "member" else "",
        "until": write_end(datetime.fromisoformat(stored["expires_at"]).astimezone(settings.file.publication.zone)),
    }


def _choice_facts(database: Database, settings: Settings, notice: ClaimedNotice) -> dict[str, str]:
    """Describe the preferences chosen up to the time when the email was due.

    Later changes are described in the next email.
    """
    assert notice.person is not None, "preferences belong to a person"
    first_change = notice.facts["first_change"]
    with database.read() as session:
        emailed_change = preference_changes.find_preferences_before_and_after(
            session, notice.person, first_change, until=notice.due_at
        )
    language = settings.subscriber_language
    parts = list_part_titles(settings, language)
    before, after = (describe_preferences(preferences, parts, language) for preferences in emailed_change)
    return {"before": before, "after": after}


def _edition_facts(
    database: Database,
    settings: Settings,
    keys: KeyRing,
    notice: ClaimedNotice,
) -> dict[str, str]:
    """Describe the next edition, and the latest edition's best articles, as of the time when the email was due.

    A retry therefore has the same content. Only signed content is quoted, so a latest edition
    without valid signatures isn't mentioned.
    """
    zone, language, now = settings.file.publication.zone, settings.subscriber_language, notice.due_at
    with database.read() as session:
        newest, following = (find_latest_public_edition(session, now), find_upcoming_edition(session, settings, now))
        release = following.release_at.astimezone(zone)
        facts = {
            "next_number": str(following.number),
            "next_day": language.weekday_date(release),
            "next_hour": language.hour_in_zone(release),
            "sender": settings.file.sender.address,
        }
        content = read_signed_content(session, newest, keys) if newest else None
        if newest is None or content is None:
            return facts | dict.fromkeys((*BEST_FACTS, "newest_url", "newest_number"), "")
        page = f"{settings.link_base}/editions/{newest.name}"
        corrections = list_corrections(session, newest)
        proven = [each for each in corrections if is_correction_approved(session, newest, each, keys)]
        content = correct_for_email(content, corrections, proven, now)
        best = describe_top_stories(content, page, now.astimezone(zone).date())
        return facts | best | {"newest_url": page, "newest_number": str(newest.number)}


def _stay_facts(database: Database, settings: Settings, notice: ClaimedNotice) -> dict[str, str]:
    del database
    asked_at = datetime.fromisoformat(notice.facts["asked_at"]).astimezone(settings.file.publication.zone)
    return {"asked_day": choose_notice_language(settings, notice.kind).full_date(asked_at.date())}


_OWN_FACTS = {"stay": _stay_facts, "choices": _choice_facts}
