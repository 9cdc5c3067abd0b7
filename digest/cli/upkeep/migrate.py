"""The `digest migrate` and `digest upgrade` commands.

They move everything to another database, and upgrade the schema.
"""

import os
import sys

import click

from digest.app.upkeep import database_changes
from digest.cli.context import (
    CommandContext,
    flag,
    json_option,
    pass_command_context,
    prefix_refusals,
    print_json,
    yes_option,
)
from digest.cli.terminal import show_progress
from subscribers.english_text import count_with_noun


@click.command(
    epilog="""\b
Examples:
  digest migrate --to postgresql+psycopg://digest@localhost/digest        password from ~/.pgpass
  digest migrate --to -                                                   URL from standard input

\b
Before you migrate, create an empty database (createdb -E UTF8 digest), and stop 'digest serve' and everything else that uses
the old one. Afterward, start it again. If you use digest.env, it's updated. The old database is kept, with sending paused.

\b
Exit codes:
  0  moved and verified
  1  not moved, with no changes made; or moved, but its ledger had already failed verification
  2  usage error"""
)
@click.option(
    "--to",
    "url",
    required=True,
    metavar="URL",
    help="URL of the new, empty database, or - to read the URL from standard input.",
)
@yes_option()
@json_option("Print the results as JSON.")
@pass_command_context
def migrate(context: CommandContext, url: str, yes: bool, as_json: bool) -> None:
    """Move everything to another database, and verify every row and record.

    This works from SQLite to PostgreSQL and back. If anything fails, the move is undone completely.
    """
    if url == "-":
        url = sys.stdin.readline().strip()
    if not yes:
        click.confirm(
            "Everything will be copied to the new database, and sending from the old one will be paused. Continue?",
            abort=True,
            err=True,
        )
    with prefix_refusals("Not moved"), show_progress("Moving", is_wanted=not as_json) as bar:
        move = database_changes.move_installation_to_database(
            context.settings, context.identify_actor, url, environ=os.environ, now=context.now(), progress=bar
        )
    result, file = move.result, move.environment_file
    if as_json:
        sound, rows = result.proof.sound, result.rows_by_table
        print_json(
            {"rows": rows, "people": result.proof.people, "sound": sound, "environment_file": file and str(file)}
        )
    else:
        click.echo(
            (
                f"{result.rows:,} rows in {len(result.rows_by_table)} tables copied and "
                f"verified.\n{count_with_noun(result.proof.people, 'person', 'people')}, {count_with_noun(result.proof.links, 'event')}, {result.proof.seals:,} "
                "seals. "
            )
            + (
                "All records and seals passed verification."
                if result.proof.sound
                else "The ledger already failed verification before. See 'digest subscribers verify'."
            )
        )
        click.echo(
            f"{file} now uses the new database. Start 'digest serve' again, then run 'digest doctor'."
            if file
            else (
                "Set DIGEST_DATABASE_URL to the new database wherever this program runs. Start 'digest serve' again, "
                "then run 'digest doctor'."
            )
        )
        click.echo(
            "The old database wasn't changed, except that sending from it is paused. It contains personal data, "
            "so delete it when everything works."
        )
    if not result.proof.sound:
        raise SystemExit(1)


@click.command(
    epilog="""\b
Stop the service and install the new wheel with its pinned libraries first; see docs/maintenance.md.
Example:
  digest upgrade && systemctl start digest

\b
The backup is a file 'before-upgrade-…' in backup.folder, or in the 'backups' folder of DIGEST_HOME. To go back, install the
previous version and run 'digest restore FILE --replace'. Delete the backup when everything works, within 30 days at most.

\b
Exit codes:
  0  the schema is up to date, and everything passed verification
  1  not upgraded, with no changes made; or the ledger failed verification
  2  usage error, no database, a database from a newer version, or a migration failed and was undone"""
)
@flag("--if-needed", help="Do nothing if the schema is up to date.")
@pass_command_context
def upgrade(context: CommandContext, *, if_needed: bool) -> None:
    """Back up the database, upgrade its schema, and verify it. Most other commands also upgrade it, but without a backup."""
    if context.acting_email is not None:
        raise click.UsageError(
            "--as doesn't work with 'digest upgrade', which is always recorded under the terminal's user. Leave out --as."
        )
    if if_needed and not database_changes.needs_upgrade(context.settings):
        click.echo("The schema is already up to date.")
        return
    with prefix_refusals("Not upgraded"):
        result = database_changes.upgrade_installation(
            context.settings, context.terminal, now=context.now(), show_progress=show_progress
        )
    if result.backup is None:
        click.echo(f"The schema {result.after} is already up to date.")
    else:
        click.echo(
            f"{result.backup}: a verified backup of the database before the upgrade\nUpgraded the schema from "
            f"{result.before} to {result.after}."
        )
    for name in result.drafts:
        click.echo(f"The draft of {name} was updated. Review it again.")
    proof = result.proof
    holds = (
        "All records and seals passed verification."
        if proof.sound
        else "The ledger failed verification. Run 'digest subscribers verify' for details."
    )
    click.echo(
        f"{count_with_noun(proof.people, 'person', 'people')}, {count_with_noun(proof.links, 'event')}, {count_with_noun(proof.seals, 'seal')}. {holds}"
    )
    if not proof.sound:
        raise SystemExit(1)
