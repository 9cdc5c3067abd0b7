"""The demo: a whole week of the bundled sample, from collecting to sending.

The files that it writes are the same, byte for byte, on every run. The edition of the following
week is left as a draft for trying the desk.
"""

import csv
import io
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from pydantic import SecretStr
from sqlalchemy import select

from digest.app.approval import edition_approval
from digest.app.demo.demo_year import add_demo_year
from digest.app.editions import drafting as editions
from digest.app.editions import edition_checks
from digest.app.editions.edition_status import read_edition_status
from digest.app.editions.edition_views import read_edition
from digest.app.sending import send_control as sending
from digest.collect.fetch.fetcher import FolderFetcher, open_fetcher
from digest.collect.fetch.result import ContentFetcher
from digest.deliver.events.delivery_event import DeliveryEvent, EventKind, hash_event_parts
from digest.deliver.events.event_processor import process_events
from digest.deliver.events.failure_causes import FailureCause, find_failure_cause
from digest.deliver.events.mailbox.incoming_mail import REPORTED_BY
from digest.deliver.plan.delivery_plan import make_edition_delivery_purpose
from digest.edition.preflight.rule_registry import FindingLevel
from digest.installation.audited_actions import ActionEntryPoint, Actor, Role
from digest.installation.opened_installation import Installation, create_home_folder, open_installation
from digest.settings import Settings, load_settings
from digest.store.delivery_models import Delivery, DeliveryState, StaffMember
from digest.store.models import MediaFile
from digest.store.staff import StaffRole
from subscribers.consent.preferences import Preferences, change_preferences
from subscribers.crypto.keys import DEMO_KEY_SEED, KeyRing
from subscribers.english_text import count_with_noun
from subscribers.errors import ApplicationError
from subscribers.signup import manual_signup

# Thursday, 17:30 in New York, when the sample's week is drafted.
SAMPLE_NOW = datetime(2026, 11, 19, 22, 30, tzinfo=UTC)
SAMPLE_BASE_URL = "https://news.example.org"
DEMO_MARKER = ".digest-demo"
SAMPLE_EDITOR = "dana.reyes@news.example.org"  # signs in to the demo's desk
SAMPLE_ADMIN = "ruth.adeyemi@news.example.org"  # signs in to its admin pages
_SAMPLE_STAFF: tuple[tuple[str, str, StaffRole], ...] = (
    (SAMPLE_EDITOR, "Dana Reyes", "editor"),
    (SAMPLE_ADMIN, "Ruth Adeyemi", "admin"),
)
_SAMPLE_BOUNCES = (
    ("552", "5.2.2", "Mailbox full"),
    ("554", "5.7.1", "Message blocked by our spam policy"),
    ("550", "5.1.0", "Address rejected"),
)  # reply code, enhanced code, and text
DEMO_ACTOR = Actor("demo", Role.ADMIN, ActionEntryPoint.TERMINAL)


class DemoError(ApplicationError):
    """Raised when the demo can't continue. The message says why."""


@dataclass(frozen=True, slots=True)
class DemoResult:
    """The result of the demo: the edition's name, its web copy, and the installation's settings."""

    edition: str
    web_copy: Path
    settings: Settings


def run_demo(folder: Path, live_settings: Settings | None, report: Callable[[str], None]) -> DemoResult:
    """Run a week in `folder`, and call `report` with a line of text for each step.

    The articles come from the bundled sample, or from the sources of `live_settings` if given.

    Raises:
        DemoError: the folder isn't a demo's, no source could be read, or preflight found errors.
    """
    sample = _load_bundled_settings("sample/digest.toml")
    settings = sample if live_settings is None else _merge_live_settings(live_settings, sample)
    settings = settings.model_copy(
        update={"home": folder, "base_url": SAMPLE_BASE_URL, "mail_url": SecretStr("outbox:")}
    )
    _prepare_folder(folder)
    if settings.origin:  # a copy, so that the desk can open the demo's installation
        (folder / "digest.toml").write_text(settings.origin.read_text("utf-8"), "utf-8")
    settings.key_file.write_text(KeyRing.from_seed(DEMO_KEY_SEED).to_json(), "utf-8")
    settings.key_file.chmod(0o600)
    now = SAMPLE_NOW if live_settings is None else datetime.now(UTC)
    replacement = None if live_settings else FolderFetcher(_bundled_file("sample"))
    with (
        open_installation(settings, may_create=True) as installation,
        open_fetcher(settings, replacement) as fetcher,
    ):
        edition = _run_week(installation, fetcher, report, now)
        _add_sample_staff(installation, now)
        web_copy = _write_web_copy(installation, edition)
        if live_settings is None:
            report(f"Bounced {_bounce_sample_emails(installation, edition)} of the emails, for you to follow up.")
            _draft_next_week(installation, report)
            people = add_demo_year(installation, DEMO_ACTOR, now)
            report(
                f"Added a year of totals and {people:,} made-up people. The subscribers among them have paused their emails."
            )
        return DemoResult(edition, web_copy, settings)


