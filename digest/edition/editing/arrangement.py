"""The arrangement of an edition: where its stories are after valid edits have been applied to the proposal.

Applying edits is pure and total: equal inputs result in equal arrangements, and no edit makes it
fail. An edit whose target is gone has no effect, and its outcome says why.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from itertools import chain

from digest.edition.content.edition_content import (
    SPONSOR_BLOCK_ID,
    BlockWithAuthors,
    EditionImage,
    ImageCrops,
    LabeledBlock,
)
from digest.edition.editing.board_story import BoardStory, EditedImage, StoryState
from digest.edition.editing.edits import Edit, EditKind, StoryField, find_undone_edits
from digest.edition.editing.stored_proposal import LateStory, ProposalWithLateStories
from digest.edition.editing.story_board import StoryBoard
from digest.edition.kinds import SECTION_KINDS
from digest.select.proposals import explain_shortage
from digest.select.selection_types import LeftOutStory, PlacedStory, ScoredStory, Story
from digest.select.story_links import StoryGroupingDecision
from digest.select.summary_choice import StorySummary, choose_summary
from digest.settings import NEWS_SECTION, SettingsFileContent

_CHOSEN_IMAGE = "chosen:"  # prefix of the name, in place of the URL, of an image that an editor chose


@dataclass(frozen=True, slots=True)
class ArrangedStory:
    """A story as arranged in the edition.

    Its entry is built from `placed`. Editors' `texts` (by `StoryField`) replace its own. `original`
    is the story as proposed, except that edits may have changed its articles. `edits` has the
    numbers of the edits that affected the story, and `text_edits` (by `StoryField`) those of the
    edits that wrote its texts.
    """

    placed: PlacedStory
    original: ScoredStory
    texts: Mapping[str, str]
    text_edits: Mapping[str, int] = field(default_factory=dict)
    note: str = ""
    pinned: bool = False
    picture: EditedImage | None = None
    supporting: tuple["ArrangedStory", ...] = ()
    edits: tuple[int, ...] = ()

    @property
    def url(self) -> str:
        """The canonical URL of the lead article, which edits use to identify the story."""
        return self.original.url

    @property
    def supporting_urls(self) -> tuple[str, ...]:
        """The canonical URLs of all articles in the story's supporting stories."""
        return tuple(article.url for under in self.supporting for article in under.original.story.members)

    @property
    def original_summary(self) -> StorySummary:
        """The full-length summary of the story as it was before any edits."""
        return choose_summary(self.original.story)


@dataclass(frozen=True, slots=True)
class RemovedStory:
    """A removed story, the edit that removed it, and its former place.

    `headline` is the one that an editor wrote, or else the lead's title. `section` is empty if the story wasn't in a
    section. `replacement_url` is the canonical URL of the story that replaced it, or empty if there's none.
    """

    scored: ScoredStory
    headline: str
    edit: Edit
    section: str
    position: int  # its former index in the section
    replacement_url: str

    @property
    def is_kept(self) -> bool:
        """True if the story is kept for the next edition."""
        return self.edit.keeps_for_next


@dataclass(frozen=True, slots=True)
class EditOutcome:
    """The outcome of an edit.

    The edit is in effect, undone by the edit `undone_by`, or without effect for the reason
    `idle_reason`. `previous_section` is the former section of the edit's story: empty if it had
    none, or None if the edit was undone or has no story. `replacement_urls` are the canonical URLs of the
    stories that replaced dropped ones. `is_first` is whether the edit left its story first in its
    section.
    """

    edit: Edit
    undone_by: int | None = None
    idle_reason: str = ""
    previous_section: str | None = None
    replacement_urls: tuple[str, ...] = ()
    is_first: bool = False


