"""A home as large as the bars of the pages name it: readers, past editions with what came of them, and a week being arranged.

People, deliveries, events and consent are written by the database itself, in a statement each; the draft and its edits are made
by the product.
"""

import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from zoneinfo import ZoneInfo

from sqlalchemy import bindparam, func, insert, select, text, update
from sqlalchemy.orm import Session

from benchmarks.sample_installation import KEYS, RELEASE, create_populated_database
from benchmarks.selection import NOW, made_up_articles
from digest.app.editing import changes as editing
from digest.app.editing import corrections, editing_state
from digest.app.editing.edit_application import EditForm
from digest.app.editions import drafting as editions
from digest.app.subscribers.growth import SHOWN_DAYS
from digest.collect.fetch.fetcher import INDEX_FILE, FolderFetcher
from digest.deliver.plan.delivery_plan import make_edition_delivery_purpose
from digest.deliver.retention.cached_delivery_counts import cache_delivery_counts
from digest.deliver.retention.edition_figures import store_edition_figures
from digest.edition.approval import approved_versions as approval
from digest.edition.calendar.edition_windows import find_next_window
from digest.edition.content.edition_content import EditionContent, LabeledBlock, RenderedFragment
from digest.edition.drafting.drafts import replace_fragments
from digest.edition.editing.edits import StoryField
from digest.edition.edition_queries import make_release_slot_key
from digest.edition.rendering.fragments import build_publication_context, create_mail_environment, render_edition
from digest.installation.audited_actions import ActionEntryPoint, Actor, Role
from digest.installation.opened_installation import Installation
from digest.select.selection_types import CandidateArticle
from digest.settings import Settings
from digest.store.audit import record_audit
from digest.store.correction_models import Correction
from digest.store.delivery_models import Delivery, DeliveryState, DeliveryTotal, StaffMember
from digest.store.engine import Database, migrate_schema
from digest.store.models import Article, AuditEntry, Edition, EditionState, EditionStory, Source, SourceHealth
from digest.store.staff import staff_actor
from subscribers.consent.daily_consent_counts import (
    JOINED_KIND,
    REASON_KIND,
    SUBSCRIBERS_KIND,
    WENT_KIND,
    DayKey,
    add_day_counts,
)
from subscribers.consent.ledger import UNSUBSCRIBE_REASONS
from subscribers.signup.manual_signup import ConsentEvidence, add_subscriber
from subscribers.store.models import ConsentKind, Person, UtcDateTime

EDITION_FILE = Path(__file__).parent.parent / "tests" / "fixtures" / "edition.json"
LAST_SUBSCRIBER = "last.reader@domain1.example.org"
EDITOR, ADMIN = "eve@newsroom.example", "ann@newsroom.example"
LEFT_OUT_PER_EDITION = 300  # stories of a past edition that it did not take
EDITS = 12  # headlines of the draft that are written anew
# Of the draft: its stories, as many as all sections hold together where nothing is set; and its labeled blocks.
STORIES, BLOCKS = 33, 3
LATE = 10  # one of so many articles of the week comes after the draft was touched
WEEK = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class InstallationSize:
    """How much a home holds. `editions` are those that went out."""

    subscribers: int
    articles: int
    editions: int


@dataclass(frozen=True, slots=True)
class LargeInstallation:
    """A home with the names that its pages are asked by: the draft, the edition that went out last, a reader with a record.

    `corrected` is the address of the story that was corrected in it.
    """

    installation: Installation
    draft: str
    departed: str
    reader: int
    corrected: str


def create_large_installation(settings: Settings, size: InstallationSize) -> LargeInstallation:
    """Make a home of a size under settings whose database is empty."""
    database = create_populated_database(settings, size.subscribers)
    installation = Installation(settings, database)
    _add_subscriber(database)
    staff = _add_staff(database)
    departed = _store_past_editions(installation, size, staff)
    _write_rows_for_everybody(database, departed, size.subscribers)
    draft = _draft_week(installation, staff, size.articles)
    _copy_left_out_stories(database, draft)
    cache_delivery_counts(database, now=NOW)
    store_edition_figures(database, now=NOW)
    _write_year(database, size.subscribers, settings.file.publication.zone)
    if database.engine.dialect.name == "postgresql":  # what its own processes do within minutes
        with database.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
            connection.execute(text("VACUUM ANALYZE"))
    return open_large_installation(settings, database)


