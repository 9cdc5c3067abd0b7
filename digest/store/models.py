"""The tables for the newsletter.

They follow the data flow: source → article → story → edition → fragment → delivery → event.
"""

from datetime import date, datetime, time
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, Float, ForeignKey, Index, String, UniqueConstraint, false
from sqlalchemy.orm import Mapped, mapped_column, relationship

import subscribers.store.signup_models  # noqa: F401 - registers its tables
from subscribers.store.column_types import RowId, Str10, Str20, Str40, Str60, Str64, Str80, Str100, Str200
from subscribers.store.keyed_row_seals import KeyedSealModel
from subscribers.store.models import Base, DamageTolerantJson, Json, Moment, enum_by_value


class SourceHealth(StrEnum):
    """The recent condition of a source."""

    NEW = "new"
    GOOD = "good"
    FAILING = "failing"
    REFUSING = "refusing"
    GONE = "gone"


class Source(Base):
    """A place that articles come from, with the results of recent visits."""

    __tablename__ = "source"
    __table_args__ = (UniqueConstraint("url", name="uq_source_listed_once"),)

    id: Mapped[RowId]
    url: Mapped[str]
    moved_to: Mapped[str | None]  # target of a permanent redirect, or a discovered feed
    moved_from: Mapped[str | None]  # URL before its last change
    name: Mapped[Str200]
    publisher: Mapped[Str200]
    section: Mapped[Str40] = mapped_column(default="news")
    weight: Mapped[float] = mapped_column(Float, default=1.0)
    primary: Mapped[bool] = mapped_column(default=False)
    own: Mapped[bool] = mapped_column(default=False)
    images: Mapped[Str10] = mapped_column(default="none")
    topics: Mapped[Json]
    default_topic: Mapped[Str100] = mapped_column(default="", server_default="")
    paused: Mapped[bool] = mapped_column(default=False, server_default=false())
    active: Mapped[bool] = mapped_column(default=True)

    kind: Mapped[Str20 | None]
    etag: Mapped[str | None]
    last_modified: Mapped[str | None]
    health: Mapped[SourceHealth] = mapped_column(enum_by_value(SourceHealth), default=SourceHealth.NEW)
    message: Mapped[str] = mapped_column(default="")
    failures: Mapped[int] = mapped_column(default=0)
    failing_since: Mapped[datetime | None]
    good_at: Mapped[datetime | None]
    tried_at: Mapped[datetime | None]
    next_try_at: Mapped[datetime | None]


class SourceHostClaim(Base):
    """A lock on a host, held across all processes while a run collects from the host's sources."""

    __tablename__ = "host_claim"

    host: Mapped[str] = mapped_column(String(255), primary_key=True)
    owner: Mapped[Str80]
    lease_until: Mapped[Moment]  # after this time, the run counts as dead, and another may take over


