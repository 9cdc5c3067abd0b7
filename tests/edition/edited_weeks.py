"""Made-up weeks that grow, with edits of every kind, even meaningless ones, to test the fold."""

import itertools
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any

from hypothesis import strategies as st

from digest.edition.drafting.content_builder import EditionIdentity, build_content
from digest.edition.editing.arrangement import Arrangement, arrange_edition
from digest.edition.editing.edits import (
    BLOCK_PREFIX,
    EDITION_TARGET,
    Edit,
    EditDraft,
    EditionField,
    EditKind,
    StoryField,
)
from digest.edition.editing.stored_proposal import ProposalWithLateStories, add_late_stories
from digest.edition.kinds import SECTION_KINDS
from digest.select.proposals import propose_edition
from digest.select.selection_types import CandidateArticle, PreviousEditions, Proposal
from digest.settings import SettingsFileContent
from subscribers.subscriber_language import ENGLISH
from tests.moments import RELEASE

NOW = datetime(2026, 11, 18, 21, 0, tzinfo=UTC)
RELEASE_DAY = date(2026, 11, 20)
FILE = SettingsFileContent()
IDENTITY = EditionIdentity("2026-W47", 147, RELEASE)
SECTIONS = [s.key for s in FILE.sections]
SUBJECTS = (
    "Ransomware gang shuts hospitals in Harlow", "Botnet of home routers seized in Duck operation",
    "Hurricane Nadia turns toward Bermuda", "Wildfire crosses highway north of Redding",
    "Measles outbreak closes summer camps", "Coast Guard boards tanker off Guam",
    "Border Patrol finds tunnel under Nogales", "Power grid operators rehearse blackout",
    "Human trafficking ring broken up in Lyon", "Counter-drone trial opens at stadium",
    "Firefighter union and city sign contract", "TSA extends PreCheck to cruise lines",
)  # fmt: skip
PUBLISHERS = ("County Line", "PortWatch", "HLS.Today")


def week_article(number: int) -> CandidateArticle:
    """Make the article of a number: of three publishers in turn, so that three numbers in a row tell one story."""
    subject, publisher = SUBJECTS[number // 3 % len(SUBJECTS)], PUBLISHERS[number % 3]
    url = f"https://{publisher.lower().replace(' ', '-')}.example.org/{number}"
    own = publisher == "HLS.Today"
    return CandidateArticle(
        url,
        f"{url}?utm_source=feed",
        subject,
        f"{subject}, as was told on the day that it happened.",
        publisher,
        publisher,
        NOW - timedelta(hours=number),
        own=own,
        views=10 * number if own else None,
    )


def calendar_article(number: int) -> CandidateArticle:
    """Make an event's article, some days ahead."""
    url = f"https://calendar.example.org/{number}"
    starts_at = RELEASE + timedelta(days=3 * number + 1)
    return CandidateArticle(
        url, url, f"Exercise number {number}", "", "Calendar", "Calendar", NOW, section="events", starts_at=starts_at
    )


ARTICLES = tuple(week_article(n) for n in range(3 * len(SUBJECTS)))
EVENTS = tuple(calendar_article(n) for n in range(8))
EVERYTHING = (*ARTICLES, *EVENTS)


def propose(articles: tuple[CandidateArticle, ...]) -> Proposal:
    """Propose an edition of some articles, by the settings that are shipped."""
    return propose_edition(
        articles,
        select=FILE.select,
        sections=FILE.sections,
        kinds=SECTION_KINDS,
        now=RELEASE,
        previous=PreviousEditions(),
    )


@dataclass(frozen=True)
class GrowingWeek:
    """A week's proposal as it grew, from the untouched one on."""

    stages: tuple[ProposalWithLateStories, ...] = field(repr=False)

    @property
    def first(self) -> ProposalWithLateStories:
        return self.stages[0]

    @property
    def last(self) -> ProposalWithLateStories:
        return self.stages[-1]


def grow_week(cuts: list[int]) -> GrowingWeek:
    """Let the week's articles arrive in parts, which end at the given places."""
    first, *others = [*sorted({min(max(c, 1), len(EVERYTHING)) for c in cuts}), len(EVERYTHING)]
    stages = [ProposalWithLateStories(propose(EVERYTHING[:first]))]
    for number, cut in enumerate(others, 1):
        stages.append(add_late_stories(stages[-1], propose(EVERYTHING[:cut]), NOW + timedelta(hours=number)))
    return GrowingWeek(tuple(stages))


@cache
def grown_weeks() -> tuple[GrowingWeek, ...]:
    """Grow a few weeks, once: what a property draws is one of them and the edits on it."""
    return tuple(grow_week(cuts) for cuts in ([6], [1, 14, 20], [20, 33], [len(EVERYTHING)]))


urls = st.sampled_from([a.url for a in EVERYTHING]) | st.sampled_from(
    [
        *(a.link for a in ARTICLES[:4]),
        "https://nowhere.example.org/",
        "own:1",
        "own:2",
        "",
        "block:offer",
        EDITION_TARGET,
    ]
)
sections = st.sampled_from([*SECTIONS, "gone"])
positions = st.integers(-2, 12)
words = st.text(max_size=40) | st.just("A headline of ours")
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20) | urls,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
pictures = st.sampled_from([{"hash": "ab" * 32, "width": 560, "height": 315, "alt": "A crane"}, {"hash": 7}])
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "section": sections, "position": positions, "after": urls, "main": urls, "article": urls, "others": st.lists(urls, max_size=3),
    "articles": st.lists(urls, max_size=3), "pinned": st.booleans(), "shown": st.booleans(), "text": words | st.none(),
    "field": st.sampled_from([*StoryField, *EditionField, "colour"]), "topic": words, "alt": words, "credit": words,
    "cuts": st.none() | st.fixed_dictionaries({"lead": pictures, "thumb": pictures}), "removed": st.booleans(),
    "kind": st.sampled_from(["sponsor", "opportunity", "advert"]), "headline": words, "url": urls,
    "first_day": st.sampled_from(["2026-11-01", "2026-12-01", "soon"]), "kept": st.booleans(),
}  # fmt: skip
KIND_FIELDS = {
    EditKind.PLACE: ("section", "position", "after", "others"), EditKind.DROP: ("others", "kept"), EditKind.APART: ("others",), EditKind.RESTORE: (), EditKind.PIN: ("pinned", "position"),
    EditKind.LEAD: ("article",), EditKind.MERGE: ("others",), EditKind.SPLIT: ("articles",), EditKind.UNDER: ("main", "others"),
    EditKind.TEXT: ("field", "text"), EditKind.PICTURE: ("shown", "cuts", "alt", "credit"), EditKind.TOPIC: ("topic",),
    EditKind.BLOCK: ("kind", "headline", "url", "text", "first_day", "removed"), EditKind.NOTE: ("text",),
}  # fmt: skip
added_articles = st.fixed_dictionaries(
    {"title": words},
    optional={"summary": words, "publisher": words, "dated_at": st.sampled_from(["2026-11-17T10:00:00", "0001-01-01"])},
)


