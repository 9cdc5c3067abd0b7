"""The `export-suppressions` and `adopt-suppressions` commands of `digest subscribers`.

They write and read the suppression list as a file.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from digest.app.subscribers import suppression_lists
from digest.cli.context import (
    EXISTING_FILE,
    FILE_PATH,
    CommandContext,
    check_reason,
    flag,
    json_option,
    pass_command_context,
    print_result,
)
from digest.cli.lazy_group import CommandRefusedError
from digest.cli.terminal import show_progress
from subscribers.english_text import count_with_noun
from subscribers.transfer.exports import ExportRecipient
from subscribers.transfer.suppressions.suppression_adoption import AdoptionReport


def _read_passphrase(_context: click.Context, _parameter: click.Parameter, file: Path | None) -> str:
    """Return the first line of a file, or an empty string if there's no file."""
    if file is None:
        return ""
    with file.open(encoding="utf-8") as lines:
        return lines.readline().rstrip("\r\n")


def passphrase_option() -> Callable[..., Any]:
    """Return the option that reads a passphrase from a file.

    It's for scripts, which can't be prompted.
    """
    return click.option(
        "--passphrase-file",
        "passphrase",
        type=EXISTING_FILE,
        callback=_read_passphrase,
        help="Read the passphrase from this file's first line instead of asking for it.",
    )


@click.command(
    epilog="""\b
Example:
  digest subscribers export-suppressions suppressions.age --reason "moving to another server" --to "our new server"

\b
Exit codes:
  0  written
  1  the file already exists or can't be written, or the passphrase is too short
  2  usage error"""
)
@click.argument("file", type=FILE_PATH)
@click.option(
    "--reason",
    required=True,
    callback=check_reason,
    help="Reason, recorded in the audit log. No names or email addresses.",
)
@click.option(
    "--to", "to_whom", required=True, callback=check_reason, help="Recipient of the file, recorded in the audit log."
)
@passphrase_option()
@json_option("Print the counts as JSON.")
@pass_command_context
def export_suppressions(
    context: CommandContext, file: Path, reason: str, to_whom: str, passphrase: str, as_json: bool
) -> None:
    """Export the suppression list to an encrypted file for another installation.

    It contains hashes of the addresses of people who unsubscribed, bounced, complained, were erased, or were suppressed by
    an admin, with the keys to them, but no addresses. Give it only to an installation that emails the same people.
    """
    passphrase = passphrase or click.prompt("New passphrase", hide_input=True, confirmation_prompt=True, err=True)
    with show_progress("Exporting", is_wanted=not as_json) as progress:
        counts = context.act(
            suppression_lists.export_suppression_list,
            suppression_lists.open_new_suppression_file(file),
            ExportRecipient(to_whom, reason),
            passphrase,
            now=context.now(),
            progress=progress,
        )
    lines = (
        f"Exported {count_with_noun(counts.total(), 'suppression')} to {file}.",
        "The file can't be adopted without the passphrase. Send it to the recipient separately.",
    )
    print_result(counts, lines, as_json=as_json)


@click.command(
    epilog="""\b
Examples:
  digest subscribers adopt-suppressions suppressions.age                                         dry run
  digest subscribers adopt-suppressions suppressions.age --commit --reason "moved from the old server"

\b
Exit codes:
  0  adopted, adopted earlier, or checked
  1  the passphrase is wrong, or the file is damaged or isn't a suppression file (nothing was changed)
  2  usage error"""
)
@click.argument("file", type=EXISTING_FILE)
@flag("--commit", help="Adopt the file. Otherwise, it's a dry run.")
@click.option("--reason", callback=check_reason, help="Reason, recorded in the audit log. Don't include addresses.")
@passphrase_option()
@json_option("Print the counts as JSON.")
@pass_command_context
def adopt_suppressions(
    context: CommandContext, file: Path, commit: bool, reason: str | None, passphrase: str, as_json: bool
) -> None:
    """Adopt another installation's suppression list.

    Subscribers here who are in the file are unsubscribed or suppressed, unless they confirmed here later. Adopting can't be
    undone. To continue after an interruption, run the command again.
    """
    if commit and not reason:
        raise click.UsageError("--commit needs a reason. Add --reason.")
    passphrase = passphrase or click.prompt("Passphrase of the file", hide_input=True, err=True)
    now = context.now()
    try:
        with show_progress("Adopting" if commit else "Checking", is_wanted=not as_json) as progress:
            if commit:
                report = context.act(
                    suppression_lists.adopt_suppression_list,
                    file,
                    passphrase,
                    reason or "",
                    now=now,
                    progress=progress,
                )
            else:
                report = context.act(
                    suppression_lists.rehearse_suppression_adoption, file, passphrase, now=now, progress=progress
                )
    except KeyboardInterrupt:
        raise CommandRefusedError("Interrupted. To continue, run the same command again.") from None
    result = report.as_json() | {"repeated": report.adopted_at is not None}
    print_result(result, _describe(report, file, committed=commit), as_json=as_json)


def _describe(report: AdoptionReport, file: Path, *, committed: bool) -> Iterator[str]:
    if report.adopted_at is not None:
        yield f"You already adopted this file on {report.adopted_at:%Y-%m-%d %H:%M} UTC:"
    yield f"{file.name}: {count_with_noun(report.entries, 'suppression')}."
    for count, label in suppression_lists.list_adoption_counts(report):
        yield f"{count:>11,}  {label}"
    yield f"Unsubscribed or suppressed here: {count_with_noun(report.removed.total(), 'person', 'people')}."
    if report.consented:
        yield f"Kept because they've confirmed here since they were suppressed there: {count_with_noun(report.consented, 'person', 'people')}."
    if not committed:
        yield "This was a dry run. To adopt the file, run the same command with --commit. Adopting can't be undone."
