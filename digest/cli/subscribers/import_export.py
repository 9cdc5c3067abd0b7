"""The `import`, `export`, `ask`, and `pull` commands of `digest subscribers`."""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from digest.app.subscribers import import_undo, inactivity_questions, list_transfers
from digest.app.subscribers.inactivity_questions import MOST_YEARS
from digest.cli.context import (
    EXISTING_FILE,
    FILE_PATH,
    CommandContext,
    check_reason,
    flag,
    json_option,
    pass_command_context,
    pick_json_fields,
    print_lines,
    print_result,
    yes_option,
)
from digest.cli.lazy_group import CommandRefusedError
from digest.cli.terminal import show_progress
from digest.deliver.providers.kind import ProviderSettingsError
from subscribers.consent.subscriber_list import SubscriberFilter
from subscribers.english_text import count_with_noun
from subscribers.transfer.decisions import RowOutcome, RowReason
from subscribers.transfer.exports import ExportRecipient
from subscribers.transfer.formats import DEPARTURE_STATUSES, ImportedSubscriberStatus
from subscribers.transfer.import_batches import UnfinishedImport
from subscribers.transfer.import_report import ENDED_SUBSCRIPTIONS, MAX_PROBLEMS, ROW_FLAGS, ImportReport
from subscribers.transfer.list_file import ListFileError
from subscribers.transfer.options import ImportOptions


def print_unfinished_imports(context: CommandContext, *, as_json: bool) -> None:
    """Print the unfinished imports, each with the number of people in it."""
    unfinished = context.act(list_transfers.list_unfinished_imports, now=context.now())
    rows = [
        pick_json_fields(batch, "batch", "name", "file_hash")
        | {"begun": batch.started_at.isoformat(timespec="seconds"), "people": people}
        for batch, people in unfinished
    ]
    lines = [f"{batch.sentence} People so far: {people:,}." for batch, people in unfinished]
    print_result(rows, lines or ["There are no unfinished imports."], as_json=as_json)


def abandon_import(context: CommandContext, batch: int, *, confirmed: bool) -> None:
    """Undo an unfinished import after asking for confirmation, unless `confirmed` is true.

    Raises:
        UnknownImportError: there's no such import, or it's already finished.
    """
    now = context.now()
    people = context.act(list_transfers.count_import_people, batch, now=now)
    if not confirmed:
        click.confirm(
            f"Import {batch} has added {count_with_noun(people, 'person', 'people')} so far, who haven't been emailed yet. Undo it?",
            abort=True,
        )
    result = context.act(list_transfers.abandon_import, batch, now=now)
    click.echo(f"Undid import {batch} ({count_with_noun(result.removed, 'person', 'people')} removed).")
    if result.kept:
        click.echo(f"{result.kept_sentence} The import no longer affects them.")


def undo_finished_import(context: CommandContext, batch: int, reason: str, *, confirmed: bool) -> None:
    """Undo a finished import after asking for confirmation, unless `confirmed` is true.

    Raises:
        ImportUndoError: the import can't be undone.
    """
    now = context.now()
    preview = context.act(import_undo.preview_undo, batch, now=now)
    counted = preview.result
    click.echo(
        f"Undoing import {batch} removes {count_with_noun(counted.removed, 'person', 'people')} and keeps "
        f"{count_with_noun(counted.kept, 'person', 'people')}: {counted.earlier:,} unconfirmed before, {counted.active:,} confirmed or active since, and "
        f"{counted.departed:,} unsubscribed since. Earlier preferences restored: {counted.preferences:,}. Suppressed by the file, and still suppressed afterward: {preview.suppressed:,}."
    )
    if not confirmed:
        click.confirm("Undo it?", abort=True)
    result = context.act(import_undo.undo_import, batch, reason, now=now)
    removed = count_with_noun(result.removed, "person", "people")
    click.echo(f"Undid import {batch} ({removed} removed). {result.kept_sentence}".rstrip())


