"""A choice in words: every story with each term and their sum, and why the first of the rest were left out."""

from collections.abc import Iterator

from digest.select.values import Choice, Scored

LEFT_OUT_SHOWN = 20


def explanation(choice: Choice) -> str:
    """Write the whole explanation as text, ready to print."""
    return "\n".join(_lines(choice))


def _lines(choice: Choice) -> Iterator[str]:
    for section, placed in choice.sections.items():
        if not placed:
            continue
        yield f"{section.upper()}"
        for place, p in enumerate(placed, 1):
            yield f"{place:3}. {p.scored.story.lead.title}"
            yield from _story(p.scored)
        yield ""
    if choice.left_out:
        yield f"LEFT OUT (the first {min(LEFT_OUT_SHOWN, len(choice.left_out))} of {len(choice.left_out)})"
    for out in choice.left_out[:LEFT_OUT_SHOWN]:
        yield f"   - {out.scored.story.lead.title}"
        yield f"     why: {out.reason}"
        yield from _story(out.scored)


def _story(scored: Scored) -> Iterator[str]:
    story = scored.story
    others = sorted(story.publishers - {story.lead.publisher})
    yield f"     {story.lead.publisher}" + (f"; also {', '.join(others)}" if others else "")
    for term in scored.terms:
        yield f"     {term.points:+8.2f}  {term.name}: {term.note}"
    yield f"     {scored.score:8.2f}  sum"