def open_large_installation(settings: Settings, database: Database) -> LargeInstallation:
    """Return a home that was made before."""
    migrate_schema(database)
    with database.read() as session:
        names = session.scalars(select(Edition.name).order_by(Edition.release_at.desc()).limit(2)).all()
        reader = session.scalars(select(func.max(Person.number))).one()
        corrected = session.scalars(select(Correction.url)).one()
    return LargeInstallation(Installation(settings, database), names[0], names[1], reader, corrected)


@contextmanager
def under_way(database: Database, edition: str) -> Iterator[None]:
    """Bring an edition that went out back to where a quarter of its messages still wait, as long as the block runs."""
    _change_progress(
        database, edition, before=DeliveryState.ACCEPTED, after=DeliveryState.WAITING, state=EditionState.SENDING
    )
    yield
    _change_progress(
        database, edition, before=DeliveryState.WAITING, after=DeliveryState.ACCEPTED, state=EditionState.SENT
    )


def _change_progress(
    database: Database, edition: str, *, before: DeliveryState, after: DeliveryState, state: EditionState
) -> None:
    every_fourth = (
        Delivery.purpose == make_edition_delivery_purpose(edition),
        Delivery.state == before,
        Delivery.person % 4 == 3,
    )
    with database.write() as session:
        session.execute(update(Delivery).where(*every_fourth).values(state=after))
        session.execute(update(Edition).where(Edition.name == edition).values(state=state))


def _add_subscriber(database: Database) -> None:
    """Subscribe one person as the product does it, with a chain that can be read."""
    evidence = ConsentEvidence(
        wording="Send me the weekly mail.",
        wording_version="1",
        language="en",
        page="hls.today",
        method="signed list",
        actor="bench",
        agreed_at=NOW - timedelta(days=300),
    )
    with database.write() as session:
        add_subscriber(session, KEYS, LAST_SUBSCRIBER, evidence=evidence, now=NOW - timedelta(days=299))


def _add_staff(database: Database) -> Actor:
    """Take an editor and an admin on to the staff; give the editor."""
    with database.write() as session:
        for email, role in ((ADMIN, "admin"), (EDITOR, "editor")):
            member = StaffMember(email=email, role=role, added_at=RELEASE - 52 * WEEK, added_by="terminal:bench")
            member.proven_at = member.added_at
            session.add(member)
        session.flush()
        return Actor(staff_actor(member), Role.EDITOR, ActionEntryPoint.DESK)


# --- what went out -------------------------------------------------------------------------------------------


