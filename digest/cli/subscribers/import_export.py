"""`digest subscribers import` and `export`: lists that come and go."""

import csv
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import click

from digest.cli.common import CommandRefusedError, check_reason, record_audit
from digest.cli.context import CommandContext, pass_command_context
from digest.cli.progress_bar import show_progress
from digest.cli.subscribers.import_report import describe_import
from digest.cli.subscribers.unfinished_imports import abandon_import, print_unfinished_imports
from subscribers.consent.departure_log import DepartureLog
from subscribers.transfer.decisions import ImportOptions, RowOutcome
from subscribers.transfer.exports import ExportRecipient, export_list
from subscribers.transfer.formats import DEPARTURE_STATUSES, RowStatus
from subscribers.transfer.import_report import ImportReport, RejectCallback
from subscribers.transfer.import_run import ImportContext as ImportDesk
from subscribers.transfer.imports import list_unfinished_imports, rehearse_import, run_import
from subscribers.transfer.list_file import FileSurvey, ListFileError, read_headings, survey_file


@click.command(
    "import",
    epilog="""\b
Examples:
  digest subscribers import subscribed_members.csv                look at it first
  digest subscribers import subscribed_members.csv --commit       then do it
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
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--commit", is_flag=True, help="Do it. Without this, the file is only looked at.")
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
@click.option(
    "--need-network",
    is_flag=True,
    help="Believe a confirmation only where the network address that it came from is recorded.",
)
@click.option("--list", "list_", is_flag=True, help="Say which imports were not finished.")
@click.option("--abandon", type=int, metavar="IMPORT", help="Drop an import that was not finished.")
@click.option("--yes", is_flag=True, help="Do not ask before an import is dropped.")
@click.option("--json", "as_json", is_flag=True, help="Print the counts, or the list, as JSON.")
@pass_command_context
def import_list(
    desk: CommandContext,
    file: Path | None,
    list_: bool,
    abandon: int | None,
    yes: bool,
    commit: bool,
    attest: str | None,
    whole: str | None,
    need_network: bool,
    as_json: bool,
) -> None:
    """Bring a list in: of Mailchimp, MailPoet, listmonk, Ghost, Substack, Buttondown, or any CSV with addresses.

    Only people whose confirmation the file records may be mailed afterwards. Nobody who left, bounced,
    complained or was erased comes back by an import.
    """
    if [file is not None, list_, abandon is not None].count(True) != 1:
        raise click.UsageError("give a FILE, or --list, or --abandon IMPORT.")
    if list_:
        print_unfinished_imports(desk, as_json=as_json)
        return
    if file is None:
        assert abandon is not None
        abandon_import(desk, abandon, confirmed=yes)
        return
    options = ImportOptions(attest, RowStatus(whole) if whole else None, need_network)
    now = datetime.now(UTC)
    try:
        found = survey_file(file, file_status=options.file_status)
        report = _commit_import(desk, found, options, now) if commit else _rehearse_import(desk, found, options, now)
    except ListFileError as exc:
        raise CommandRefusedError(f"{file.name}: {exc}") from None
    except KeyboardInterrupt:
        raise CommandRefusedError(
            "Interrupted: nobody of this file is mailed yet. Run the same command again to go on."
        ) from None
    written = commit and report.counts[RowOutcome.REJECTED] and _rejected_rows_path(file).exists()
    rejected = _rejected_rows_path(file) if written else None
    with desk.install.database.read() as session:
        others = [one for one in list_unfinished_imports(session) if one.batch != report.batch]
    if as_json:
        click.echo(json.dumps(_import_as_json(report, rejected)))
        return
    for line in describe_import(report, committed=commit, rejected_file=rejected, other_unfinished=others):
        click.echo(line)


def _rehearse_import(
    context: CommandContext, file_survey: FileSurvey, options: ImportOptions, now: datetime
) -> ImportReport:
    with show_progress("Looking") as bar:
        return rehearse_import(
            _import_context(context), file_survey, options, now=now, progress=lambda row: bar(row, file_survey.rows + 1)
        )


def _commit_import(
    context: CommandContext, file_survey: FileSurvey, options: ImportOptions, now: datetime
) -> ImportReport:
    with show_progress("Importing") as bar, _open_reject_writer(file_survey) as reject:
        report = run_import(
            _import_context(context),
            file_survey,
            options,
            now=now,
            on_reject=reject,
            progress=lambda row: bar(row, file_survey.rows + 1),
        )
    if not report.already_imported:
        detail = {"origin": file_survey.layout.origin, "options": options.as_json(), "counts": report.as_json()}
        with context.install.database.write() as session:
            record_audit(session, context, "list imported", f"import {report.batch}", detail)
    return report


def _import_context(context: CommandContext) -> ImportDesk:
    install = context.install
    journal = DepartureLog(install.settings.left_log, install.keys)
    return ImportDesk(install.database, install.keys, journal, context.actor.name)


def _rejected_rows_path(file: Path) -> Path:
    return file.with_name(f"{file.name}.rejected.csv")


@contextmanager
def _open_reject_writer(file_survey: FileSurvey) -> Iterator[RejectCallback]:
    """Lend a function that writes a rejected row, whole, to a file beside the list, for its owner's eyes only."""
    path = _rejected_rows_path(file_survey.path)
    with ExitStack() as stack:
        writers: list[Any] = []

        def reject(number: int, reason: str, fields: Sequence[str]) -> None:
            if not writers:
                path.unlink(missing_ok=True)  # of an earlier run
                writers.append(csv.writer(stack.enter_context(_create_private_file(path))))
                writers[0].writerow(["row", "reason", *read_headings(file_survey)])
            writers[0].writerow([number, reason, *fields])

        yield reject


def _create_private_file(path: Path) -> IO[str]:
    """Make a new file that its owner alone can read, from its first moment on."""
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600)
    return os.fdopen(descriptor, "w", newline="", encoding="utf-8")


def _import_as_json(report: ImportReport, rejected_file: Path | None) -> dict[str, Any]:
    return {
        "origin": report.survey.layout.origin,
        "rows": report.survey.rows,
        "batch": report.batch,
        "repeated": report.already_imported,
        "counts": report.as_json(),
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
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
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
def export(desk: CommandContext, file: Path, reason: str, to_whom: str) -> None:
    """Write everyone who may be mailed to a CSV file that only you can read. Each of them sees that it happened."""
    install, now = desk.install, datetime.now(UTC)
    with install.database.write() as session:
        record_audit(session, desk, "list exported", "the list", {"why": reason, "to": to_whom})
    with _create_export_file(file) as out, show_progress("Exporting") as bar:
        number = export_list(
            install.database,
            install.keys,
            out,
            ExportRecipient(to_whom, reason),
            now=now,
            progress=lambda done: bar(done, done),
        )
    click.echo(f"{number:,} people written to {file}. It holds addresses in clear: delete it when it has served.")


@contextmanager
def _create_export_file(path: Path) -> Iterator[IO[str]]:
    """Lend a file that did not exist; half of one is removed."""
    try:
        file = _create_private_file(path)
    except OSError as exc:
        raise CommandRefusedError(
            f"{path}: cannot be written: {exc.strerror}. Name a file that does not exist yet."
        ) from None
    try:
        with file:
            yield file
    except BaseException:
        path.unlink(missing_ok=True)
        raise