@st.composite
def edit_drafts(draw: st.DrawFn) -> EditDraft:
    """Draw an act of any kind: most of them make sense, some hold anything."""
    kind = draw(st.sampled_from([k for k in EditKind if k not in {EditKind.UNDO, EditKind.REVERT}]))
    target = draw(urls)
    if kind is EditKind.ADD:
        value = {"article": draw(added_articles | json_values), "section": draw(sections), "after": draw(urls)}
    else:
        value = {name: draw(FIELDS[name]) for name in KIND_FIELDS[kind] if draw(st.booleans())}
    if draw(st.integers(0, 9)) == 0:
        value = draw(st.dictionaries(st.sampled_from(sorted(FIELDS)), json_values, max_size=4))
    if kind is EditKind.BLOCK and draw(st.booleans()):
        target = f"{BLOCK_PREFIX}offer"
    return EditDraft(kind, target, value)


@st.composite
def edit_histories(draw: st.DrawFn, *, max_size: int = 12, undos: bool = True) -> tuple[Edit, ...]:
    """Draw a history of two editors; with `undos`, also of anything, and states that are brought back."""
    history: list[Edit] = []
    for seq in range(1, draw(st.integers(0, max_size)) + 1):
        draft, actor = draw(edit_drafts()), draw(st.sampled_from(["staff 1", "staff 2"]))
        kind: str = draft.kind
        undoes = None
        if undos and draw(st.integers(0, 3)) == 0:
            kind = draw(st.sampled_from([EditKind.UNDO, EditKind.UNDO, EditKind.REVERT, "unheard of"]))
            undoes = draw(st.integers(-1, max_size))
        at = NOW + timedelta(minutes=seq)
        history.append(Edit(seq, at, actor, kind, draft.target, draft.value, undoes))
    return tuple(history)


weeks = st.deferred(lambda: st.sampled_from(grown_weeks()))


def arrange(grown: ProposalWithLateStories, edits: tuple[Edit, ...]) -> Arrangement:
    """Fold by the shipped settings."""
    return arrange_edition(grown, edits, FILE, RELEASE_DAY)


def written(grown: ProposalWithLateStories, edits: tuple[Edit, ...]) -> dict[str, Any]:
    """Give the edition's words as plain values."""
    return build_content(arrange(grown, edits), IDENTITY, FILE, ENGLISH).as_json()


def make_history(*drafts: EditDraft, actor: str = "staff 1") -> tuple[Edit, ...]:
    """Make a history of acts, one a minute."""
    return tuple(
        Edit(seq, NOW + timedelta(minutes=seq), actor, d.kind, d.target, d.value, d.undoes)
        for seq, d in zip(itertools.count(1), drafts, strict=False)
    )
