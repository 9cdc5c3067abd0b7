"""The stored proposal of an edition: the result of selection before the first edit, and later stories.

Until an editor changes an edition, drafting again replaces its proposal. After the first edit, the
proposal is kept and stories from later drafts go to the tray, so that the edition doesn't change on
its own. The stored proposal contains everything that's needed to apply edits, so an edition can be
arranged again without grouping, network access, or the clock.
"""

import hashlib
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime

from pydantic import TypeAdapter

from digest.edition.content.edition_content import ImageCrops, LabeledBlock
from digest.select.ranking import make_ranking_key
from digest.select.selection_types import Proposal, ScoredStory, Story
from digest.select.stories import build_story_with_lead


@dataclass(frozen=True, slots=True)
class LateStory:
    """A story that arrived after the first edit.

    `joins` is the URL of an article in the existing story that it belongs to, or empty.
    """

    scored: ScoredStory
    arrived_at: datetime  # UTC
    joins: str = ""


@dataclass(frozen=True, slots=True)
class ProposalWithLateStories:
    """A proposal, and the stories that arrived after the first edit.

    `pictures` is keyed by a candidate's `image`.
    """

    proposal: Proposal
    tray: tuple[LateStory, ...] = ()
    pictures: dict[str, ImageCrops] = field(default_factory=dict)
    # The `image` of candidates whose image was requested after drafting but couldn't be fetched.
    refused_pictures: tuple[str, ...] = ()
    blocks: tuple[LabeledBlock, ...] = ()  # from earlier editions, running on the day of the release
    block_authors: dict[str, tuple[str, ...]] = field(default_factory=dict)  # in those editions, by the block's `id`
    is_breaking_news: bool = False  # if so, one story is enough, and there's no sponsor's block

    def list_scored(self) -> Iterator[ScoredStory]:
        """Yield all stories: proposed, left out, and in the tray."""
        yield from _placed_stories(self.proposal)
        yield from (out.scored for out in self.proposal.left_out)
        yield from (new.scored for new in self.tray)


def add_late_stories(stored: ProposalWithLateStories, fresh: Proposal, arrived_at: datetime) -> ProposalWithLateStories:
    """Return a stored proposal with the new stories of a later proposal added to its tray.

    New articles of an existing story also wait in the tray, with a reference to the story.
    """
    known_urls = {a.url for scored in stored.list_scored() for a in scored.story.members}
    fresh_stories = list(_placed_stories(fresh))
    fresh_stories += [out.scored for out in fresh.left_out if out.admitted]
    new_stories = [_new_part(scored, known_urls, arrived_at) for scored in sorted(fresh_stories, key=make_ranking_key)]
    return replace(stored, tray=(*stored.tray, *(new for new in new_stories if new)))


def _placed_stories(proposal: Proposal) -> Iterator[ScoredStory]:
    """Yield the stories in the sections, each followed by its supporting stories."""
    for placed in proposal.sections.values():
        for story in placed:
            yield story.scored
            yield from story.supporting


def _new_part(scored: ScoredStory, known_urls: set[str], arrived_at: datetime) -> LateStory | None:
    """Return the new articles of a story as a late story, or None if there are none."""
    fresh = [a for a in scored.story.members if a.url not in known_urls]
    if not fresh:
        return None
    if len(fresh) == len(scored.story.members):
        return LateStory(scored, arrived_at)
    joined = next(a.url for a in scored.story.members if a.url in known_urls)
    part: Story = build_story_with_lead(fresh[0], fresh[1:])
    return LateStory(replace(scored, story=part), arrived_at, joined)


_GROWN_PROPOSAL = TypeAdapter(ProposalWithLateStories)


@dataclass(frozen=True, slots=True)
class PackedProposal:
    """A proposal in its stored form.

    `hash` is the SHA-256 of its JSON in hex, and `body` is the JSON compressed by zlib.
    """

    hash: str
    body: bytes


def pack_proposal(proposal: ProposalWithLateStories) -> PackedProposal:
    """Return the stored form of a proposal. On one machine, equal proposals result in equal bytes."""
    plain = _GROWN_PROPOSAL.dump_json(proposal)
    return PackedProposal(hashlib.sha256(plain).hexdigest(), zlib.compress(plain))


def unpack_proposal(packed: PackedProposal) -> ProposalWithLateStories | None:
    """Return the proposal in a stored form, or None if the hash doesn't match."""
    try:
        plain = zlib.decompress(packed.body)
    except zlib.error:
        return None
    return _GROWN_PROPOSAL.validate_json(plain) if hashlib.sha256(plain).hexdigest() == packed.hash else None