@click.command(
    "import",
    epilog="""\b
Examples:
  digest subscribers import subscribed_members.csv                dry run
  digest subscribers import subscribed_members.csv --commit       import it
  digest subscribers import subscribed_members.csv --outcomes rows.csv      dry run with a result for each row
  digest subscribers import unsubscribed_members.csv --commit     suppress people who unsubscribed
  digest subscribers import expo.csv --attest "paper sign-up sheet, Border Expo 2026" --commit
  digest subscribers import --list                                list unfinished imports
  digest subscribers import --abandon 3                           undo one of them
  digest subscribers import --undo 3 --reason "wrong file"        undo a finished import, within seven days

\b
Exit codes:
  0  imported, checked, listed, or undone
  1  the file can't be read as a list, or no such import (no one was added)
  2  usage error""",
)
@click.argument("file", required=False, type=EXISTING_FILE)
@flag("--commit", help="Import the file. Otherwise, it's a dry run.")
@click.option(
    "--attest",
    metavar="REASON",
    callback=check_reason,
    help="Reason for vouching for rows without evidence, recorded with your name and shown to those subscribers.",
)
@click.option(
    "--these-are",
    "whole",
    type=click.Choice([str(claim) for claim in ImportedSubscriberStatus if claim in DEPARTURE_STATUSES]),
    help="Status for all rows, regardless of their columns.",
)
@flag("--need-network", help="Require an IP address for each confirmation.")
@flag("--leave-out-slips", help="Skip rows with a likely typo in the domain, such as gmial.com.")
@click.option(
    "--outcomes",
    type=FILE_PATH,
    help="Write each row's result and reason to a new CSV file, with row numbers but without addresses.",
)
@flag("--list", "list_", help="List unfinished imports.")
@click.option("--abandon", type=int, metavar="IMPORT", help="Undo an unfinished import.")
@click.option("--undo", type=int, metavar="IMPORT", help="Undo an import that was finished in the last seven days.")
@click.option(
    "--reason", callback=check_reason, help="With --undo, the reason for the audit log. Don't include addresses."
)
@yes_option("Don't ask for confirmation before undoing an import.")
@json_option("Print the counts or the list as JSON.")
@pass_command_context
def import_list(
    context: CommandContext,
    file: Path | None,
    list_: bool,
    abandon: int | None,
    undo: int | None,
    reason: str | None,
    yes: bool,
    commit: bool,
    attest: str | None,
    whole: str | None,
    need_network: bool,
    leave_out_slips: bool,
    outcomes: Path | None,
    as_json: bool,
) -> None:
    """Import a list from Mailchimp, MailPoet, listmonk, Ghost, Substack, Buttondown, beehiiv, Kit, Constant Contact, GovDelivery, or hls-digest.

    Any other CSV, Excel, or OpenDocument file with a column of addresses works, too, and so does a ZIP file of CSV files.

    Only people with a recorded confirmation are subscribed. People who unsubscribed, bounced, complained, or were erased
    here are never resubscribed by an import.
    """
    if [file is not None, list_, abandon is not None, undo is not None].count(True) != 1:
        raise click.UsageError("Specify a FILE, --list, --abandon IMPORT, or --undo IMPORT.")
    if list_:
        print_unfinished_imports(context, as_json=as_json)
        return
    if undo is not None:
        if not reason:
            raise click.UsageError("--undo needs a reason. Add --reason.")
        undo_finished_import(context, undo, reason, confirmed=yes)
        return
    if file is None:
        assert abandon is not None
        abandon_import(context, abandon, confirmed=yes)
        return
    options = ImportOptions(
        attest, ImportedSubscriberStatus(whole) if whole else None, need_network, leave_out_slips=leave_out_slips
    )
    report, rejected_file = _run_import(context, file, options, commit=commit, outcomes=outcomes)
    if as_json:
        click.echo(json.dumps(_import_as_json(report, rejected_file)))
        return
    unfinished = context.act(list_transfers.list_unfinished_imports, now=context.now())
    others = [other for other, _people in unfinished if other.batch != report.batch]
    print_lines(describe_import(report, committed=commit, rejected_file=rejected_file, other_unfinished=others))