def _store_past_editions(installation: Installation, size: InstallationSize, staff: Actor) -> str:
    """Store the editions that went out, approved, with their totals and what was done to them; name the last."""
    database, settings = installation.database, installation.settings
    stored = EditionContent.from_json(json.loads(EDITION_FILE.read_text("utf-8")))
    pieces = render_edition(stored, build_publication_context(settings), create_mail_environment(settings))
    name = ""
    for number in range(1, size.editions + 1):
        release = RELEASE - WEEK * (size.editions + 1 - number)
        with database.write() as session:
            edition = _past_edition(session, stored, number, release)
            _store_version(session, edition, pieces, settings)
            name = edition.name
            if number < size.editions:
                session.add_all(_delivery_totals(name, size.subscribers))
                edition.planned = size.subscribers
            _write_actions(session, name, staff, release, size.subscribers // size.editions)
    with database.write() as session:
        session.execute(
            text("UPDATE edition SET planned = :many WHERE name = :name"), {"many": size.subscribers, "name": name}
        )
    correction = next(entry for section in stored.sections for entry in section.entries if entry.url and entry.summary)
    form = corrections.CorrectionForm(correction.url, "headline", "It reads differently now", "The number was wrong.")
    corrections.correct_story(installation, name, form, actor=staff, now=NOW - timedelta(days=1))
    return name


def _past_edition(session: Session, stored: EditionContent, number: int, release: datetime) -> Edition:
    year, week, _ = release.isocalendar()
    name, cut_off = f"{year}-W{week:02}", release - timedelta(hours=12)
    last = session.scalar(select(func.max(Edition.cut_off)))
    edition = Edition(
        slot=make_release_slot_key(release),
        name=name,
        number=number,
        state=EditionState.DRAFT,
        opens_at=find_next_window(cut_off, last).opens_at,
        cut_off=cut_off,
        release_at=release,
        drafted_at=cut_off,
        subject=stored.subject,
        preheader=stored.preheader,
        content=replace(stored, name=name, number=number).as_json(),
    )
    session.add(edition)
    session.flush()
    session.add_all(
        EditionStory(
            edition_id=edition.id,
            section=section.key,
            position=position,
            title=entry.headline,
            url=f"{entry.url}?edition={number}",
            score=50.0,
            terms=[],
            reason="",
            members=[f"{entry.url}?edition={number}"],
        )
        for section in stored.sections
        for position, entry in enumerate(section.entries)
    )
    return edition


def _store_version(
    session: Session, edition: Edition, pieces: tuple[RenderedFragment, ...], settings: Settings
) -> None:
    """Approve an edition as it stands, and let it have gone out."""
    replace_fragments(session, edition, pieces)
    session.flush()
    approved_at = edition.release_at - timedelta(hours=2)
    mark = approval.read_current_content_hash(session, edition, settings)
    approval.sign_approval(session, edition, mark, settings=settings, keys=KEYS, actor="bench", now=approved_at)
    edition.state = EditionState.SENT
    edition.planned_at = edition.release_at
    edition.sent_at = edition.release_at + timedelta(hours=3)
    edition.canary = 0


def _delivery_totals(name: str, subscribers: int) -> Iterator[DeliveryTotal]:
    refused = subscribers // 100
    for state, count in ((DeliveryState.ACCEPTED, subscribers - refused), (DeliveryState.REFUSED, refused)):
        yield DeliveryTotal(purpose=make_edition_delivery_purpose(name), state=state, count=count)


_ACTIONS = """
    INSERT INTO audit (seq, previous, hash, at, actor, act, subject, detail)
    SELECT :before + number, '', '', :at, :actor,
        CASE WHEN number % 1000 = 0 THEN 'approve' WHEN number % 50 = 0 THEN 'paused' ELSE 'edited' END, :name, '{}'
    FROM person WHERE number <= :many"""


def _write_actions(session: Session, edition: str, staff: Actor, release: datetime, many: int) -> None:
    """Write acts on an edition into the audit log, and after them an old one of the chain: whoever reads back to it meets none of them."""
    before = session.scalar(select(func.max(AuditEntry.seq))) or 0
    acts = text(_ACTIONS).bindparams(bindparam("at", type_=UtcDateTime))
    at = release - timedelta(hours=12)
    session.execute(acts, {"before": before, "at": at, "actor": staff.name, "name": edition, "many": many})
    record_audit(session, "bench", edition, {}, actor=staff.name, now=release - 2 * WEEK)


# --- a row for everybody -------------------------------------------------------------------------------------

# Written by the database itself; {random} stands for 26 characters that nobody can guess, as the ids of deliveries are.
_DELIVERIES = """
    INSERT INTO delivery (id, purpose, person, state, due_at, next_try_at, tries, domain_tag, message_id, transport, reply,
        handed_at, first_handed_at)
    SELECT {random}, :purpose, number,
        CASE WHEN number % 100 = 0 THEN 'refused' WHEN number % 500 = 1 THEN 'uncertain' WHEN number % 200 = 2 THEN 'skipped'
            ELSE 'accepted' END,
        :due, :due, 1, domain_tag, 'message-' || number || '@weekly.news.example.org', 'smtp',
        CASE WHEN number % 500 = 0 THEN '554 5.7.1 blocked due to spam content, q' || number || ' - gsmtp'
            WHEN number % 100 = 0 THEN '550 5.1.1 no such user q' || number || ' - gsmtp' ELSE '250 2.0.0 OK' END, :handed, :handed
    FROM person"""
_EVENTS = """
    INSERT INTO event (delivery, kind, cause, at, received_at, fingerprint, detail)
    SELECT id, 'bounced', CASE WHEN person % 500 = 0 THEN 'policy' ELSE 'no mailbox' END, :handed, :handed, id, '{{}}'
    FROM delivery WHERE purpose = :purpose AND state = 'refused'"""
_CONSENTS = """
    INSERT INTO consent_event (person, seq, kind, at, body, commitment, previous, hash)
    SELECT number, 1, 'imported', asked_at, '{{}}', '', '', {random} FROM person WHERE number <= :last"""
# One in twenty has changed their choices since the last edition.
_CHOICES = """
    INSERT INTO consent_event (person, seq, kind, at, body, commitment, previous, hash)
    SELECT number, 2, 'choices changed', :changed, '{{"before": {{}}}}', '', '', {random} FROM person
    WHERE number <= :last AND number % 20 = 3"""
# One in five has preferences: a pause, fewer parts, or breaking news, which half of those who chose it have paused.
_PREFERENCES = """
    UPDATE person SET choices = CAST(CASE WHEN number % 20 = 3 THEN '{{"pause_until": "2026-12-31"}}'
        WHEN number % 20 = 4 THEN '{{"breaking_news": true, "pause_until": "2026-12-31"}}'
        WHEN number % 20 = 14 THEN '{{"breaking_news": true}}'
        ELSE '{{"frequency": "monthly", "omit": ["most-read"], "omit_topics": ["cybersecurity"]}}' END AS {json})
    WHERE number <= :last AND number % 10 IN (3, 4)"""
# Half of the list came with a finished import, a hundredth with one that broke off.
_IMPORTS = """
    INSERT INTO import_batch (id, origin, file_hash, options, reached, actor, started_at, done_at, counts)
    SELECT number, 'mailchimp', 'file ' || number, '{{}}', 0, 'bench', :imported,
        CASE WHEN number = 1 THEN :finished END, '{{}}'
    FROM person WHERE number <= 2"""
_IMPORTED = """
    UPDATE person SET batch = CASE WHEN number % 2 = 0 THEN 1 ELSE 2 END
    WHERE number <= :last AND (number % 2 = 0 OR number % 100 = 7)"""
_IMPORTED_BODIES = """
    UPDATE consent_event SET body = '{{"batch":' || (SELECT batch FROM person WHERE number = person) || ',"method":"file"}}'
    WHERE seq = 1 AND person <= :last AND (person % 2 = 0 OR person % 100 = 7)"""
# One in twenty-five unsubscribed, one in a hundred is suppressed, and one in a hundred hasn't confirmed.
_DEPARTED = """
    UPDATE person SET state = CASE WHEN number % 50 = 9 THEN 'suppressed' WHEN number % 50 = 11 THEN 'requested'
        ELSE 'withdrawn' END
    WHERE number <= :last AND number % 50 IN (9, 11, 12, 13)"""
_SUPPRESSIONS = """
    INSERT INTO suppression (hash, key_id, reason, at)
    SELECT {random}, :key, 'bounced', :handed FROM person WHERE state = 'suppressed'"""
_COMPLAINTS = """
    INSERT INTO event (delivery, kind, cause, at, received_at, fingerprint, detail)
    SELECT id, 'complained', 'complained', :handed, :handed, 'complaint ' || id, '{{}}' FROM delivery
    WHERE purpose = :purpose AND person % 2000 = 15"""
_FOR_EVERYBODY = (
    _DELIVERIES,
    _EVENTS,
    _CONSENTS,
    _CHOICES,
    _PREFERENCES,
    _IMPORTS,
    _IMPORTED,
    _IMPORTED_BODIES,
    _DEPARTED,
    _SUPPRESSIONS,
    _COMPLAINTS,
)
_RANDOM_TEXT = {"sqlite": "lower(hex(randomblob(13)))", "postgresql": "substr(md5(random()::text), 1, 26)"}
_JSON_TYPE = {"sqlite": "text", "postgresql": "json"}


def _write_rows_for_everybody(database: Database, edition: str, subscribers: int) -> None:
    """Write what everybody has: a delivery of the last edition with what came of it, and a consent."""
    handed = RELEASE - WEEK + timedelta(hours=1)
    moments = {"due": RELEASE - WEEK, "handed": handed, "changed": handed + timedelta(days=2)}
    moments |= {"imported": NOW - timedelta(days=2), "finished": NOW - timedelta(days=1)}
    values = {"purpose": make_edition_delivery_purpose(edition), "last": subscribers, **moments}
    values["key"] = KEYS.current("suppression").id
    for statement in _FOR_EVERYBODY:
        dialect = database.engine.dialect.name
        sql = text(statement.format(random=_RANDOM_TEXT[dialect], json=_JSON_TYPE[dialect]))
        used = {name: value for name, value in values.items() if f":{name}" in statement}
        typed = [bindparam(name, type_=UtcDateTime) for name in used if name in moments]
        with database.write() as session:
            session.execute(sql.bindparams(*typed), used)


_WAYS = 12  # by which somebody comes each day: more than Growth names


def _write_year(database: Database, subscribers: int, zone: ZoneInfo) -> None:
    """Write what the nights of a year counted: who came by each way, who left, how many there were."""
    today = NOW.astimezone(zone).date()
    kinds = (ConsentKind.REQUESTED, ConsentKind.CONFIRMED, ConsentKind.WITHDRAWN)
    counts: dict[DayKey, int] = {}
    for back in range(SHOWN_DAYS):
        day = today - timedelta(days=back)
        counts |= {(day, kind.value, f"https://way{n}.example.org/"): 3 - n % 2 for kind in kinds for n in range(_WAYS)}
        counts |= {(day, REASON_KIND, reason): 4 for reason in UNSUBSCRIBE_REASONS}
        counts |= {(day, JOINED_KIND, ""): 30, (day, WENT_KIND, ""): 30, (day, SUBSCRIBERS_KIND, ""): subscribers}
    with database.write() as session:
        add_day_counts(session, counts)


# --- the week that is arranged -------------------------------------------------------------------------------


def _store_sources(database: Database, names: Iterable[str]) -> dict[str, int]:
    """Store sources; give the numbers of their rows by name."""
    sources = {name: Source(url=f"https://{name}.example.org/rss", name=name) for name in names}
    with database.write() as session:
        for n, source in enumerate(sources.values()):
            source.publisher, source.topics, source.images = f"Publisher {n}", {}, "none"
            source.health, source.good_at, source.tried_at = SourceHealth.GOOD, NOW, NOW
        session.add_all(sources.values())
        session.flush()
        return {name: source.id for name, source in sources.items()}


def _store_articles(database: Database, articles: Iterable[CandidateArticle], sources: Mapping[str, int]) -> None:
    with database.write() as session:
        rows = [
            {
                "source_id": sources[article.source],
                "key": hashlib.sha256(article.url.encode()).hexdigest(),
                "url": article.url,
                "link": article.link,
                "title": article.title,
                "summary": article.summary,
                "categories": [],
                "dated_at": article.dated_at,
                "date_basis": "published",
                "found_at": article.dated_at,
                "seen_at": NOW,
            }
            for article in articles
        ]
        session.execute(insert(Article), rows)


def _draft_week(installation: Installation, staff: Actor, articles: int) -> str:
    """Draft a week's edition from articles of 100 sources, and let an editor work on it before the last come; give its name."""
    week = made_up_articles(articles)
    sources = _store_sources(installation.database, sorted({article.source for article in week}))
    late = len(week) // LATE
    _store_articles(installation.database, week[late:], sources)
    with TemporaryDirectory(prefix="digest-bench-") as folder:  # a web in which every page is out of reach
        (Path(folder) / INDEX_FILE).write_text("{}")
        fetcher = FolderFetcher(Path(folder))
        name = editions.draft_next_edition(installation, actor=staff, now=NOW, fetcher=fetcher).name
        _work_on_draft(installation, staff, name)
        _store_articles(installation.database, week[:late], sources)
        editions.draft_next_edition(installation, actor=staff, now=NOW + timedelta(hours=1), fetcher=fetcher)
    return name


def _work_on_draft(installation: Installation, staff: Actor, name: str) -> None:
    """Fill a draft by hand, with labeled blocks; then write headlines."""
    moments = (NOW + timedelta(seconds=n) for n in itertools.count())
    stories = _list_placed(installation, name)
    left_out = [
        out.scored.story.lead.url for out in editing_state.read_editing_state(installation, name).arrangement.left_out
    ]
    for url in left_out[: max(0, STORIES - len(stories))]:
        editing.place_stories(installation, EditForm(name, staff, next(moments)), url, section="topics")
    for n in range(BLOCKS):
        block = LabeledBlock(
            f"block-{n}",
            "sponsor",
            f"What sponsor {n} sells",
            "Its name",
            "What it is good for.",
            "https://example.org/",
        )
        editing.save_labeled_block(installation, EditForm(name, staff, next(moments)), block)
    stories = _list_placed(installation, name)
    for n in range(EDITS):
        form, words = EditForm(name, staff, next(moments)), f"What an editor wrote, the {n}th time"
        editing.set_story_text(installation, form, stories[n % len(stories)], StoryField.HEADLINE, words)


def _list_placed(installation: Installation, name: str) -> list[str]:
    arrangement = editing_state.read_editing_state(installation, name).arrangement
    return [story.url for placed in arrangement.sections.values() for story in placed]


def _copy_left_out_stories(database: Database, draft: str) -> None:
    """Let each past edition have left stories out too: some of those that the draft did."""
    copied = """
        INSERT INTO story (edition_id, section, position, title, url, score, terms, reason, members)
        SELECT edition.id, NULL, 0, left_out.title, left_out.url || '?edition=' || edition.id, left_out.score,
            left_out.terms, left_out.reason, left_out.members
        FROM edition CROSS JOIN (
            SELECT story.* FROM story JOIN edition ON edition.id = edition_id
            WHERE edition.name = :draft AND section IS NULL ORDER BY score DESC LIMIT :many
        ) AS left_out WHERE edition.name <> :draft"""
    with database.write() as session:
        session.execute(text(copied), {"draft": draft, "many": LEFT_OUT_PER_EDITION})