@dataclass(frozen=True, slots=True)
class Arrangement:
    """The places of an edition's stories.

    `sections` has every section of the settings, even empty ones. `blocks` run on the day of the
    release, and `resting_blocks` on other days.
    """

    sections: Mapping[str, tuple[ArrangedStory, ...]]
    left_out: tuple[LeftOutStory, ...]
    tray: tuple[LateStory, ...]
    removed: tuple[RemovedStory, ...]  # latest first
    texts: Mapping[str, str]  # the edition's texts, by `EditionField`
    blocks: tuple[LabeledBlock, ...]
    resting_blocks: tuple[LabeledBlock, ...]
    pictures: Mapping[str, ImageCrops]  # by the `image` of the leads in `sections`
    outcomes: tuple[EditOutcome, ...]
    links: tuple[StoryGroupingDecision, ...]  # editors' decisions to group or separate articles, for later grouping
    story_names: Mapping[str, str]  # the URL of a story's lead, by the URL of each of its articles
    next_up: Mapping[str, str]  # by section, the URL of the lead of the story that would fill the next place
    given_blocks: tuple[BlockWithAuthors, ...]  # blocks before the first edit
    incomplete_reason: str = ""

    def name_target(self, target: str) -> str:
        """Return the URL of the lead article in the story that contains the article `target`.

        Other targets are returned unchanged.
        """
        return self.story_names.get(target, target)

    def find_block(self, block_id: str) -> LabeledBlock | None:
        """Return the labeled block with the given ID, or None. Blocks that don't run in this edition are included."""
        by_id = {block.id: block for block in (*self.blocks, *self.resting_blocks)}
        return by_id.get(block_id)

    @property
    def edits_in_force(self) -> list[Edit]:
        """The edits in effect, except for undos."""
        at_work = (each.edit for each in self.outcomes if each.undone_by is None and not each.idle_reason)
        return [edit for edit in at_work if not edit.is_undo]

    def find_story(self, url: str) -> ArrangedStory | None:
        """Return the story or supporting story that contains an article, or None if there's none."""
        name = self.name_target(url)
        return next((story for story in self.list_stories() if story.url == name), None)

    def list_added_stories(self) -> dict[str, str]:
        """Return the headlines of stories that editors added and that no source provided.

        They're keyed by the URL of the story's lead.
        """
        added = [edit for edit in self.edits_in_force if edit.kind == EditKind.ADD]
        added_urls = {edit.target for edit in added}
        proposed = {name for url, name in self.story_names.items() if url not in added_urls} if added else set()
        headlines = {}
        for edit in added:
            if (name := self.name_target(edit.target)) not in proposed:
                story = self.find_story(name)
                written = story.texts.get(StoryField.HEADLINE) if story else None
                headlines[name] = written or str(edit.value["article"]["title"])
        return headlines

    def find_thumbnail(self, scored: ScoredStory) -> EditionImage | None:
        """Return the small image of a story, even if the edition doesn't show it, or None if there's none."""
        crops = self.pictures.get(scored.lead.image or "")
        return crops.thumb if crops else None

    def list_stories(self) -> Iterator["ArrangedStory"]:
        """Yield the stories of the edition, each followed by its supporting stories."""
        for story in chain.from_iterable(self.sections.values()):
            yield from (story, *story.supporting)


def arrange_edition(
    proposal: ProposalWithLateStories, edits: Sequence[Edit], file: SettingsFileContent, release_day: date
) -> Arrangement:
    """Apply an edition's edits to its proposal, and return the arrangement.

    Args:
        proposal: the stored proposal.
        edits: all edits of the edition in order, including those that were undone.
        file: the settings with the sections and their rules.
        release_day: the day of the release in the publication's time zone, which determines the
            blocks that run.
    """
    fold = EditionFold(proposal, file)
    fold.apply_edits(edits)
    return fold.read_arrangement(release_day)


class EditionFold:
    """An edition's proposal with the edits applied to it so far."""

    def __init__(self, proposal: ProposalWithLateStories, file: SettingsFileContent) -> None:
        """Start with the proposal, without any edits."""
        self.proposal, self.file = proposal, file
        self.edits: tuple[Edit, ...] = ()
        self._board = StoryBoard(proposal, file.sections, _list_given_blocks(proposal, file))
        self._outcomes: list[EditOutcome] = []

    def is_continued_by(self, edits: Sequence[Edit]) -> bool:
        """Return True if `edits` are the edits already applied, followed by edits that aren't undos."""
        later = edits[len(self.edits) :]
        return tuple(edits[: len(self.edits)]) == self.edits and not any(edit.is_undo for edit in later)

    def apply_edits(self, edits: Sequence[Edit]) -> None:
        """Apply the given edits, except those that have already been applied.

        `edits` must continue this fold (see `is_continued_by`).
        """
        undone = find_undone_edits(edits)
        for edit in edits[len(self.edits) :]:
            self._outcomes.append(self._apply_edit(edit, undone))
        self.edits = tuple(edits)

    def _apply_edit(self, edit: Edit, undone: Mapping[int, int]) -> EditOutcome:
        if edit.is_undo or edit.seq in undone:
            return EditOutcome(edit, undone.get(edit.seq))
        board = self._board
        story = board.find_story(edit.target)
        previous_section = story.section if story else None
        idle_reason = board.apply_edit(edit)
        replacement_urls = tuple(board.replacement_urls.get(edit.seq, ()))
        is_first = story is not None and board.is_first(story)
        return EditOutcome(edit, None, idle_reason, previous_section, replacement_urls, is_first)

    def find_articles(self, url: str) -> Story | None:
        """Return the story that contains an article, wherever it is, or None."""
        story = self._board.find_story(url)
        return story.story if story else None

    def read_arrangement(self, release_day: date) -> Arrangement:
        """Return the current arrangement, which isn't affected by later edits."""
        return _read_arrangement(self._board, self.proposal, tuple(self._outcomes), self.file, release_day)