def _run_import(
    context: CommandContext, file: Path, options: ImportOptions, *, commit: bool, outcomes: Path | None
) -> tuple[ImportReport, Path | None]:
    """Import a file, or only count the effects of importing it.

    Return the report, and the file of rejected rows, if any.
    """
    now = context.now()
    if outcomes is not None and outcomes.exists():
        raise CommandRefusedError(f"{outcomes} already exists. Choose another name.")
    # An interrupted import leaves this file, and the next run continues it.
    account = outcomes.with_name(f"{outcomes.name}.part") if outcomes is not None else None
    try:
        with show_progress("Importing" if commit else "Checking") as progress:
            if commit:
                report, rejected_file = context.act(
                    list_transfers.import_list, file, options, now=now, progress=progress, outcomes=account
                )
            else:
                rehearsed = context.act(
                    list_transfers.rehearse_import, file, options, now=now, progress=progress, outcomes=account
                )
                report, rejected_file = rehearsed, None
    except ListFileError as exc:
        raise CommandRefusedError(f"{file.name}: {exc}") from exc
    except KeyboardInterrupt:
        raise CommandRefusedError(
            "The import was interrupted, so the people in it won't be emailed yet. To continue, run the same command again."
        ) from None
    if account is not None and outcomes is not None:
        _keep_outcomes(report, account, outcomes)
    return report, rejected_file


def _keep_outcomes(report: ImportReport, account: Path, outcomes: Path) -> None:
    """Write each row's result, unless the file had already been imported."""
    if report.already_imported:
        account.unlink()
    else:
        list_transfers.save_row_outcomes(account, outcomes, _name_outcome)


def _name_outcome(reason: RowReason) -> str:
    """Return the result of a row in the wording of the report."""
    return _OUTCOME_TEXTS[reason.outcome][0] if reason.outcome is not None else "not recorded"


def _list_counts(counts: Mapping[tuple[str, str], int], *names: str) -> list[dict[str, Any]]:
    return [dict(zip(names, key, strict=True)) | {"rows": rows} for key, rows in counts.items()]


def _import_as_json(report: ImportReport, rejected_file: Path | None) -> dict[str, Any]:
    return {
        "origin": report.survey.layout.origin,
        "rows": report.survey.rows,
        "batch": report.batch,
        "repeated": report.already_imported,
        "counts": report.as_json(),
        "unknown_words": _list_counts(report.unknown_words, "column", "word"),
        "slips": _list_counts(report.slips, "domain", "meant"),
        "problems": [{"row": number, "reason": reason} for number, reason in report.problems],
        "warnings": list(report.survey.warnings),
        "rejected_file": str(rejected_file) if rejected_file else None,
    }


@click.command(
    epilog="""\b
Example:
  digest subscribers export list.csv --reason "moving to another provider" --to "Example Mail Ltd"
  digest subscribers export new.csv --since 2026-06-01 --reason "survey"

\b
Exit codes:
  0  written
  1  the file already exists or can't be written
  2  usage error"""
)
@click.argument("file", type=FILE_PATH)
@click.option(
    "--reason",
    required=True,
    callback=check_reason,
    help="Reason, shown to every subscriber in the file. Don't include addresses.",
)
@click.option(
    "--to",
    "to_whom",
    default="the people who run this list",
    show_default=True,
    callback=check_reason,
    help="Recipient of the file, shown to every subscriber in it.",
)
@click.option("--source", default="", help="Only people from this sign-up source.")
@click.option("--import", "batch", type=click.IntRange(1), help="Only people from this import.")
@click.option(
    "--since", type=click.DateTime(["%Y-%m-%d"]), help="Only people who signed up on or after this day (UTC)."
)
@pass_command_context
def export(
    context: CommandContext,
    file: Path,
    reason: str,
    to_whom: str,
    source: str,
    batch: int | None,
    since: datetime | None,
) -> None:
    """Export active subscribers to a CSV file that only you can read. They can see the export in their data.

    The file includes consent and preferences, and another installation can import it. People who never confirmed,
    unsubscribed, or are suppressed are never exported.
    """
    chosen = SubscriberFilter(asked_where=source, batch=batch, since=since.replace(tzinfo=UTC) if since else None)
    with show_progress("Exporting") as progress:
        exported = context.act(
            list_transfers.export_list,
            list_transfers.open_new_export_file(file),
            ExportRecipient(to_whom, reason),
            now=context.now(),
            progress=progress,
            list_filter=chosen,
        )
    click.echo(
        f"Exported {count_with_noun(exported.people, 'person', 'people')} to {file}. The file contains unencrypted email addresses, so "
        "delete it when you no longer need it."
    )
    if exported.damaged:
        numbers = ", ".join(map(str, exported.damaged))
        click.echo(f"Skipped because their row is damaged: person {numbers}. See 'digest subscribers show'.", err=True)