def _bundled_file(path: str) -> Traversable:
    return resources.files("digest").joinpath(path)


def _load_bundled_settings(path: str) -> Settings:
    with resources.as_file(_bundled_file(path)) as file:
        return load_settings(file, {})


def _prepare_folder(folder: Path) -> None:
    """Empty the demo's folder if an earlier demo created it.

    Raises:
        DemoError: the folder contains files that no demo created.
    """
    if folder.exists() and any(folder.iterdir()) and not (folder / DEMO_MARKER).exists():
        raise DemoError(f"{folder} isn't empty and wasn't created by the demo. Choose another folder with --to.")
    shutil.rmtree(folder, ignore_errors=True)
    create_home_folder(folder)
    (folder / DEMO_MARKER).write_text(
        "Created by 'digest demo'. The next demo deletes everything in this folder.\n", "utf-8"
    )


def _merge_live_settings(settings: Settings, sample: Settings) -> Settings:
    """Return the operator's settings, or the shipped settings if the operator's have no sources.

    A missing postal address is filled in from the sample.
    """
    if not settings.file.sources:
        settings = _load_bundled_settings("shipped.toml")
    sender = settings.file.sender
    if not sender.postal_address.strip():
        sender = sender.model_copy(update={"postal_address": sample.file.sender.postal_address})
    file = settings.file.model_copy(update={"sender": sender})
    return settings.model_copy(update={"file": file, "database_url": ""})


def _run_week(installation: Installation, fetcher: ContentFetcher, report: Callable[[str], None], now: datetime) -> str:
    reports = editions.collect_articles(installation, actor=DEMO_ACTOR, now=now, fetcher=fetcher).sources
    read = [source for source in reports if not source.error]
    report(f"Collected {sum(source.new for source in reports)} articles from {len(read)} of {len(reports)} sources.")
    if not read:
        first_error = reports[0].error if reports else "no sources are configured"
        raise DemoError(f"Couldn't reach any sources. The first error was: {first_error}")
    draft = editions.draft_next_edition(installation, actor=DEMO_ACTOR, now=now, fetcher=fetcher)
    report(f"Drafted {draft.name}, No. {draft.number}: {sum(map(len, draft.proposal.sections.values()))} stories.")
    report(f"Added {_add_sample_subscribers(installation, now)} sample subscribers, each with a record of consent.")
    _check_edition(installation, draft.name, report, now)
    content_hash = read_edition_status(installation, draft.name, now=now).content_hash
    edition_approval.approve_edition(installation, draft.name, content_hash, actor=DEMO_ACTOR, now=now, fetcher=fetcher)
    counts = sending.send_edition(
        installation, draft.name, actor=DEMO_ACTOR, clock=lambda: max(now, draft.release_at)
    ).delivery_counts
    accepted, skipped = counts[DeliveryState.ACCEPTED], counts[DeliveryState.SKIPPED]
    report(
        f"Approved {draft.name} (content hash {content_hash[:7]}) and saved {count_with_noun(accepted, 'email')}. Skipped by preference: {skipped}."
    )
    return draft.name


def _bounce_sample_emails(installation: Installation, edition: str) -> int:
    """Report some of an edition's emails as bounced, and return how many.

    The reports look like those from a bounce mailbox. None of these bounces suppresses an address
    by itself.
    """
    purpose = make_edition_delivery_purpose(edition)
    accepted = select(Delivery).where(Delivery.purpose == purpose, Delivery.state == DeliveryState.ACCEPTED)
    with installation.write() as session:
        deliveries = session.scalars(accepted.order_by(Delivery.person)).all()[::3]
        events = [
            _make_bounce(delivery.id, delivery.due_at + timedelta(minutes=2), *bounce)
            for delivery, bounce in zip(deliveries, _SAMPLE_BOUNCES, strict=False)
        ]
        log, received_at = installation.unsubscribe_log, events[0].received_at
        process_events(session, events, keys=installation.keys, unsubscribe_log=log, now=received_at)
    return len(events)


