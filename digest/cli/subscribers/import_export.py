"""Lists that come and go: `digest subscribers import`, `export`, `ask` and `pull`."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from digest.app.subscribers import lists, silent_readers
from digest.app.subscribers.silent_readers import MOST_YEARS
from digest.cli.context import (
    EXISTING_FILE,
    FILE_PATH,
    CommandContext,
    check_reason,
    flag,
    json_option,
    pass_command_context,
    print_lines,
    yes_option,
)
from digest.cli.lazy_group import CommandRefusedError
from digest.cli.terminal import show_progress
from digest.deliver.providers.kind import ProviderSettingsError
from subscribers.transfer.decisions import RowOutcome, RowReason
from subscribers.transfer.exports import ExportRecipient
from subscribers.transfer.formats import DEPARTURE_STATUSES, RowStatus
from subscribers.transfer.import_report import MAX_PROBLEMS, ROW_FLAGS, ImportReport
from subscribers.transfer.imports import UnfinishedImport
from subscribers.transfer.list_file import ListFileError
from subscribers.transfer.options import ImportOptions


def print_unfinished_imports(context: CommandContext, *, as_json: bool) -> None:
    """Print which imports were not finished, with how many people each."""
    unfinished = context.act(lists.list_unfinished_imports, now=context.now())
    if as_json:
        rows = [
            {
                "batch": batch.batch,
                "origin": batch.origin,
                "begun": batch.started_at.isoformat(timespec="seconds"),
                "file_hash": batch.file_hash,
                "people": people,
            }
            for batch, people in unfinished
        ]
        click.echo(json.dumps(rows))
        return
    for batch, people in unfinished:
        click.echo(f"{batch.sentence} People in it: {people:,}.")
    if not unfinished:
        click.echo("Every import was finished.")


def abandon_import(context: CommandContext, batch: int, *, confirmed: bool) -> None:
    """Drop an import that was not finished, once somebody has confirmed it.

    Raises:
        UnknownImportError: there is no such import, or it was finished.
    """
    now = context.now()
    people = context.act(lists.count_unfinished_import, batch, now=now)
    if not confirmed:
        click.confirm(
            f"Import {batch} brought {people:,} people so far; nobody of them is mailed. Drop it?", abort=True
        )
    result = context.act(lists.abandon_import, batch, now=now)
    click.echo(f"Dropped: import {batch}, {result.removed:,} people.")
    if result.kept:
        click.echo(f"{result.kept:,} were there before, or have acted since, and stand as if it had never been.")


@click.command(
    "import",
    epilog="""\b
Examples:
  digest subscribers import subscribed_members.csv                look at it first
  digest subscribers import subscribed_members.csv --commit       then do it
  digest subscribers import subscribed_members.csv --outcomes rows.csv      what every row would come to, and why
  digest subscribers import unsubscribed_members.csv --commit     those who left stay away
  digest subscribers import expo.csv --attest "signed paper list, Border Expo 2026" --commit
  digest subscribers import --list                                which were not finished?
  digest subscribers import --abandon 3                           drop one of them

