"""Why a story leads, as one would say it."""

from digest.select.ranking import MOST_READ
from digest.select.values import Scored, TermName

_NUMBERS = (
    "no",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
)


def spelled(number: int) -> str:
    """Write a number out to twelve, in figures above."""
    return _NUMBERS[number] if 0 <= number < len(_NUMBERS) else f"{number:,}"


def why_it_leads(scored: Scored) -> str:
    """Say honestly in one sentence, without capital and full stop, what put a story where it is.

    It names only what the score's terms hold: an editor's word, who reported it, how it was read, what it is about.
    """
    parts = [p for p in (_editors(scored), _reported(scored), _read(scored)) if p]
    if len(parts) > 1 or len(scored.story.publishers) > 1:
        return _joined(parts)
    return _joined([*parts, *_about(scored)])


def _joined(parts: list[str]) -> str:
    head, last = parts[:-1], parts[-1]
    return f"{', '.join(head)}, and {last}" if head else last


def _note(scored: Scored, name: TermName) -> str:
    return next((t.note for t in scored.terms if t.name is name and t.points > 0), "")


def _editors(scored: Scored) -> str:
    note = _note(scored, TermName.EDITORIAL)
    if note.startswith("pinned"):
        return "our editors chose it"
    return "our editors featured it" if note.startswith("featured") else ""


def _reported(scored: Scored) -> str:
    story = scored.story
    others = len(story.publishers) - 1
    official = any(a.primary for a in story.members)
    if not others:
        return (
            f"it comes from an official source, {story.lead.publisher}"
            if official
            else f"{story.lead.publisher} reported it"
        )
    if official:
        return f"an official source and {spelled(others)} other{'s' if others > 1 else ''} reported it"
    return f"{spelled(others + 1)} publishers carried it"


def _read(scored: Scored) -> str:
    return "readers opened it more than any other" if _note(scored, TermName.READERSHIP) == MOST_READ else ""


def _about(scored: Scored) -> list[str]:
    return [f"it is about {scored.topic[0].lower()}{scored.topic[1:]}"] if scored.topic else []
