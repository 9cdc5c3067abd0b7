"""The stored proposal of an edition: what selection proposed before the first edit, and what has come since.

Until an editor touches an edition, drafting again replaces its proposal. From the first edit on the proposal stays as it is, and
what a later draft finds is added to the tray: nothing comes into the edition unasked. All that the fold needs is in it, so an
edition is arranged again from it and its edits without grouping, network or clock.
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
    """A story that came after the first edit. `joins` is the URL of an article of an older story that it belongs to."""

    scored: ScoredStory
    arrived_at: datetime  # UTC
    joins: str = ""


@dataclass(frozen=True, slots=True)
class ProposalWithLateStories:
    """A proposal, and what has come since the first edit. `pictures` are by a candidate's `image`."""

    proposal: Proposal
    tray: tuple[LateStory, ...] = ()
    pictures: dict[str, ImageCrops] = field(default_factory=dict)
    refused_pictures: tuple[str, ...] = ()  # by `image`, those that were asked for after the draft and could not be had
    blocks: tuple[LabeledBlock, ...] = ()  # that run on the day of the release, from earlier editions
    block_authors: dict[str, tuple[str, ...]] = field(default_factory=dict)  # who wrote them there, by a block's `id`
    is_breaking_news: bool = False  # it's complete with one story, and no sponsor's block runs in it

    def list_scored(self) -> Iterator[ScoredStory]:
        """Return every story: those proposed, those left out, those in the tray."""
        yield from _placed_stories(self.proposal)
        yield from (out.scored for out in self.proposal.left_out)
        yield from (new.scored for new in self.tray)


def add_late_stories(stored: ProposalWithLateStories, fresh: Proposal, arrived_at: datetime) -> ProposalWithLateStories:
    """Add to the tray what a later proposal has and this one has not; all that is there stays as it is.

    An article that joins a story which is there waits in the tray as well, and names the story.
    """
    known_urls = {a.url for scored in stored.list_scored() for a in scored.story.members}
    fresh_stories = list(_placed_stories(fresh))
    fresh_stories += [out.scored for out in fresh.left_out if out.admitted]
    new_stories = [_new_part(scored, known_urls, arrived_at) for scored in sorted(fresh_stories, key=make_ranking_key)]
    return replace(stored, tray=(*stored.tray, *(new for new in new_stories if new)))


def _placed_stories(proposal: Proposal) -> Iterator[ScoredStory]:
    """Yield the stories in the sections, each followed by those under it."""
    for placed in proposal.sections.values():
        for story in placed:
            yield story.scored
            yield from story.supporting


def _new_part(scored: ScoredStory, known_urls: set[str], arrived_at: datetime) -> LateStory | None:
    """Return what is new of a story, None where nothing is."""
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
    """A proposal as it is stored: `hash` is the SHA-256 of its JSON in hex, `body` the JSON compressed by zlib."""

    hash: str
    body: bytes


def pack_proposal(proposal: ProposalWithLateStories) -> PackedProposal:
    """Return the stored form; equal proposals give equal bytes on one machine."""
    plain = _GROWN_PROPOSAL.dump_json(proposal)
    return PackedProposal(hashlib.sha256(plain).hexdigest(), zlib.compress(plain))


def unpack_proposal(packed: PackedProposal) -> ProposalWithLateStories | None:
    """Read the stored form back; None if the hash isn't its own."""
    try:
        plain = zlib.decompress(packed.body)
    except zlib.error:
        return None
    return _GROWN_PROPOSAL.validate_json(plain) if hashlib.sha256(plain).hexdigest() == packed.hash else None