def _make_bounce(delivery_id: str, at: datetime, code: str, enhanced_code: str, reason: str) -> DeliveryEvent:
    status = f"{code} {enhanced_code}"
    return DeliveryEvent(
        reported_by=REPORTED_BY,
        delivery_id=delivery_id,
        kind=EventKind.BOUNCED,
        cause=find_failure_cause(code, frozenset({enhanced_code})) or FailureCause.NONE,
        occurred_at=at,
        received_at=at,
        fingerprint=hash_event_parts(REPORTED_BY, delivery_id, status),
        provider_mark=None,
        detail={"by": REPORTED_BY, "status": status, "reason": reason},
    )


def _draft_next_week(installation: Installation, report: Callable[[str], None]) -> None:
    """Draft the next edition from the sample's next week.

    The draft isn't scheduled.
    """
    fetcher, now = FolderFetcher(_bundled_file("sample/next-week")), SAMPLE_NOW + timedelta(days=7)
    # The draft's links go to the desk that `make serve` opens, because editions are approved where
    # they were drafted.
    settings = installation.settings.model_copy(update={"base_url": Settings().base_url})
    installation = Installation(settings, installation.database)
    editions.collect_articles(installation, actor=DEMO_ACTOR, now=now, fetcher=fetcher)
    draft = editions.draft_next_edition(installation, actor=DEMO_ACTOR, now=now, fetcher=fetcher)
    report(f"Drafted {draft.name}, No. {draft.number}, for you to edit.")


def _check_edition(installation: Installation, name: str, report: Callable[[str], None], now: datetime) -> None:
    findings = edition_checks.check_edition(installation, name, now=now)
    for finding in findings:
        report(f"  {finding.level} {finding.rule}: {finding.sentence}")
    errors = sum(finding.level == FindingLevel.ERROR for finding in findings)
    if errors:
        raise DemoError(f"{name} failed preflight with {count_with_noun(errors, 'error')}.")
    report(f"Checked {name}: no errors, {count_with_noun(len(findings), 'warning')}.")


def _add_sample_subscribers(installation: Installation, now: datetime) -> int:
    """Add the sample's made-up subscribers, and return how many were added.

    The evidence of each person's consent says that the subscriber is made up.
    """
    rows = list(csv.DictReader(io.StringIO(_bundled_file("sample/readers.csv").read_text("utf-8"))))
    with installation.write() as session:
        for row in rows:
            evidence = manual_signup.ConsentEvidence(
                wording="Send me the weekly digest. (A made-up subscriber in the bundled sample.)",
                wording_version="sample",
                language="en",
                page=row["asked_where"],
                method="bundled sample",
                actor=DEMO_ACTOR.name,
                agreed_at=datetime.fromisoformat(row["asked_at"]).astimezone(UTC),
            )
            person = manual_signup.add_subscriber(
                session, installation.keys, row["address"], evidence=evidence, now=now
            )
            choices = Preferences.from_json(json.loads(row["choices"] or "{}"))
            change_preferences(session, person.number, choices, now)
    return len(rows)


def _add_sample_staff(installation: Installation, now: datetime) -> None:
    """Add a made-up editor and a made-up admin, who can sign in by link.

    No email is sent to them.
    """
    with installation.write() as session:
        for email, name, role in _SAMPLE_STAFF:
            member = StaffMember(email=email, name=name, role=role, added_by=DEMO_ACTOR.name)
            member.added_at = member.proven_at = now
            session.add(member)
            session.flush()


def _write_web_copy(installation: Installation, name: str) -> Path:
    """Write an edition's web copy with its images, and return its path.

    The copy can be viewed without a server.
    """
    folder = installation.settings.home / "web"
    (folder / "media").mkdir(parents=True)
    html = editions.render_edition_bytes(installation, read_edition(installation, name), "web").decode()
    with installation.read() as session:
        for media in session.scalars(select(MediaFile)):
            address = f"{installation.settings.link_base}/media/{media.hash}"
            if address in html:
                file = f"media/{media.hash}.{media.content_type.partition('/')[2]}"
                (folder / file).write_bytes(media.body)
                html = html.replace(address, file)
    copy = folder / f"{name}.html"
    copy.write_text(html, "utf-8")
    return copy