DEFAULT_BATCH_SIZE = 500


@click.command(
    "ask",
    epilog="""\b
Examples:
  digest subscribers ask                 counts people and asks for confirmation
  digest subscribers ask --most 50 --yes
  digest subscribers ask --silent 3      subscribers inactive for three years

\b
Exit codes:
  0  the emails are queued, or there are no people to ask
  1  you answered no
  2  usage error""",
)
@click.option(
    "--most",
    default=DEFAULT_BATCH_SIZE,
    show_default=True,
    type=click.IntRange(1),
    help="Maximum number of people to ask.",
)
@click.option(
    "--silent",
    "years",
    type=click.IntRange(1, MOST_YEARS),
    help="Ask subscribers who have been inactive for this many years instead.",
)
@flag("--take-off", help="With --silent, unsubscribe people who don't answer within 30 days.")
@yes_option("Don't ask for confirmation before emailing.")
@json_option("Print the counts as JSON.")
@pass_command_context
def ask_people_to_confirm(
    context: CommandContext, most: int, years: int | None, take_off: bool, yes: bool, as_json: bool
) -> None:
    """Ask imported people without evidence of consent whether they want the newsletter. Each can be asked only once.

    People who don't confirm within seven days are erased and never asked again. People who aren't asked within 30 days
    of the import are erased too.

    With --silent, ask inactive subscribers whether they still want the newsletter. They aren't asked again until they've
    been active. With --take-off, those who don't answer are unsubscribed, and the email says so.
    """
    if take_off and years is None:
        raise click.UsageError("--take-off works only with --silent. Add --silent.")
    now = context.now()
    if years is None:
        candidates = context.act(list_transfers.count_unverified_people, now=now)
    else:
        candidates = context.act(inactivity_questions.count_inactive_subscribers, years, now=now)
    asked_count = 0
    if candidates:
        if not yes:
            fate = " People who don't answer within 30 days are unsubscribed." if take_off else ""
            question = (
                f"You can ask {count_with_noun(candidates, 'person', 'people')}. Email up to {most:,} of them?{fate}"
            )
            click.confirm(question, abort=True, err=True)
        asked_count = (
            context.act(list_transfers.ask_unverified_people, limit=most, now=now)
            if years is None
            else context.act(
                inactivity_questions.ask_inactive_subscribers, years, takes_off=take_off, limit=most, now=now
            )
        )
    queued = f"Queued {count_with_noun(asked_count, 'email')}. 'digest serve' or hls-scheduler sends them."
    lines = [queued if candidates else "There are no people to ask."]
    print_result({"could": candidates, "asked": asked_count}, lines, as_json=as_json)


