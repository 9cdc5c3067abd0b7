"""What an import did, or would do, in words."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from subscribers.transfer.deciding import Outcome
from subscribers.transfer.importing import Unfinished
from subscribers.transfer.report import MARKS, Report

_WORDS = {
    Outcome.SUBSCRIBED: ("subscribed", "may be mailed from the next edition on"),
    Outcome.UNVERIFIED: ("unverified", "the file shows no consent: not mailed until they confirm"),
    Outcome.KNOWN: ("known already", "nothing changes"),
    Outcome.GONE: ("left or suppressed", "they left, bounced, complained or were erased: nothing changes"),
    Outcome.DEPARTED: (
        "departures",
        "the file says that they left or cannot be reached: kept away from now on",
    ),
    Outcome.DUPLICATE: ("duplicates", "the address stands in an earlier row"),
    Outcome.REJECTED: ("rejected", ""),
    Outcome.BLANK: ("blank rows", ""),
}


def in_words(
    report: Report, *, committed: bool, rejected: Path | None, others: Sequence[Unfinished]
) -> Iterator[str]:
    """Give the lines: the file, the counts, the first problems, and how to go on."""
    found = report.survey
    yield f"{found.path.name}: {found.layout.origin}, {found.rows:,} rows, {found.encoding}."
    yield from found.warnings
    if report.repeated and report.started_at is not None:
        yield f"This very file came in before, as import {report.batch} on {report.started_at:%Y-%m-%d %H:%M} UTC:"
    for outcome, (words, meaning) in _WORDS.items():
        if report.counts[outcome]:
            yield f"  {words:20}{report.counts[outcome]:>11,}  {meaning}".rstrip()
    marks = [f"{report.counts[mark]:,} {mark}" for mark in MARKS if report.counts[mark]]
    if marks:
        yield f"Look twice at: {'; '.join(marks)} (docs/importing.md says why)."
    if report.problems:
        yield "The first problems:"
        yield from (f"  row {number}: {reason}" for number, reason in report.problems)
    if rejected is not None:
        yield f"The rejected rows stand in {rejected}, each with its reason."
    for one in others:
        yield one.sentence
    yield from _next(report, committed=committed)


def _next(report: Report, *, committed: bool) -> Iterator[str]:
    if report.repeated:
        yield "Nothing was done again."
    elif committed:
        yield f"Done: import {report.batch}."
    else:
        yield "Nothing was written. To do it, run the same command with --commit."
