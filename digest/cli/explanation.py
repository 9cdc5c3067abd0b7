"""A proposal in words: every story with each term and their sum, and why the first of the rest were left out."""

from collections.abc import Iterator

from digest.select.values import Proposal, ScoredStory

MAX_LEFT_OUT_SHOWN = 20


def explain_proposal(proposal: Proposal) -> str:
    """Write the whole explanation as text, ready to print."""
    return "\n".join(_explanation_lines(proposal))


def _explanation_lines(proposal: Proposal) -> Iterator[str]:
    for section, placed in proposal.sections.items():
        if not placed:
            continue
        yield f"{section.upper()}"
        for place, p in enumerate(placed, 1):
            yield f"{place:3}. {p.scored.story.lead.title}"
            yield from _story_lines(p.scored)
        yield ""
    if proposal.left_out:
        yield f"LEFT OUT (the first {min(MAX_LEFT_OUT_SHOWN, len(proposal.left_out))} of {len(proposal.left_out)})"
    for out in proposal.left_out[:MAX_LEFT_OUT_SHOWN]:
        yield f"   - {out.scored.story.lead.title}"
        yield f"     why: {out.reason}"
        yield from _story_lines(out.scored)


def _story_lines(scored: ScoredStory) -> Iterator[str]:
    story = scored.story
    others = sorted(story.publishers - {story.lead.publisher})
    yield f"     {story.lead.publisher}" + (f"; also {', '.join(others)}" if others else "")
    for term in scored.terms:
        yield f"     {term.points:+8.2f}  {term.name}: {term.note}"
    yield f"     {scored.score:8.2f}  sum"