@click.command(
    "pull",
    epilog="""\b
Examples:
  digest subscribers pull
  digest subscribers pull --all        after a webhook outage or a restore
  digest subscribers pull --json

\b
Exit codes:
  0  all lists were read completely
  1  a list couldn't be read completely; the next run continues
  2  usage error""",
)
@flag("--all", "whole", help="Read the lists from the beginning, not just what's new.")
@json_option("Print the results as JSON.")
@pass_command_context
def pull_suppressions(context: CommandContext, whole: bool, as_json: bool) -> None:
    """Import the email provider's suppression lists.

    Bounces, invalid addresses, complaints, and unsubscribes on its lists are applied to people here, and no one is
    resubscribed. Addresses that aren't stored here are only counted.
    """
    try:
        result = context.act(list_transfers.pull_suppressions, from_beginning=whole, now=context.now())
    except ProviderSettingsError as exc:
        raise CommandRefusedError(f"Can't read the suppression lists: {exc}") from exc
    paths = {"ours": "matched_people", "people": "feedback_counts"}
    print_result(pick_json_fields(result, "entries", "troubles", **paths), [f"{result}."], as_json=as_json)
    if result.troubles:
        raise SystemExit(1)


_OUTCOME_TEXTS = {
    RowOutcome.SUBSCRIBED: ("subscribed", "subscribed, starting with the next edition"),
    RowOutcome.UNVERIFIED: ("unverified", "no evidence of consent in the file, so not emailed until they confirm"),
    RowOutcome.KNOWN: ("already known", "not changed"),
    RowOutcome.LEFT_OR_SUPPRESSED: (
        "unsubscribed or suppressed",
        "unsubscribed, bounced, complained, or erased here, so not changed",
    ),
    RowOutcome.DEPARTED: ("departures", "unsubscribed or unreachable according to the file, so suppressed"),
    RowOutcome.DUPLICATE: ("duplicates", "in an earlier row"),
    RowOutcome.REJECTED: ("rejected", ""),
    RowOutcome.BLANK: ("blank rows", ""),
}


def describe_import(
    report: ImportReport, *, committed: bool, rejected_file: Path | None, other_unfinished: Sequence[UnfinishedImport]
) -> Iterator[str]:
    """Yield the lines of a report on an import.

    They describe the file, the counts, the first problems, and the next step.
    """
    survey = report.survey
    yield f"{survey.path.name}: {survey.layout.origin}, {count_with_noun(survey.rows, 'row')}, {survey.encoding}."
    yield from survey.warnings
    if report.already_imported and report.started_at is not None:
        yield f"You already imported this file, as import {report.batch} on {report.started_at:%Y-%m-%d %H:%M} UTC:"
    yield from _describe_counts(report)
    yield from _describe_problems(report)
    if rejected_file is not None:
        yield f"The skipped rows and reasons are in {rejected_file}."
    yield from (other.sentence for other in other_unfinished)
    yield from _next_step(report, committed=committed)


def _describe_counts(report: ImportReport) -> Iterator[str]:
    for outcome, (words, meaning) in _OUTCOME_TEXTS.items():
        if count := report.counts[outcome]:
            yield f"  {words:20}{count:>11,}  {meaning}".rstrip()
    if ended := report.counts[ENDED_SUBSCRIPTIONS]:
        yield f"Of the departures, {ended:,} were subscribed here. Undoing the import doesn't resubscribe them."
    if flags := [f"{report.counts[flag]:,} {flag}" for flag in ROW_FLAGS if report.counts[flag]]:
        yield f"Check these: {'; '.join(flags)} (see docs/importing.md)."


def _describe_problems(report: ImportReport) -> Iterator[str]:
    for (column, word), rows in report.unknown_words.most_common(MAX_PROBLEMS):
        yield f"Unknown in column {column}: {word or 'text that could be an address'} ({count_with_noun(rows, 'row')})."
    for (domain, meant), rows in report.slips.most_common(MAX_PROBLEMS):
        yield f"Likely typo: {domain} ({count_with_noun(rows, 'row')}), probably {meant}."
    if report.problems:
        yield "First problems:"
        yield from (f"  row {number}: {reason}" for number, reason in report.problems)


def _next_step(report: ImportReport, *, committed: bool) -> Iterator[str]:
    if report.already_imported:
        yield "The file wasn't imported again."
    elif committed:
        yield f"Finished import {report.batch}."
    else:
        yield "This was a dry run. To import the file, run the same command with --commit."
