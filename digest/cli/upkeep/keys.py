"""`digest keys`: which keys there are, what hangs on them, and a fresh one of a kind."""

from dataclasses import asdict
from pathlib import Path
from typing import IO, get_args

import click
from rich.table import Column, Table

from digest.app.upkeep import keys as key_acts
from digest.cli.context import CommandContext, flag, json_option, pass_command_context, print_answer
from digest.cli.terminal import show_progress
from digest.installation.opened import open_installation
from subscribers.crypto.keys import KeyKind
from subscribers.store.key_rotation import REWRITTEN_KINDS, KeyUsage, RotationResult

EXIT_ROWS_STUCK = 1


@click.group(epilog="\b\nExample:\n  digest keys list")
def keys() -> None:
    """Look after the keys: addresses, look-ups, tokens and signatures hang on them. See docs/keys.md."""


@keys.command(
    "list",
    epilog="\b\nExamples:\n  digest keys list\n  digest keys list --json\n\nExit codes: 0 shown, 2 there is no key file.",
)
@json_option("Print the list as JSON.")
@pass_command_context
def list_keys(context: CommandContext, as_json: bool) -> None:
    """List the keys by kind, with the number of rows that name each. No secret is shown."""
    usages = context.act(key_acts.list_keys, now=context.now())
    table = Table("Kind", "Id", Column("Rows", justify="right"), "")
    for usage in usages:
        rows = "-" if usage.rows is None else f"{usage.rows:,}"
        table.add_row(usage.kind, usage.id, rows, _key_status(usage))
    print_answer([asdict(usage) for usage in usages], [table], as_json=as_json, indent=2)


def _key_status(usage: KeyUsage) -> str:
    if not usage.in_file:
        return "NOT IN THE KEY FILE: these rows cannot be read"
    if usage.current:
        return "current"
    return "kept: it verifies what was made with it" if usage.rows is None else "kept"


@keys.command(
    epilog="""\b
Examples:
  digest keys rotate token
  digest keys rotate vault             encrypts every address anew
  digest keys rotate vault --fresh     a new key, though an earlier rotation was cut short

\b
It may be stopped at any moment: the installation goes on working, and the next run finishes.
What runs on this machine follows by itself. Of other machines, stop the processes first, and copy the
key file to them afterwards.

\b
Exit codes:
  0  done
  1  done, but for some rows, which are named and keep their old key
  2  wrong use, or the key file cannot be used"""
)
@click.argument("kind", type=click.Choice(get_args(KeyKind)))
@flag("--fresh", help="Make a new key even though an earlier rotation is not finished.")
@pass_command_context
def rotate(context: CommandContext, kind: KeyKind, fresh: bool) -> None:
    """Make a fresh key of a KIND. Older keys are kept: they open and verify what was made with them.

    For `vault` every address is encrypted anew, for `lookup` every hash is computed anew. For the others
    nothing is rewritten; after `session`, staff sign in again once the pages are restarted.
    """
    with show_progress(f"Rotating {kind}") as progress:
        result, recovery_copy = context.act(
            key_acts.rotate_key, kind, force_new_key=fresh, now=context.now(), progress=progress
        )
    _print_rotation(result)
    click.echo(
        f"The keys' new recovery copy. Keep it apart from the backups, in place of the old one:\n\n{recovery_copy}\n"
    )
    if result.unmoved_rows:
        raise SystemExit(EXIT_ROWS_STUCK)


@keys.command(
    "restore",
    epilog="""\b
Examples:
  digest keys restore recovery-copy.json
  digest keys restore -                       paste it, then Ctrl+D
  digest keys restore copy.json --replace     where new keys were made meanwhile: they are set aside

\b
Exit codes:
  0  the key file is back
  2  wrong use; the copy is damaged, or belongs to another database""",
)
@click.argument("file", type=click.File("r", encoding="utf-8"))
@flag("--replace", help="Set a key file that is there aside.")
@pass_command_context
def restore_key_file(context: CommandContext, file: IO[str], replace: bool) -> None:
    """Put a recovery copy (FILE, or - for standard input) back as the key file, if the database was written with it."""
    # After a loss the keys may come back before the database does.
    with open_installation(context.settings, may_create=True) as installation:
        actor = context.identify_actor(installation)
        result = key_acts.restore_keys(installation, actor, file.read(), replace=replace, now=context.now())
    if result.aside:
        click.echo(f"The key file that was there is now {result.aside}.")
    click.echo(f"{context.settings.key_file}: the keys are back. Start 'digest serve' anew, if it runs.")
    for key in result.lost_keys:
        click.echo(
            f"The copy is older than the key {key}: what was made with that one, such as links in mails, is no longer known."
        )
    if result.lost_keys:
        click.echo(
            "Look for the copy that its rotation printed, and put that back too: digest keys restore FILE --replace"
        )


@keys.command(
    epilog="""\b
Examples:
  DIGEST_KEY_PASSPHRASE=… digest keys protect
  digest keys protect                     where systemd hands the passphrase over

\b
Give the passphrase to everything that runs here first; see docs/keys.md.

\b
Exit codes:
  0  the key file is protected
  2  no passphrase is given, or the key file cannot be used"""
)
@pass_command_context
def protect(context: CommandContext) -> None:
    """Put the key file under the passphrase of DIGEST_KEY_PASSPHRASE: without it, a copy of the file opens nothing."""
    context.act(key_acts.protect_keys, now=context.now())
    click.echo(
        f"{context.settings.key_file}: it opens with the passphrase alone from now on. Its recovery copy, which\n"
        "needs no passphrase, stays good: keep it, because a forgotten passphrase cannot be found again."
    )


@keys.command(
    epilog="""\b
Example:
  digest keys unprotect

\b
Exit codes:
  0  the key file needs no passphrase any more
  2  the passphrase does not open it, or it cannot be used"""
)
@pass_command_context
def unprotect(context: CommandContext) -> None:
    """Write the key file without a passphrase."""
    context.act(key_acts.unprotect_keys, now=context.now())
    click.echo(f"{context.settings.key_file}: it needs no passphrase any more.")


def _print_rotation(result: RotationResult) -> None:
    if result.key_added:
        click.echo(f"A fresh {result.kind} key was made: {result.key_id}.")
    else:
        click.echo(
            f"An earlier rotation was finished; the {result.kind} key is {result.key_id}.\n"
            f"For a new key run: digest keys rotate {result.kind}"
        )
    if result.kind in REWRITTEN_KINDS:
        click.echo(f"{result.rows_moved:,} rows were brought over.")
    for unmoved in result.unmoved_rows:
        click.echo(f"{unmoved.row.capitalize()} keeps the old key: {unmoved.reason}.", err=True)


def show_new_keys(file: Path, recovery_copy: str | None) -> None:
    """Print the recovery copy of keys that were just made; None: they were there already."""
    if recovery_copy is None:
        click.echo(f"{file}: there already, left as it is")
        return
    click.echo(
        f"{file}: the keys were made\n"
        "Without this file nobody, you included, can read an address again. Keep a copy of it apart from\n"
        "the backups, printed or in a safe. Its recovery copy, to be put back as that file if it is ever lost:\n\n"
        f"{recovery_copy.strip()}\n"
    )