class DailySourceVisitCounts(Base):
    """The results of one day's visits to a source. The day is in the publication's time zone."""

    __tablename__ = "source_day"

    source_id: Mapped[int] = mapped_column(ForeignKey("source.id"), primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    good: Mapped[int] = mapped_column(default=0)
    bad: Mapped[int] = mapped_column(default=0)
    found: Mapped[int] = mapped_column(default=0)  # number of new articles


class Article(Base):
    """An item as published by one source.

    `dated_at` is its effective date in UTC, and `date_basis` says where the date came from. `views` is
    the number of page views in the week before the last readership import, or NULL if there's no data.
    """

    __tablename__ = "article"
    __table_args__ = (
        UniqueConstraint("source_id", "key", name="uq_article_one_row_an_item"),
        Index("ix_article_window", "dated_at"),  # drafting: articles in a window
        Index("ix_article_url", "url"),  # the same page from several sources; readership
        {"sqlite_autoincrement": True},  # IDs are never reused
    )

    id: Mapped[RowId]
    source_id: Mapped[int] = mapped_column(ForeignKey("source.id"))
    key: Mapped[Str64]  # identifies the item within its source; see `digest.collect.documents.item_identity`
    url: Mapped[str]  # canonical
    link: Mapped[str]  # as published, absolute
    title: Mapped[str]
    summary: Mapped[str] = mapped_column(default="")
    summary_basis: Mapped[Str20] = mapped_column(default="", server_default="")  # see `SummaryBasis`
    author: Mapped[Str200 | None]
    credit: Mapped[Str200 | None]
    publisher: Mapped[Str200] = mapped_column(default="", server_default="")  # for items of multi-publisher feeds
    categories: Mapped[list[str]] = mapped_column(JSON)
    language: Mapped[Str20 | None]
    image_url: Mapped[str | None]
    image_alt: Mapped[str | None]
    image_credit: Mapped[Str200 | None]  # credit given by the item; see `digest.collect.texts.image_credits`
    dated_at: Mapped[Moment]
    date_basis: Mapped[Str40]
    updated_at: Mapped[datetime | None]
    found_at: Mapped[Moment]
    seen_at: Mapped[Moment]
    withdrawn_at: Mapped[datetime | None]
    superseded: Mapped[Str100] = mapped_column(default="", server_default="")  # notice on the page: "superseded by …"
    starts_at: Mapped[datetime | None]
    ends_at: Mapped[datetime | None]
    all_day: Mapped[bool] = mapped_column(default=False)
    # Start and end as stated in the text, if the source gives no event times.
    announced_at: Mapped[datetime | None]
    announced_until: Mapped[datetime | None]
    event_zone: Mapped[Str60] = mapped_column(default="", server_default="")
    place: Mapped[Str200 | None]
    # The deadline as stated by the source; see `digest.collect.documents.deadlines`.
    closes_on: Mapped[date | None]
    closes_clock: Mapped[time | None]
    closes_zone: Mapped[Str60] = mapped_column(default="", server_default="")
    closes_label: Mapped[Str40] = mapped_column(default="", server_default="")
    featured: Mapped[bool] = mapped_column(default=False)
    views: Mapped[int | None]

    source: Mapped[Source] = relationship()


class PublishedArticleChange(Base):
    """A changed field of an article, such as its title, with the old and new values."""

    __tablename__ = "article_change"
    __table_args__ = (Index("ix_article_change_article", "article_id"),)  # all changes to an article

    id: Mapped[RowId]
    article_id: Mapped[int] = mapped_column(ForeignKey("article.id"))
    at: Mapped[Moment]
    field: Mapped[Str40]
    before: Mapped[str]
    after: Mapped[str]


class MediaFile(Base):
    """A downloaded and re-encoded image, which is served from `/media/<hash>`."""

    __tablename__ = "media"

    hash: Mapped[Str64] = mapped_column(primary_key=True)  # SHA-256 of `body`
    source_url: Mapped[str] = mapped_column(index=True)
    content_type: Mapped[Str40]
    width: Mapped[int]
    height: Mapped[int]
    size: Mapped[int]
    body: Mapped[bytes] = mapped_column(deferred=True)
    made_at: Mapped[Moment]


BREAKING_NEWS_NUMBER = 0  # used by all breaking-news editions, so that they don't use up regular numbers


class EditionState(StrEnum):
    """The state of an edition.

    An edition goes from draft to approved, sending, and sent. It's incomplete (stored as "held")
    while it has too little content.
    """

    DRAFT = "draft"
    INCOMPLETE = "held"
    APPROVED = "approved"
    SENDING = "sending"
    SENT = "sent"
    CANCELLED = "cancelled"

    @property
    def predicate(self) -> str:
        """The state as a predicate, for sentences such as "The edition is a draft"."""
        names = {"draft": "a draft", "held": "incomplete", "sending": "being sent", "cancelled": "canceled"}
        return names.get(self.value, self.value)


class Edition(Base):
    """One issue of the newsletter.

    `name` is the ISO week of its send day. Its window is `opens_at` < date ≤ `cut_off`, and its
    stories record which ones drafting considered. `content` is the arranged edition
    (`edition.content`) as JSON. `written_parts` lists the texts that editors wrote
    (`digest.edition.editing.authorship`), or is None for a draft last changed by a version that
    didn't record authors. The approved content is in the approvals; `approved_by` and `approved_at`
    say who completed the valid approval, and when.
    """

    __tablename__ = "edition"
    __table_args__ = (UniqueConstraint("slot", name="uq_edition_one_a_slot"),)

    id: Mapped[RowId]
    slot: Mapped[Str40]  # the send time in UTC, in ISO 8601 format
    name: Mapped[Str20] = mapped_column(unique=True)
    number: Mapped[int]
    state: Mapped[EditionState] = mapped_column(enum_by_value(EditionState))
    opens_at: Mapped[Moment]
    cut_off: Mapped[Moment]
    release_at: Mapped[Moment]
    drafted_at: Mapped[Moment]
    subject: Mapped[str] = mapped_column(default="")
    preheader: Mapped[str] = mapped_column(default="")
    content: Mapped[Json]
    written_parts: Mapped[list[dict[str, str]] | None] = mapped_column(JSON(none_as_null=True))
    held_because: Mapped[str] = mapped_column(default="")
    approved_by: Mapped[Str200 | None]
    approved_at: Mapped[datetime | None]
    planned_at: Mapped[datetime | None]  # from this time on, the list of subscribers is fixed
    planned: Mapped[int | None]  # number of deliveries planned, to compare with the delivery counts
    sent_at: Mapped[datetime | None]
    # Sending is paused while `paused_at` is set. Events before `resumed_at` no longer count toward
    # stop rules.
    paused_at: Mapped[datetime | None]
    paused_because: Mapped[str] = mapped_column(default="", server_default="")
    resumed_at: Mapped[datetime | None]
    # When someone chose to send approved breaking news immediately. It's cleared when the approval ends.
    send_requested_at: Mapped[datetime | None]
    # The size of the canary (NULL if undecided), and how long the other subscribers wait for its results.
    canary: Mapped[int | None]
    canary_until: Mapped[datetime | None]
    # Tags of the recipient domains that triggered a stop rule; see
    # `digest.deliver.control.set_aside_domains`.
    set_aside: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    # Number of subscribers who get a fuller variant than they chose because of the variant limit.
    # NULL if they weren't counted yet.
    merged: Mapped[int | None]
    # For a sent edition: refusals that need acknowledgment (0 if few or acknowledged), and the
    # number that was acknowledged.
    refusals: Mapped[int] = mapped_column(default=0, server_default="0")
    acknowledged_refusals: Mapped[int] = mapped_column(default=0, server_default="0")

    @property
    def is_breaking_news(self) -> bool:
        """True if the edition is an extra one with breaking news."""
        return self.number == BREAKING_NEWS_NUMBER

    @property
    def title(self) -> str:
        """The title shown to the team, such as "No. 148" or "Breaking news 2026-W48-2"."""
        return f"Breaking news {self.name}" if self.is_breaking_news else f"No. {self.number}"

    @property
    def has_refusals(self) -> bool:
        """True if the edition was sent with refusals that haven't been acknowledged yet."""
        return self.state is EditionState.SENT and self.refusals > 0

    @property
    def state_words(self) -> str:
        """The state for display, which is "sent with refusals" until those have been acknowledged."""
        return "sent with refusals" if self.has_refusals else self.state.value


class ReleaseScheduleChange(Base):
    """An editor's change to a send time.

    `set_aside` is the draft that was canceled when the send time was skipped; it's restored if the
    send time is. See `digest.edition.calendar.release_calendar` for the other columns.
    """

    __tablename__ = "release_change"
    __table_args__ = (
        UniqueConstraint("regular_on", name="uq_release_changed_once"),
        UniqueConstraint("release_at", name="uq_release_one_a_moment"),
    )

    id: Mapped[RowId]
    regular_on: Mapped[date | None]
    release_at: Mapped[datetime | None]
    skipped: Mapped[bool] = mapped_column(default=False)
    changed_by: Mapped[Str200]
    changed_at: Mapped[Moment]
    set_aside: Mapped[int | None] = mapped_column(ForeignKey("edition.id", ondelete="SET NULL"))


class EditionStory(Base):
    """A story that was considered for an edition, with its position or the reason that it was left out.

    `terms` are the named terms of `score`. `section` is NULL if the story was left out.
    """

    __tablename__ = "story"
    __table_args__ = (Index("ix_story_edition", "edition_id", "section", "position"),)  # an edition's stories in order

    id: Mapped[RowId]
    edition_id: Mapped[int] = mapped_column(ForeignKey("edition.id"))
    section: Mapped[Str40 | None]
    position: Mapped[int]
    title: Mapped[str]
    url: Mapped[str]
    score: Mapped[float]
    terms: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    reason: Mapped[str] = mapped_column(default="")
    members: Mapped[list[str]] = mapped_column(JSON)  # canonical URLs of all its articles, starting with the lead


class StoredDocumentFrequencies(Base):
    """The number of earlier articles that contain each word, frozen for the window starting at `opens_at`."""

    __tablename__ = "word_table"

    opens_at: Mapped[datetime] = mapped_column(primary_key=True)
    article_count: Mapped[int]
    counts: Mapped[dict[str, int]] = mapped_column(JSON)


class EditionProposal(KeyedSealModel):
    """The stored proposal that an edition's edits are applied to.

    See `digest.edition.editing.stored_proposal`.
    """

    __tablename__ = "proposal"
    __sealed__ = ("id", "hash")
    __unsealed__ = ("body",)  # covered by `hash`

    id: Mapped[int] = mapped_column(ForeignKey("edition.id", ondelete="CASCADE"), primary_key=True)
    hash: Mapped[Str64]
    body: Mapped[bytes] = mapped_column(deferred=True)


class EditionEdit(KeyedSealModel):
    """An editor's action on an edition. The table is append-only.

    An edition's edits are valid up to the first missing number or forged row.
    `digest.edition.editing.edits` defines each kind.
    """

    __tablename__ = "edit"
    __table_args__ = (UniqueConstraint("edition_id", "seq", name="uq_edit_one_a_number"),)
    __sealed__ = ("edition_id", "seq", "at", "actor", "kind", "target", "value", "undoes")
    __unsealed__ = ("id",)

    id: Mapped[RowId]
    edition_id: Mapped[int] = mapped_column(ForeignKey("edition.id", ondelete="CASCADE"))
    seq: Mapped[int]  # counted from 1 within the edition
    at: Mapped[Moment]
    actor: Mapped[Str200]
    kind: Mapped[Str20]
    target: Mapped[str]  # an article's canonical URL, "edition", or "block:" and a name
    value: Mapped[Json]
    undoes: Mapped[int | None]  # `seq` of the edit that it undoes


class ClipboardItem(Base):
    """An item on an editor's clipboard: a text if `field` is set, or else a story."""

    __tablename__ = "clipping"
    __table_args__ = (UniqueConstraint("owner", "edition_id", "target", "field", name="uq_clipping_kept_once"),)

    id: Mapped[RowId]
    owner: Mapped[Str200]  # an actor's name
    edition_id: Mapped[int] = mapped_column(ForeignKey("edition.id", ondelete="CASCADE"))
    at: Mapped[Moment]
    target: Mapped[str] = mapped_column(String(2000))  # an article's canonical URL, or "edition"
    field: Mapped[Str20] = mapped_column(default="", server_default="")
    text: Mapped[str]  # the story's headline, or the text


class RenderedEditionFragment(Base):
    """A rendered, inlined fragment of an edition.

    Approval copies it into the version that is sent.
    """

    __tablename__ = "fragment"
    __table_args__ = (UniqueConstraint("edition_id", "kind", "name", name="uq_fragment_one_a_place"),)

    id: Mapped[RowId]
    edition_id: Mapped[int] = mapped_column(ForeignKey("edition.id"))
    kind: Mapped[Str10]  # html | text | web | page | short | short-text
    name: Mapped[str] = mapped_column(String(500))  # see `digest.edition.content.fragment_names`
    position: Mapped[int]
    body: Mapped[str]  # without the slots
    slots: Mapped[list[tuple[int, str]]] = mapped_column(JSON)  # [offset in body, name]
    hash: Mapped[Str64]


FIRST_LOOK_JOB = "first look"  # job name of the row that records when the schedule was first followed


class ScheduleSlot(Base):
    """A slot of the schedule that a process has claimed. Its row is a lock across all processes.

    `done_at` is NULL while the process runs the job, and after a crash. In that case, another process
    may claim the slot once `lease_until` has passed, and run the job again, which is idempotent.
    """

    __tablename__ = "slot"
    __table_args__ = (UniqueConstraint("job", "at", name="uq_slot_taken_once"),)

    id: Mapped[RowId]
    job: Mapped[Str20]
    at: Mapped[Moment]
    owner: Mapped[Str80]
    lease_until: Mapped[Moment]  # after this time, the process counts as dead, and another may take over
    taken_at: Mapped[datetime | None]  # by the last process; NULL in the row of the first look
    done_at: Mapped[datetime | None]
    outcome: Mapped[str] = mapped_column(default="")


class AuditEntry(Base):
    """An entry in the audit log, which records who did what and when.

    The table is append-only, chained, and free of subscribers' addresses. `seq` is the row's
    position in the chain, counted from 1. It's NULL until the transaction commits, so other
    transactions never see it that way.
    """

    __tablename__ = "audit"
    __table_args__ = (
        UniqueConstraint("seq", name="uq_audit_seq"),
        Index("ix_audit_at", "at", "seq"),
        Index("ix_audit_actor", "actor", "at"),
        Index("ix_audit_subject", "subject", "at"),
        Index("ix_audit_act", "act", "at"),
    )

    id: Mapped[RowId]
    seq: Mapped[int | None]
    previous: Mapped[Str64] = mapped_column(default="", server_default="")
    hash: Mapped[Str64] = mapped_column(default="", server_default="")
    at: Mapped[Moment]
    actor: Mapped[Str200]
    act: Mapped[Str60]
    subject: Mapped[Str200]
    detail: Mapped[dict[str, Any]] = mapped_column(DamageTolerantJson)
    mac: Mapped[str] = mapped_column(String(90), default="", server_default="")
    access_seq: Mapped[int | None]  # position of the latest earlier row that changed someone's access
