"""The stories of an edition while edits are being applied: their places, and the effects of edits.

A board is used once. An edit that can't be applied has no effect, and the reason is returned.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from operator import itemgetter

from digest.edition.content.edition_content import LabeledBlock
from digest.edition.editing.board_story import (
    WRITTEN_CHANGES,
    BoardStory,
    StoryRemoval,
    StoryState,
    apply_block_edit,
    apply_edition_text,
    apply_story_text,
)
from digest.edition.editing.edit_values import read_added_article, read_split_stories
from digest.edition.editing.edits import EDITION_TARGET, Edit, EditKind
from digest.edition.editing.stored_proposal import ProposalWithLateStories
from digest.edition.kinds import SECTION_KINDS
from digest.select.section_filler import is_topic_full
from digest.select.selection_types import CandidateArticle, ScoredStory, Story
from digest.select.stories import build_story_with_lead
from digest.select.story_links import StoryGroupingDecision
from digest.settings import SectionSettings

_NO_STORY = "the article isn't in any of this edition's stories"


class StoryBoard:
    """All stories of an edition, by place and by article URL, with the edition's texts and blocks."""

    def __init__(
        self, proposal: ProposalWithLateStories, sections: Sequence[SectionSettings], blocks: Sequence[LabeledBlock]
    ) -> None:
        """Place the stories as proposed.

        Those whose section isn't in the settings anymore are left out.
        """
        self.settings = {s.key: s for s in sections}
        self.sections: dict[str, list[BoardStory]] = {}
        for key in self.settings:
            self.sections[key] = []
        self.stories: list[BoardStory] = []
        self.texts: dict[str, str] = {}
        self.blocks = {block.id: block for block in blocks}
        self.links: list[StoryGroupingDecision] = []  # decisions from merges and splits, in order
        self.replacement_urls: dict[
            int, list[str]
        ] = {}  # URLs of the stories that replaced dropped ones, by the edit's number
        self._reserves = proposal.proposal.reserves
        self._by_url: dict[str, BoardStory] = {}
        self._canonical_urls: dict[str, str] = {}  # by link, as published
        self._story_names: dict[str, str] = {}  # the URL of a story's lead, by the URL of each of its articles
        self._place_proposal(proposal)

    def _place_proposal(self, proposal: ProposalWithLateStories) -> None:
        for key, placed in proposal.proposal.sections.items():
            for story in placed:
                board_story = BoardStory(story.scored, StoryState.LEFT_OUT, related=story.related)
                if key in self.sections:
                    self._insert(board_story, key, len(self.sections[key]))
                else:
                    board_story.reason = f"the section {key} is no longer in the settings"
                self._put_on_board(board_story)
                for scored in story.supporting:
                    self._place_supporting(scored, board_story)
        for out in proposal.proposal.left_out:
            self._put_on_board(BoardStory(out.scored, StoryState.LEFT_OUT, reason=out.reason, proposed=out))
        for new in proposal.tray:
            waiting = BoardStory(new.scored, StoryState.WAITING, arrived_at=new.arrived_at, joins=new.joins)
            self._put_on_board(waiting)
        self._settle_stories()

    def _place_supporting(self, scored: ScoredStory, main: BoardStory) -> None:
        """Place a supporting story under its main story, or leave it out if the main story was left out."""
        under = BoardStory(scored, StoryState.LEFT_OUT, reason=main.reason)
        if main.state is StoryState.PLACED:
            self._put_under(under, main)
        self._put_on_board(under)

    def _put_on_board(self, story: BoardStory) -> None:
        self.stories.append(story)
        self._index_articles(story)

    def _index_articles(self, story: BoardStory) -> None:
        for article in story.story.members:
            self._by_url[article.url] = story
            self._canonical_urls.setdefault(article.link, article.url)
            self._story_names[article.url] = story.lead.url

    def _set_articles(self, story: BoardStory, lead: CandidateArticle, others: Sequence[CandidateArticle]) -> None:
        """Replace a story's articles, including its lead."""
        story.scored = replace(story.scored, story=build_story_with_lead(lead, others))
        self._index_articles(story)

    def find_story(self, url: str) -> BoardStory | None:
        """Return the story that contains the article with a given canonical URL or link, or None."""
        canonical = self._canonical_urls.get(url, "")
        return self._by_url.get(url) or self._by_url.get(canonical)

    def name_stories(self) -> dict[str, str]:
        """Map each article's URL to the URL of its story's lead."""
        return dict(self._story_names)

    def _find_stories(self, urls: Iterable[str]) -> list[BoardStory]:
        """Return the distinct stories that contain any of the given articles, in the order of the articles."""
        stories = dict.fromkeys(map(self.find_story, urls))
        return [story for story in stories if story]

    def list_in_state(self, state: StoryState) -> list[BoardStory]:
        """Return the stories that are in a given state."""
        return [story for story in self.stories if story.state is state]

    def apply_edit(self, edit: Edit) -> str:
        """Apply an edit that's in effect. Return why it changes nothing, or "" if it changes something."""
        if change := _STORY_CHANGES.get(edit.kind):
            reason = self._change_story(partial(change, self), edit)
        elif write := WRITTEN_CHANGES.get(edit.kind):
            reason = self._change_story(write, edit)
        elif apply := _APPLIED_KINDS.get(edit.kind):
            reason = apply(self, edit)
        else:
            reason = "this version of the program doesn't support this change"
        self._settle_stories()
        return reason

    def _change_story(self, change: Callable[[BoardStory, Edit], str], edit: Edit) -> str:
        """Change the story that an edit targets, and record the edit in the story."""
        story = self.find_story(edit.target)
        if story is None:
            return _NO_STORY
        reason = change(story, edit)
        if not reason:
            story.edits.append(edit.seq)
        return reason

    def _settle_stories(self) -> None:
        """Move pinned stories back to their positions after other stories have moved, and group those that are by topic."""
        for key, stories in self.sections.items():
            pinned = [(story.pinned_at, story) for story in stories if story.pinned_at is not None]
            settled = [story for story in stories if story.pinned_at is None]
            for position, story in sorted(pinned, key=itemgetter(0)):
                settled.insert(position, story)
            if self._is_grouped_by_topic(key):
                topics = [story.topic_slug for story in settled]
                order = sorted(range(len(settled)), key=lambda place: topics.index(topics[place]))
                settled = [settled[place] for place in order]
            stories[:] = settled

    def _is_grouped_by_topic(self, section: str) -> bool:
        return SECTION_KINDS[self.settings[section].kind].is_grouped_by_topic

    # --- places of stories ---

    def place_stories(self, edit: Edit) -> str:
        """Place stories in a section: after a given story, at a position, or at the end.

        Editors chose a story if they made it the edition's lead, or added it though it wasn't next in
        line. Like all methods that take an edit, return why it has no effect, or "".
        """
        section, stories = edit.text("section"), self._find_stories(edit.targets)
        if not stories:
            return _NO_STORY
        if section not in self.sections:
            return f"section {section} doesn't exist"
        before = {key: list(placed) for key, placed in self.sections.items()}
        next_up = self.find_next(section)
        for story in stories:
            is_added = story.state in {StoryState.WAITING, StoryState.LEFT_OUT}
            story.is_chosen |= is_added and story is not next_up
            self._take_away(story)
        first = self._wanted_position(edit, section)
        for position, story in enumerate(stories, first):
            self._insert(story, section, position)
        if len(stories) == 1 and stories[0] in before[section] and self._is_grouped_by_topic(section):
            self._move_topic(stories[0], before[section])
        self._settle_stories()
        blocking = self.sections[section][first]
        if self.sections == before and blocking not in stories and blocking.pinned_at is not None:
            return f"No. {first + 1} of {self.settings[section].title} is pinned"
        lead = self.sections[section][0]
        lead.is_chosen |= self._leads_edition(section) and lead in stories and lead not in before[section][:1]
        for story in stories:
            story.edits.append(edit.seq)
        return ""

    def _leads_edition(self, section: str) -> bool:
        return SECTION_KINDS[self.settings[section].kind].leads_edition

    def _move_topic(self, moved: BoardStory, before: Sequence[BoardStory]) -> None:
        """Move a story's topic past those that the story was moved past, at least in part."""
        placed = self.sections[moved.section]
        is_up = placed.index(moved) < before.index(moved)
        places = {story.topic_slug: place for place, story in sorted(enumerate(placed), reverse=not is_up)}
        places[moved.topic_slug] = placed.index(moved)
        placed.sort(key=lambda story: places[story.topic_slug])

    def drop_stories(self, edit: Edit) -> str:
        """Remove stories, or keep them for the next edition.

        In sections sorted by page views, each of them is replaced.
        """
        stories = self._find_stories(edit.targets)
        present = [story for story in stories if not story.removal]
        removed = [story for story in stories if story.removal and edit.keeps_for_next and not story.is_kept]
        # Stories outside of sections are removed first, so that they don't become replacements.
        for story in sorted(present, key=lambda story: bool(story.section)):
            self._drop_story(story, edit)
        for story in removed:
            story.keep_for_next_edition(edit)
        return "" if present or removed else f"the story was already {'kept' if edit.keeps_for_next else 'removed'}"

    def _drop_story(self, story: BoardStory, edit: Edit) -> None:
        section, state, main = story.section, story.state, story.main
        position = self._position_of(story)
        following = self.find_next(section) if section and not self._is_placed_by_hand(section) else None
        self._take_away(story)
        story.state = StoryState.REMOVED
        story.edits.append(edit.seq)
        story.removal = StoryRemoval(edit, section, position, state, main, following.url if following else "")
        if following:
            self._insert(following, section, len(self.sections[section]))
            self.replacement_urls.setdefault(edit.seq, []).append(following.url)

    def restore_story(self, story: BoardStory, _edit: Edit) -> str:
        """Restore a removed story to its place.

        The story that replaced it is removed unless an editor has changed it.
        """
        if story.state is not StoryState.REMOVED or story.removal is None:
            return "the story wasn't removed"
        removal, story.removal = story.removal, None
        replacement = self.find_story(removal.replacement_url)
        if replacement and replacement.section == removal.section and not replacement.edits:
            self._take_away(replacement)
            replacement.state = StoryState.LEFT_OUT
        if removal.section:
            self._insert(story, removal.section, removal.position)
        elif removal.main and removal.main in self.stories:
            self._put_under(story, removal.main.main or removal.main)
        elif removal.main:
            story.state, story.reason = StoryState.LEFT_OUT, "the story that it was under is gone"
        else:
            story.state = removal.state
        return ""

    def pin_story(self, story: BoardStory, edit: Edit) -> str:
        """Pin a placed story at a position in its section, or unpin it.

        The position defaults to the current one.
        """
        if story.state is not StoryState.PLACED:
            return "the story isn't in a section"
        if edit.flag("pinned", default=True):
            new_position = edit.number("position")
            story.pinned_at = self._position_of(story) if new_position is None else max(0, new_position)
        else:
            story.pinned_at = None
        return ""

    def support_story(self, edit: Edit) -> str:
        """Put stories under another story, together with their own supporting stories."""
        stories, main = self._find_stories(edit.targets), self.find_story(edit.text("main"))
        if not stories or main is None:
            return _NO_STORY
        main = main.main or main
        if stories == [main]:
            return "a story can't be under itself"
        if main.state is not StoryState.PLACED:
            return f"“{main.lead.title}” isn't in a section"
        moved_stories = chain.from_iterable((story, *story.supporting) for story in stories if story is not main)
        for moved_story in dict.fromkeys(moved_stories):
            self._take_away(moved_story)
            self._put_under(moved_story, main)
            moved_story.edits.append(edit.seq)
        main.edits.append(edit.seq)
        return ""

    def _put_under(self, story: BoardStory, main: BoardStory) -> None:
        story.state, story.main, story.removal = StoryState.SUPPORTING, main, None
        main.supporting.append(story)

    def _wanted_position(self, edit: Edit, section: str) -> int:
        stories, after = self.sections[section], edit.value.get("after")
        if after == "":
            return 0
        anchor = self.find_story(after) if isinstance(after, str) else None
        if anchor is not None and anchor in stories:
            return stories.index(anchor) + 1
        position = edit.number("position")
        return len(stories) if position is None else min(max(0, position), len(stories))

    def is_first(self, story: BoardStory) -> bool:
        """Return True if a story is the first in its section."""
        return bool(story.section) and self.sections[story.section][0] is story

    def _position_of(self, story: BoardStory) -> int:
        return self.sections[story.section].index(story) if story.section else 0

    def _insert(self, story: BoardStory, section: str, position: int) -> None:
        self.sections[section].insert(position, story)
        story.state, story.section, story.removal = StoryState.PLACED, section, None

    def _take_away(self, story: BoardStory) -> None:
        """Remove a story from its place and unpin it. Its supporting stories stay with it."""
        if story.section:
            self.sections[story.section].remove(story)
        if story.main:
            story.main.supporting.remove(story)
        story.section, story.main, story.pinned_at = "", None, None

    def find_next(self, section: str) -> BoardStory | None:
        """Return the story that would fill a section's next place, or None if there's none or the section is full.

        It's the best reserve that no editor has changed and whose topic has room.
        """
        settings, placed = self.settings[section], self.sections[section]
        if self._is_placed_by_hand(section) and len(placed) >= settings.most:
            return None
        scored_stories = [story.scored_by_editor for story in placed]
        limits_topics = SECTION_KINDS[settings.kind].limits_topics
        for story in map(self.find_story, self._reserves.get(section, ())):
            if not story or story.state is not StoryState.LEFT_OUT or story.edits:
                continue
            if not (limits_topics and is_topic_full(scored_stories, story.scored)):
                return story
        return None

    def _is_placed_by_hand(self, section: str) -> bool:
        return SECTION_KINDS[self.settings[section].kind].is_placed_by_hand

    # --- articles of stories ---

    def lead_story(self, edit: Edit) -> str:
        """Make another article of a story its lead."""
        url = edit.text("article")
        story = self.find_story(edit.target)
        if story is None or self.find_story(url) is not story:
            return "the article isn't in the story"
        members = story.story.members
        lead = next(article for article in members if url in {article.url, article.link})
        self._set_articles(story, lead, [article for article in members if article is not lead])
        story.edits.append(edit.seq)
        return ""

    def merge_stories(self, story: BoardStory, edit: Edit) -> str:
        """Move all articles of other stories into a story, and remove those stories."""
        others = [other for other in self._find_stories(edit.texts("others")) if other is not story]
        if not others:
            return "there's no other story to merge with"
        for other in others:
            self._absorb(story, other)
        self.links.append(StoryGroupingDecision(frozenset(a.url for a in story.story.members)))
        return ""

    def _absorb(self, story: BoardStory, other: BoardStory) -> None:
        """Move another story's articles and supporting stories into a story.

        If the story has no place, it also takes the other's place.
        """
        if story.main is other:
            self._take_away(story)
            story.state = StoryState.LEFT_OUT
        section, position = other.section, self._position_of(other)
        self._take_away(other)
        if section and story.state not in {StoryState.PLACED, StoryState.SUPPORTING}:
            self._insert(story, section, position)
        for supporting in list(other.supporting):
            self._take_away(supporting)
            self._put_under(supporting, story.main or story)
        self.stories.remove(other)
        first, *members = story.story.members
        self._set_articles(story, first, [*members, *other.story.members])
        story.texts += [replace(t, depth=t.depth + 1) for t in other.texts]
        story.edits += other.edits

    def keep_apart(self, edit: Edit) -> str:
        """Record that other stories aren't the same news as a story. The stories don't change."""
        story = self.find_story(edit.target)
        others = [other for other in self._find_stories(edit.texts("others")) if other is not story]
        if story is None or not others:
            return "there aren't two stories anymore"
        for other in others:
            urls, other_urls = (frozenset(article.url for article in each.story.members) for each in (story, other))
            self.links.append(StoryGroupingDecision(urls, other_urls))
        return ""

    def split_story(self, story: BoardStory, edit: Edit) -> str:
        """Move some articles of a story into new stories.

        Each new story is led by its first article, and left out until it's placed.
        """
        members = story.story.members
        groups = [[a for a in members if urls & {a.url, a.link}] for urls in read_split_stories(edit)]
        split_articles = list(chain.from_iterable(groups))
        remaining = [a for a in members if a not in split_articles]
        if not split_articles or not remaining:
            return "each story needs at least one article"
        title = story.lead.title
        for group in filter(None, groups):
            urls = frozenset(article.url for article in group)
            others = frozenset(article.url for article in members) - urls
            self.links.append(StoryGroupingDecision(urls, others, is_split=True))
            self._put_on_board(
                BoardStory(
                    replace(story.scored, story=build_story_with_lead(group[0], group[1:])),
                    StoryState.LEFT_OUT,
                    reason=f"an editor split it off from “{title}”",
                    related=story.related,
                    texts=story.take_texts(group),
                    edits=[edit.seq],
                )
            )
        self._set_articles(story, remaining[0], remaining[1:])
        return ""

    def add_story(self, edit: Edit) -> str:
        """Add a story without a source to the section named by the edit, if any.

        It's placed at the edit's position or at the end.
        """
        if self.find_story(edit.target) is not None:
            return "the article is already in one of the edition's stories"
        article = read_added_article(edit)
        if article is None:
            return "the story can't be read"
        story = BoardStory(
            ScoredStory(Story(article), 0.0, (), edit.text("topic") or None),
            StoryState.LEFT_OUT,
            reason="an editor added it without a section",
            is_chosen=True,
            edits=[edit.seq],
        )
        self._put_on_board(story)
        if (section := edit.text("section")) in self.sections:
            self._insert(story, section, self._wanted_position(edit, section))
        return ""

    # --- texts (see `board_story`) ---

    def write_text(self, edit: Edit) -> str:
        """Set a text of a story or of the edition, or restore the original if the edit has no text."""
        if edit.target == EDITION_TARGET:
            return apply_edition_text(self.texts, edit)
        return self._change_story(apply_story_text, edit)

    def write_block(self, edit: Edit) -> str:
        """Set a labeled block, or remove it from this edition."""
        return apply_block_edit(self.blocks, edit)


# Edits with one target story come first, then edits that find their targets themselves.
_STORY_CHANGES: Mapping[str, Callable[[StoryBoard, BoardStory, Edit], str]] = {
    EditKind.RESTORE: StoryBoard.restore_story,
    EditKind.PIN: StoryBoard.pin_story,
    EditKind.MERGE: StoryBoard.merge_stories,
    EditKind.SPLIT: StoryBoard.split_story,
}
_APPLIED_KINDS: Mapping[str, Callable[[StoryBoard, Edit], str]] = {
    EditKind.PLACE: StoryBoard.place_stories,
    EditKind.DROP: StoryBoard.drop_stories,
    EditKind.LEAD: StoryBoard.lead_story,
    EditKind.APART: StoryBoard.keep_apart,
    EditKind.UNDER: StoryBoard.support_story,
    EditKind.TEXT: StoryBoard.write_text,
    EditKind.ADD: StoryBoard.add_story,
    EditKind.BLOCK: StoryBoard.write_block,
}
