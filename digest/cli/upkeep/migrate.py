"""`digest migrate` and `digest upgrade`: everything into another database, and the schema brought up to date."""

import os
import sys

import click

from digest.app.upkeep import database_moves
from digest.app.upkeep.upgrade import upgrade_installation
from digest.cli.context import CommandContext, json_option, label_refusals, pass_command_context, print_json, yes_option
from digest.cli.terminal import show_progress


@click.command(
    epilog="""\b
Examples:
  digest migrate --to postgresql+psycopg://digest@localhost/digest        the password from ~/.pgpass
  digest migrate --to -                                                   types or pipes the URL, with a password

\b
Before: make an empty database (createdb -E UTF8 digest), and stop 'digest serve' and whoever else has the old one open.
After: start it again. digest.env names the new database where there is one; the old one stays as it was, held.

\b
Exit codes:
  0  moved and proved
  1  it cannot be done, and nothing has changed; or it is moved, and its ledger was broken before, which is said
  2  wrong use"""
)
@click.option(
    "--to",
    "url",
    required=True,
    metavar="URL",
    help="The other database, which is empty; - reads the URL from standard input.",
)
@yes_option()
@json_option("Print what was moved as JSON.")
@pass_command_context
def migrate(context: CommandContext, url: str, yes: bool, as_json: bool) -> None:
    """Move everything into another database, and prove that every row and every chain is there as it was.

    From SQLite to PostgreSQL or back. It is one transaction: where anything fails, nothing was moved.
    """
    if url == "-":
        url = sys.stdin.readline().strip()
    if not yes:
        click.confirm(
            "Everything is moved into the other database, and the old one is held. Go on?", abort=True, err=True
        )
    with label_refusals("Not moved"), show_progress("Moving", shown=not as_json) as bar:
        move = database_moves.migrate_installation(
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
            f"{result.rows:,} rows in {len(result.rows_by_table)} tables: each was read again and is the same.\n"
            f"{result.proof.people:,} people, {result.proof.links:,} links, {result.proof.seals:,} seals: "
            + (
                "every chain and every seal holds."
                if result.proof.sound
                else "the ledger was broken before; see 'digest subscribers verify'."
            )
        )
        click.echo(
            f"{file} names the new database. Start 'digest serve' again, then: digest doctor"
            if file
            else "Set DIGEST_DATABASE_URL to the new database wherever this program runs. Then start 'digest serve' again, and: digest doctor"
        )
        click.echo(
            "The old database is held and otherwise as it was. Remove it once all is well: it holds people's data."
        )
    if not result.proof.sound:
        raise SystemExit(1)


@click.command(
    epilog="""\b
Example:
  systemctl stop digest && pip install --upgrade hls-digest && digest upgrade && systemctl start digest

\b
The backup is a file 'before-upgrade-…' in backup.folder, else in the folder 'backups' of DIGEST_HOME. To go back: install the
version before, and 'digest restore FILE --replace'. Remove it once all is well, and after 30 days in any case.

\b
Exit codes:
  0  the schema is the newest, and every chain and seal holds
  1  it cannot be done, and nothing has changed; or the ledger is broken, which is said
  2  wrong use, or something that you can mend: a newer version has worked with the database, or there is none"""
)
@pass_command_context
def upgrade(context: CommandContext) -> None:
    """Back the database up, bring its schema up to date, and prove it. Any other command does the second without the first."""
    if context.acting_email is not None:
        raise click.UsageError("--as is not for an upgrade: who does it sits at the terminal.")
    with label_refusals("Not upgraded"):
        result = upgrade_installation(
            context.settings, context.terminal, now=context.now(), show_progress=show_progress
        )
    if result.backup is None:
        click.echo(f"Schema {result.after} is the newest: nothing was to be done.")
    else:
        click.echo(
            f"{result.backup}: the database as it was, read again and proved\nSchema {result.before} is now {result.after}."
        )
    proof = result.proof
    holds = (
        "every chain and every seal holds."
        if proof.sound
        else "the ledger is broken. 'digest subscribers verify' says where."
    )
    click.echo(f"{proof.people:,} people, {proof.links:,} links, {proof.seals:,} seals: {holds}")
    if not proof.sound:
        raise SystemExit(1)