\b
Exit codes:
  0  imported, looked at, listed or dropped
  1  the file cannot be read as a list, or there is no such import; nothing of it counts
  2  wrong use""",
)
@click.argument("file", required=False, type=EXISTING_FILE)
@flag("--commit", help="Do it. Without this, the file is only looked at.")
@click.option(
    "--attest",
    metavar="REASON",
    callback=check_reason,
    help="Vouch for the rows without evidence, in your name; each of these readers sees both.",
)
@click.option(
    "--these-are",
    "whole",
    type=click.Choice([str(claim) for claim in RowStatus if claim in DEPARTURE_STATUSES]),
    help="Every row of the file is a departure of this kind, whatever its columns say.",
)
@flag("--need-network", help="Believe a confirmation only where the network address that it came from is recorded.")
@flag("--leave-out-slips", help="Reject rows whose domain is most likely mistyped, such as gmial.com.")
@click.option(
    "--outcomes",
    type=FILE_PATH,
    help="Write what every row comes to, and why, to a new FILE as CSV: by its number, without the address.",
)
@flag("--list", "list_", help="Say which imports were not finished.")
@click.option("--abandon", type=int, metavar="IMPORT", help="Drop an import that was not finished.")
@yes_option("Do not ask before an import is dropped.")
@json_option("Print the counts, or the list, as JSON.")
@pass_command_context
def import_list(
    context: CommandContext,
    file: Path | None,
    list_: bool,
    abandon: int | None,
    yes: bool,
    commit: bool,
    attest: str | None,
    whole: str | None,
    need_network: bool,
    leave_out_slips: bool,
    outcomes: Path | None,
    as_json: bool,
) -> None:
    """Bring a list in: of Mailchimp, MailPoet, listmonk, Ghost, Substack, Buttondown, beehiiv, Kit, or any CSV with addresses.

    Only people whose confirmation the file records may be mailed afterwards. Nobody who left, bounced,
    complained or was erased comes back by an import.
    """
    if [file is not None, list_, abandon is not None].count(True) != 1:
        raise click.UsageError("give a FILE, or --list, or --abandon IMPORT.")
    if list_:
        print_unfinished_imports(context, as_json=as_json)
        return
    if file is None:
        assert abandon is not None
        abandon_import(context, abandon, confirmed=yes)
        return
    options = ImportOptions(attest, RowStatus(whole) if whole else None, need_network, leave_out_slips=leave_out_slips)
    report, rejected_file = _run_import(context, file, options, commit=commit, outcomes=outcomes)
    if as_json:
        click.echo(json.dumps(_import_as_json(report, rejected_file)))
        return
    unfinished = context.act(lists.list_unfinished_imports, now=context.now())
    others = [other for other, _people in unfinished if other.batch != report.batch]
    print_lines(describe_import(report, committed=commit, rejected_file=rejected_file, other_unfinished=others))


def _run_import(
    context: CommandContext, file: Path, options: ImportOptions, *, commit: bool, outcomes: Path | None
) -> tuple[ImportReport, Path | None]:
    """Import a file, or only count what that would do; name the file of its rejected rows."""
    now = context.now()
    if outcomes is not None and outcomes.exists():
        raise CommandRefusedError(f"{outcomes}: is there already. Name a file that does not exist yet.")
    # An import that is interrupted leaves it: the next run goes on with it.
    account = outcomes.with_name(f"{outcomes.name}.part") if outcomes is not None else None
    rejected_file = None
    try:
        with show_progress("Importing" if commit else "Looking") as progress:
            if commit:
                report, rejected_file = context.act(
                    lists.import_list, file, options, now=now, progress=progress, outcomes=account
                )
            else:
                report = context.act(lists.rehearse_import, file, options, now=now, progress=progress, outcomes=account)
    except ListFileError as exc:
        raise CommandRefusedError(f"{file.name}: {exc}") from exc
    except KeyboardInterrupt:
        raise CommandRefusedError(
            "Interrupted: nobody of this file is mailed yet. Run the same command again to go on."
        ) from None
    if outcomes is not None and account is not None:
        if report.already_imported:
            account.unlink()
        else:
            lists.write_row_outcomes(account, outcomes, _name_outcome)
    return report, rejected_file


def _name_outcome(reason: RowReason) -> str:
    """Return what a row comes to, in the words under which the report counts it."""
    return _OUTCOME_TEXTS[reason.outcome][0] if reason.outcome is not None else "not on record"


def _import_as_json(report: ImportReport, rejected_file: Path | None) -> dict[str, Any]:
    return {
        "origin": report.survey.layout.origin,
        "rows": report.survey.rows,
        "batch": report.batch,
        "repeated": report.already_imported,
        "counts": report.as_json(),
        "unknown_words": [{"column": c, "word": word, "rows": n} for (c, word), n in report.unknown_words.items()],
        "slips": [{"domain": domain, "meant": meant, "rows": n} for (domain, meant), n in report.slips.items()],
        "problems": [{"row": number, "reason": reason} for number, reason in report.problems],
        "warnings": list(report.survey.warnings),
        "rejected_file": str(rejected_file) if rejected_file else None,
    }


@click.command(
    epilog="""\b
Example:
  digest subscribers export list.csv --reason "moving to another provider" --to "Example Mail Ltd"

\b
Exit codes:
  0  written
  1  the file exists already, or cannot be written
  2  wrong use"""
)
@click.argument("file", type=FILE_PATH)
@click.option(
    "--reason", required=True, callback=check_reason, help="Why; every reader in the file sees it. No addresses."
)
@click.option(
    "--to",
    "to_whom",
    default="the people who run this list",
    show_default=True,
    callback=check_reason,
    help="Who gets the file; every reader in it sees this, too.",
)
@pass_command_context
def export(context: CommandContext, file: Path, reason: str, to_whom: str) -> None:
    """Write everyone who may be mailed to a CSV file that only you can read. Each of them sees that it happened."""
    with show_progress("Exporting") as progress:
        exported = context.act(
            lists.export_list, file, ExportRecipient(to_whom, reason), now=context.now(), progress=progress
        )
    click.echo(
        f"{exported.people:,} people written to {file}. It holds addresses in clear: delete it when it has served."
    )
    if exported.damaged:
        numbers = ", ".join(map(str, exported.damaged))
        click.echo(
            f"Left out, because their row is damaged: person {numbers}. See 'digest subscribers show'.", err=True
        )


DEFAULT_BATCH_SIZE = 500


@click.command(
    epilog="""\b