def _list_given_blocks(proposal: ProposalWithLateStories, file: SettingsFileContent) -> list[LabeledBlock]:
    """Return the blocks that exist before the first edit: the sponsor's, from the settings, and earlier editions'."""
    blocks = list(proposal.blocks)
    if (paid := file.sponsor) and not proposal.is_breaking_news:
        words = (paid.headline, paid.name, paid.text, paid.url)
        blocks.insert(0, LabeledBlock(SPONSOR_BLOCK_ID, "sponsor", *words))
    return blocks


def _read_arrangement(
    board: StoryBoard,
    proposal: ProposalWithLateStories,
    outcomes: tuple[EditOutcome, ...],
    file: SettingsFileContent,
    release_day: date,
) -> Arrangement:
    pictures: dict[str, ImageCrops] = dict(proposal.pictures)
    sections, next_up = {}, {}
    for key, stories in board.sections.items():
        sections[key] = tuple(_arrange_story(story, pictures) for story in stories)
        if following := board.find_next(key):
            next_up[key] = following.url
    blocks = board.blocks.values()
    minimum = 1 if proposal.is_breaking_news else file.select.minimum
    return Arrangement(
        sections=sections,
        left_out=tuple(story.left_out for story in board.list_in_state(StoryState.LEFT_OUT)),
        tray=tuple(_list_late_stories(board)),
        removed=tuple(_list_removed(board)),
        texts=dict(board.texts),
        blocks=tuple(block for block in blocks if block.runs_on(release_day)),
        resting_blocks=tuple(block for block in blocks if not block.runs_on(release_day)),
        pictures=pictures,
        outcomes=outcomes,
        links=tuple(board.links),
        story_names=board.name_stories(),
        given_blocks=tuple(_name_given_authors(proposal, file)),
        next_up=next_up,
        incomplete_reason=explain_shortage(_count_news(board), minimum),
    )


def _count_news(board: StoryBoard) -> int:
    kinds = {key: SECTION_KINDS[settings.kind] for key, settings in board.settings.items()}
    news = (key for key, kind in kinds.items() if kind.source_section == NEWS_SECTION)
    return sum(len(board.sections[key]) for key in news)


def _list_late_stories(board: StoryBoard) -> Iterator[LateStory]:
    for story in board.list_in_state(StoryState.WAITING):
        if story.arrived_at:
            yield LateStory(story.scored, story.arrived_at, story.joins)


def _name_given_authors(proposal: ProposalWithLateStories, file: SettingsFileContent) -> Iterator[BlockWithAuthors]:
    for block in _list_given_blocks(proposal, file):
        yield BlockWithAuthors(block, proposal.block_authors.get(block.id, ()))


def _list_removed(board: StoryBoard) -> list[RemovedStory]:
    """Return the removed stories, latest first."""
    removed_stories = []
    for story in board.list_in_state(StoryState.REMOVED):
        if removal := story.removal:
            place = (removal.edit, removal.section, removal.position)
            removed_stories.append(RemovedStory(story.scored, story.headline, *place, removal.replacement_url))
    return sorted(removed_stories, key=lambda removed: (-removed.edit.seq, removed.scored.url))


def _arrange_story(story: BoardStory, pictures: dict[str, ImageCrops]) -> ArrangedStory:
    """Convert a story on the board to an arranged story.

    If an editor changed its image, the image is added to `pictures`.
    """
    scored = story.scored_by_editor
    if story.picture:
        scored = _with_image(scored, story.picture, pictures)
    written = story.current_texts()
    return ArrangedStory(
        placed=PlacedStory(scored, story.related, is_chosen=story.is_chosen),
        original=story.scored,
        texts={name: text.text or "" for name, text in written.items()},
        text_edits={name: text.seq for name, text in written.items()},
        note=story.note,
        pinned=story.pinned_at is not None,
        picture=story.picture,
        supporting=tuple(_arrange_story(s, pictures) for s in story.supporting),
        edits=tuple(sorted(set(story.edits))),
    )


def _with_image(scored: ScoredStory, chosen: EditedImage, pictures: dict[str, ImageCrops]) -> ScoredStory:
    lead = scored.lead
    cuts = None if chosen.hidden else chosen.cuts or pictures.get(lead.image or "")
    image = None
    if cuts:
        image = f"{_CHOSEN_IMAGE}{lead.url}"
        pictures[image] = ImageCrops(_describe(cuts.lead, chosen), _describe(cuts.thumb, chosen))
    return replace(scored, story=replace(scored.story, lead=replace(lead, image=image)))


def _describe(picture: EditionImage, chosen: EditedImage) -> EditionImage:
    return replace(
        picture,
        alt=picture.alt if chosen.alt is None else chosen.alt,
        credit=picture.credit if chosen.credit is None else chosen.credit,
    )
