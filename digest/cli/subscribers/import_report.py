"""The lines that say what an import did, or would do."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from subscribers.transfer.decisions import RowOutcome
from subscribers.transfer.import_report import ROW_FLAGS, ImportReport
from subscribers.transfer.imports import UnfinishedImport

_OUTCOME_TEXTS = {
    RowOutcome.SUBSCRIBED: ("subscribed", "may be mailed from the next edition on"),
    RowOutcome.UNVERIFIED: ("unverified", "the file shows no consent: not mailed until they confirm"),
    RowOutcome.KNOWN: ("known already", "nothing changes"),
    RowOutcome.LEFT_OR_SUPPRESSED: (
        "left or suppressed",
        "they left, bounced, complained or were erased: nothing changes",
    ),
    RowOutcome.DEPARTED: ("departures", "the file says that they left or cannot be reached: kept away from now on"),
    RowOutcome.DUPLICATE: ("duplicates", "the address stands in an earlier row"),
    RowOutcome.REJECTED: ("rejected", ""),
    RowOutcome.BLANK: ("blank rows", ""),
}


def describe_import(
    report: ImportReport, *, committed: bool, rejected_file: Path | None, other_unfinished: Sequence[UnfinishedImport]
) -> Iterator[str]:
    """Give the lines: the file, the counts, the first problems, and how to go on."""
    survey = report.survey
    yield f"{survey.path.name}: {survey.layout.origin}, {survey.rows:,} rows, {survey.encoding}."
    yield from survey.warnings
    if report.already_imported and report.started_at is not None:
        yield f"This very file came in before, as import {report.batch} on {report.started_at:%Y-%m-%d %H:%M} UTC:"
    for outcome, (words, meaning) in _OUTCOME_TEXTS.items():
        if report.counts[outcome]:
            yield f"  {words:20}{report.counts[outcome]:>11,}  {meaning}".rstrip()
    flags = [f"{report.counts[flag]:,} {flag}" for flag in ROW_FLAGS if report.counts[flag]]
    if flags:
        yield f"Look twice at: {'; '.join(flags)} (docs/importing.md says why)."
    if report.problems:
        yield "The first problems:"
        yield from (f"  row {number}: {reason}" for number, reason in report.problems)
    if rejected_file is not None:
        yield f"The rejected rows stand in {rejected_file}, each with its reason."
    yield from (other.sentence for other in other_unfinished)
    yield from _next_step(report, committed=committed)


def _next_step(report: ImportReport, *, committed: bool) -> Iterator[str]:
    if report.already_imported:
        yield "Nothing was done again."
    elif committed:
        yield f"Done: import {report.batch}."
    else:
        yield "Nothing was written. To do it, run the same command with --commit."
