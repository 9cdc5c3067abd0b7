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

from digest.cli.acting import Refused, audit, reason_in_words
from digest.cli.context import Desk, pass_desk
from digest.cli.import_words import in_words
from digest.cli.progress import counting
from digest.cli.unfinished import abandon_import, list_unfinished
from subscribers.journal import Journal
from subscribers.transfer.deciding import Options, Outcome
from subscribers.transfer.exporting import Handed, export_list
from subscribers.transfer.formats import DEPARTURES, Claim
from subscribers.transfer.importing import bring_in, rehearse, unfinished
from subscribers.transfer.reading import FileError, Survey, headings, survey
from subscribers.transfer.report import Reject, Report
from subscribers.transfer.stepping import Desk as ImportDesk


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
    callback=reason_in_words,
    help="Vouch for the rows without evidence, in your name; each of these readers sees both.",
)
@click.option(
    "--these-are",
    "whole",
    type=click.Choice([str(claim) for claim in Claim if claim in DEPARTURES]),
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
@pass_desk
def import_(
    desk: Desk,
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
        list_unfinished(desk, as_json=as_json)
        return
    if file is None:
        assert abandon is not None
        abandon_import(desk, abandon, asked=yes)
        return
    options = Options(attest, Claim(whole) if whole else None, need_network)
    now = datetime.now(UTC)
    try:
        found = survey(file, whole=options.whole)
        report = _commit(desk, found, options, now) if commit else _rehearse(desk, found, options, now)
    except FileError as exc:
        raise Refused(f"{file.name}: {exc}") from None
    except KeyboardInterrupt:
        raise Refused(
            "Interrupted: nobody of this file is mailed yet. Run the same command again to go on."
        ) from None
    written = commit and report.counts[Outcome.REJECTED] and _rejected(file).exists()
    rejected = _rejected(file) if written else None
    with desk.install.database.read() as session:
        others = [one for one in unfinished(session) if one.batch != report.batch]
    if as_json:
        click.echo(json.dumps(_as_json(report, rejected)))
        return
    for line in in_words(report, committed=commit, rejected=rejected, others=others):
        click.echo(line)


def _rehearse(desk: Desk, found: Survey, options: Options, now: datetime) -> Report:
    with counting("Looking") as bar:
        return rehearse(
            _import_desk(desk), found, options, now=now, progress=lambda row: bar(row, found.rows + 1)
        )


def _commit(desk: Desk, found: Survey, options: Options, now: datetime) -> Report:
    with counting("Importing") as bar, _rejects(found) as reject:
        report = bring_in(
            _import_desk(desk),
            found,
            options,
            now=now,
            reject=reject,
            progress=lambda row: bar(row, found.rows + 1),
        )
    if not report.repeated:
        detail = {"origin": found.layout.origin, "options": options.as_json(), "counts": report.as_json()}
        with desk.install.database.write() as session:
            audit(session, desk, "list imported", f"import {report.batch}", detail)
    return report


def _import_desk(desk: Desk) -> ImportDesk:
    install = desk.install
    journal = Journal(install.settings.left_log, install.keys)
    return ImportDesk(install.database, install.keys, journal, desk.actor)


def _rejected(file: Path) -> Path:
    return file.with_name(f"{file.name}.rejected.csv")


@contextmanager
def _rejects(found: Survey) -> Iterator[Reject]:
    """Lend a function that writes a rejected row, whole, to a file beside the list, for its owner's eyes only."""
    path = _rejected(found.path)
    with ExitStack() as stack:
        writers: list[Any] = []

        def reject(number: int, reason: str, fields: Sequence[str]) -> None:
            if not writers:
                path.unlink(missing_ok=True)  # of an earlier run
                writers.append(csv.writer(stack.enter_context(_private(path))))
                writers[0].writerow(["row", "reason", *headings(found)])
            writers[0].writerow([number, reason, *fields])

        yield reject


def _private(path: Path) -> IO[str]:
    """Make a new file that its owner alone can read, from its first moment on."""
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600)
    return os.fdopen(descriptor, "w", newline="", encoding="utf-8")


def _as_json(report: Report, rejected: Path | None) -> dict[str, Any]:
    return {
        "origin": report.survey.layout.origin,
        "rows": report.survey.rows,
        "batch": report.batch,
        "repeated": report.repeated,
        "counts": report.as_json(),
        "problems": [{"row": number, "reason": reason} for number, reason in report.problems],
        "warnings": list(report.survey.warnings),
        "rejected_file": str(rejected) if rejected else None,
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
    "--reason",
    required=True,
    callback=reason_in_words,
    help="Why; every reader in the file sees it. No addresses.",
)
@click.option(
    "--to",
    "to_whom",
    default="the people who run this list",
    show_default=True,
    callback=reason_in_words,
    help="Who gets the file; every reader in it sees this, too.",
)
@pass_desk
def export(desk: Desk, file: Path, reason: str, to_whom: str) -> None:
    """Write everyone who may be mailed to a CSV file that only you can read. Each of them sees that it happened."""
    install, now = desk.install, datetime.now(UTC)
    with install.database.write() as session:
        audit(session, desk, "list exported", "the list", {"why": reason, "to": to_whom})
    with _new_file(file) as out, counting("Exporting") as bar:
        number = export_list(
            install.database,
            install.keys,
            out,
            Handed(to_whom, reason),
            now=now,
            progress=lambda done: bar(done, done),
        )
    click.echo(
        f"{number:,} people written to {file}. It holds addresses in clear: delete it when it has served."
    )


@contextmanager
def _new_file(path: Path) -> Iterator[IO[str]]:
    """Lend a file that did not exist; half of one is removed."""
    try:
        file = _private(path)
    except OSError as exc:
        raise Refused(
            f"{path}: cannot be written: {exc.strerror}. Name a file that does not exist yet."
        ) from None
    try:
        with file:
            yield file
    except BaseException:
        path.unlink(missing_ok=True)
        raise