Examples:
  digest subscribers ask                 says how many could be asked, and asks you first
  digest subscribers ask --most 50 --yes
  digest subscribers ask --silent 3      readers who have done nothing for three years

\b
Exit codes:
  0  the questions are queued, or there is nobody to ask
  1  you said no
  2  wrong use"""
)
@click.option(
    "--most",
    default=DEFAULT_BATCH_SIZE,
    show_default=True,
    type=click.IntRange(1),
    help="How many people at most: a new sender does well to begin with few.",
)
@click.option(
    "--silent",
    "years",
    type=click.IntRange(1, MOST_YEARS),
    help="Ask readers instead who have done nothing for so many years: no consent, no choice, no move.",
)
@flag("--take-off", help="With --silent: who does not answer in 30 days is taken off the list.")
@yes_option("Do not ask before anybody is mailed.")
@json_option("Print the counts as JSON.")
@pass_command_context
def ask(context: CommandContext, most: int, years: int | None, take_off: bool, yes: bool, as_json: bool) -> None:
    """Ask those whom a list named without evidence whether they want the mail: each of them once, for ever.

    They answer with the button on the confirmation page. Who does not within seven days is emptied, and is never
    asked again. Who is not asked within 30 days of the import is emptied too.

    With --silent, readers of whom nothing was heard for long are asked whether they still want it: once, until they do
    something again. They stay on the list, whatever they answer, unless --take-off says otherwise; the mail then says so too.
    """
    if take_off and years is None:
        raise click.UsageError("--take-off belongs to --silent.")
    now = context.now()
    if years is None:
        candidates = context.act(lists.count_unverified_people, now=now)
    else:
        candidates = context.act(silent_readers.count_silent_readers, years, now=now)
    asked = 0
    if candidates:
        if not yes:
            fate = " Who does not answer in 30 days is taken off." if take_off else ""
            question = f"{candidates:,} people could be asked. Mail up to {most:,} of them?{fate}"
            click.confirm(question, abort=True, err=True)
        asked = (
            context.act(lists.ask_unverified_people, limit=most, now=now)
            if years is None
            else context.act(silent_readers.ask_silent_readers, years, takes_off=take_off, limit=most, now=now)
        )
    if as_json:
        click.echo(json.dumps({"could": candidates, "asked": asked}))
    elif candidates:
        click.echo(f"{asked:,} questions are queued; 'digest serve' or 'hls-scheduler' hands them over.")
    else:
        click.echo("There is nobody to ask.")


@click.command(
    epilog="""\b
Examples:
  digest subscribers pull
  digest subscribers pull --all        after an outage of the webhook, or into a restored copy
  digest subscribers pull --json

\b
Exit codes:
  0  every list was read whole
  1  a list could not be read, or not whole; the line says why, and the next run goes on
  2  wrong use"""
)
@flag("--all", "whole", help="Read the lists from their beginning, not since last time.")
@json_option("Print what it came to as JSON.")
@pass_command_context
def pull(context: CommandContext, whole: bool, as_json: bool) -> None:
    """Take over whom the provider will not deliver to any more. The timetable does it every night.

    Bounces, invalid addresses, complaints and departures on its lists are applied to the people here; nobody
    comes back by it. Addresses that are not on our list are counted and dropped.
    """
    try:
        result = context.act(lists.pull_suppressions, from_beginning=whole, now=context.now())
    except ProviderSettingsError as exc:
        raise CommandRefusedError(f"Not read: {exc}") from exc
    if as_json:
        counts = {"entries": result.entries, "ours": result.matched_people, "people": dict(result.feedback_counts)}
        click.echo(json.dumps(counts | {"troubles": result.troubles}))
    else:
        click.echo(f"{result}.")
    if result.troubles:
        raise SystemExit(1)


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
    for (column, word), rows in report.unknown_words.most_common(MAX_PROBLEMS):
        yield f"Unknown in the column {column}: {word or 'a text that could be an address'}, {rows:,} rows."
    for (domain, meant), rows in report.slips.most_common(MAX_PROBLEMS):
        yield f"Likely a slip: {domain}, {rows:,} rows; {meant} was meant."
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
