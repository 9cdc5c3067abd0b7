"""The cache of proposals that a process has read."""

import gc
from typing import cast

from digest.edition.editing.edit_log import LARGE_PROPOSAL, ProposalCache
from digest.edition.editing.stored_proposal import ProposalWithLateStories
from digest.select.selection_types import LeftOutStory, Proposal


def test_a_large_proposal_stands_aside_from_garbage_collection_and_a_small_one_leaves_it_alone() -> None:
    cache, before = ProposalCache(size=1), gc.get_freeze_count()
    large = ProposalWithLateStories(Proposal(left_out=(cast("LeftOutStory", None),) * LARGE_PROPOSAL))
    try:
        cache.keep("small", ProposalWithLateStories(Proposal()))
        assert gc.get_freeze_count() <= before, "of what stands aside, something may go meanwhile"
        cache.keep("large", large)
        assert gc.get_freeze_count() > before
        assert cache.find("large") is large
        assert cache.find("small") is None, "it made room"
    finally:
        gc.unfreeze()
        gc.freeze()  # what the session set aside at its beginning (`tests.conftest`) stands aside for the tests that follow
